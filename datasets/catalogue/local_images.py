"""Pictures that a table names by path: only inside the folders that are allowed, whatever links say."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from datasets.errors import PermanentError
from datasets.settings import Settings

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


class ImagePathError(PermanentError):
    """A table names a file outside the folders that are allowed."""

    code = "image_path_outside"


def catalogue_roots(settings: Settings) -> tuple[Path, ...]:
    """The folders of ``STILLMOTION_CATALOGUE_ROOTS``."""
    return tuple(Path(part).expanduser().absolute() for part in settings.catalogue_roots.split(os.pathsep) if part)


def is_local_path(image: str) -> bool:
    """Whether a table's picture is a path rather than a URL of any scheme."""
    return not SCHEME.match(image) and not image.startswith(("//", "\\\\"))


def local_image(table_source: str, image: str, *, roots: Sequence[Path] = ()) -> Path:
    """The file that a path in a table names, links followed.

    Args:
        table_source: Path or URL of the table; relative paths begin at its folder.
        image: A path as ``is_local_path`` knows them.
        roots: Allowed folders; none: the parent of the table's folder.

    Raises:
        ImagePathError: It lies outside. Whether there is such a file is not looked at.
    """
    folder = _folder(table_source)
    if folder is None:
        raise ImagePathError(
            f"{_shown(image)}: a table at {table_source} has no folder of its own; give an https:// URL",
            image=_shown(image),
        )
    real = os.path.realpath(folder)
    path = os.path.realpath(os.path.join(real, image))  # noqa: PTH118 - Path drops nothing here, but costs five times
    allowed = [os.path.realpath(root) for root in roots] or [_default_root(real)]
    if not any(os.path.commonpath((root, path)) == root for root in allowed):
        raise ImagePathError(
            f"{_shown(image)} leads outside {', '.join(allowed)}; put the picture there, or name its folder in "
            "STILLMOTION_CATALOGUE_ROOTS",
            image=_shown(image),
        )
    return Path(path)


def _folder(table_source: str) -> str | None:
    """The folder of a local table."""
    path = table_source.removeprefix("file://")
    return None if "://" in path else os.path.dirname(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111, PTH120


def _default_root(folder: str) -> str:
    """The parent of a table's folder, but never everything there is."""
    parent = os.path.dirname(folder)  # noqa: PTH120
    return folder if os.path.dirname(parent) == parent else parent  # noqa: PTH120


def _shown(image: str) -> str:
    return image[:120]
