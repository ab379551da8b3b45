"""What this machine does to keep a command apart, found out once and said where it is less than was declared."""

from functools import lru_cache

from datasets.notices import Notice
from datasets.settings import MEBIBYTE
from model_blocks.adapters.frames_adapter import AdapterDeclaration
from model_blocks.adapters.process_watch import Limits, Watch, own_folder
from model_blocks.adapters.subprocess_adapter import SubprocessDeclaration


@lru_cache(maxsize=1)
def keeps_apart() -> bool:
    """Whether a command here has no network and ends with its first process, by the kernel's word."""
    limits = Limits(10, 10, 256 * MEBIBYTE, 8, MEBIBYTE, MEBIBYTE, network=False)
    with own_folder() as folder:
        watch = Watch("nothing", limits, folder, lambda _: None)
        watch.run(["true"], {"PATH": "/usr/bin:/bin"})
    return watch.apart.get("network", False) and watch.apart.get("processes", False)


def isolation_notices(declaration: AdapterDeclaration) -> tuple[Notice, ...]:
    """What a user should know of an adapter's command."""
    if not isinstance(declaration, SubprocessDeclaration) or declaration.network or keeps_apart():
        return ()
    return (
        Notice(
            "adapter_not_apart",
            f"The command of the adapter {declaration.name!r} could use the network: this system lets nobody make "
            "namespaces. Its time, memory, processes and output were watched all the same.",
            {"adapter": declaration.name},
        ),
    )
