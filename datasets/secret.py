"""A credential in hand: shown by nothing but ``reveal``."""

from typing import NoReturn

from datasets.redaction import remember


class Secret:
    """A credential's value with its name and version.

    Its repr, text and format name it and show nothing of it. It is neither pickled nor copied: whoever works
    in another process gets it there, so that this is on record, too.
    """

    __slots__ = ("__value", "name", "version")

    def __init__(self, value: str, *, name: str, version: int) -> None:
        remember(value)
        self.__value = value
        self.name = name
        self.version = version

    def reveal(self) -> str:
        """The value, for the place where it is used and no other."""
        return self.__value

    def __repr__(self) -> str:
        return f"<secret {self.name} v{self.version}>"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"{self!r} does not leave its process; get it from the vault where it is used")
