"""What the parts of ``stillmotion serve`` have in common: they say when they are ready, and end with their parent."""

import os
import signal
import sys
import threading
from pathlib import Path


def end_with_parent() -> None:
    """End in good order when standard input closes: whoever started this process is gone."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def ready_file(folder: Path, name: str) -> Path:
    """What is there as soon as a part does its work."""
    return folder / f"serve-{name}.ready"


def say_ready(folder: Path, name: str) -> None:
    ready_file(folder, name).write_text(str(os.getpid()), encoding="utf-8")
