"""A file and an address that nobody may open: what a hostile clip names."""

import ctypes
import os
import socket
from pathlib import Path

_OPENED = 0x20  # IN_OPEN of inotify(7)


class Canary:
    """Watches the opening of a file, by whatever library, and connections to a port of the loopback."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.path = path
        self._watch = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self._watch, os.fsencode(path), _OPENED) >= 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/clip.ts"

    def touched(self) -> bool:
        """Whether anything was opened since the last question."""
        return self._opened() or self._called()

    def _opened(self) -> bool:
        try:
            return bool(os.read(self._watch, 4096))
        except BlockingIOError:
            return False

    def _called(self) -> bool:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return False
        connection.close()
        return True

    def close(self) -> None:
        os.close(self._watch)
        self._listener.close()
