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
    raise NotImplementedError
