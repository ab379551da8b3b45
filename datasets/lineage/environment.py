"""What a machine brings to a result besides the program: Python, the system, the libraries that decide pixels."""

import platform
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

DECIDING = ("av", "kornia", "numpy", "opencv-python-headless", "pillow", "scipy", "torch")


@cache
def version_of(package: str) -> str | None:
    """The installed version of a package, None if it is not there."""
    try:
        return installed_version(package)
    except PackageNotFoundError:
        return None


def environment(libraries: Iterable[str] = ()) -> dict[str, object]:
    """Python, system and versions of the libraries that decide pixels.

    Args:
        libraries: Those that the stages named besides the usual ones.
    """
    names = sorted({*DECIDING, *libraries})
    return {
        "python": platform.python_version(),
        "os": platform.system(),
        "os_release": platform.release(),
        "machine": platform.machine(),
        "libraries": {name: found for name in names if (found := version_of(name)) is not None},
    }


def differences(recorded: dict[str, object]) -> list[str]:
    """In what this machine is not like the recorded one, in words."""
    libraries = recorded.get("libraries")
    wanted = libraries if isinstance(libraries, dict) else {}
    here = environment(wanted)
    found = here["libraries"]
    assert isinstance(found, dict)
    told = [
        f"{name} was {recorded[name]}, here it is {here[name]}"
        for name in ("python", "os", "machine")
        if name in recorded and recorded[name] != here[name]
    ]
    return told + [
        f"{name} was {version}, here it is {found.get(name) or 'not installed'}"
        for name, version in wanted.items()
        if found.get(name) != version
    ]
