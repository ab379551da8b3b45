"""Where a row's picture comes from: fetched by URL or read from a local file, and whether it is the known one."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from datasets.assets import has_asset, put_asset
from datasets.catalogue import CatalogueRow, is_local_path, local_image
from datasets.errors import NotFoundError
from datasets.fetch.facts import Known
from datasets.fetch.fetcher import Fetcher
from datasets.identity import digest_bytes
from datasets.ledger import CatalogueState
from datasets.storage import Storage
from tasks.intake import read_source


@dataclass(frozen=True)
class Arrived:
    """A row's picture.

    Attributes:
        asset: Digest of its bytes.
        fetched_url: Who gave the validators; of a local file, its path.
    """

    asset: str
    fetched_url: str | None
    etag: str | None
    last_modified: str | None = None


@dataclass(frozen=True)
class Pictures:
    """The way to the pictures of a table.

    Attributes:
        keeps: Whether what is fetched is kept as an asset; not in a dry run.
        roots: Folders that paths may lead into.
    """

    table: str
    fetcher: Fetcher
    storage: Storage
    max_bytes: int
    roots: tuple[Path, ...] = ()
    keeps: bool = True

    def arrive(self, row: CatalogueRow, state: CatalogueState | None, *, whole: bool = False) -> Arrived:
        """The picture of a row, asked for with what is known of it; ``whole``: its bytes are needed.

        Raises:
            PipelineError: There is none, or we do not go there.
        """
        known = None if whole or state is None or state.asset is None else state
        if is_local_path(row.image):
            return self._read(row, known)
        validators = None
        if known is not None and known.image == row.image and (known.etag or known.last_modified):
            validators = Known(known.etag, known.last_modified, known.fetched_url or "")
        found = self.fetcher.fetch(row.image, validators)
        if found.data is not None:
            return Arrived(self._keep(found.data), found.url, found.etag, found.last_modified)
        assert known is not None
        assert known.asset is not None
        return Arrived(known.asset, found.url, found.etag or known.etag, found.last_modified or known.last_modified)

    def is_kept(self, asset: str) -> bool:
        """Whether the bytes are still in the store."""
        return has_asset(self.storage, asset)

    def _read(self, row: CatalogueRow, known: CatalogueState | None) -> Arrived:
        path = local_image(self.table, row.image, roots=self.roots)
        tag = _tag(path)
        if known is not None and known.asset is not None and (known.fetched_url, known.etag) == (str(path), tag):
            return Arrived(known.asset, str(path), tag)
        return Arrived(self._keep(read_source(path, self.max_bytes)), str(path), tag)

    def _keep(self, data: bytes) -> str:
        return put_asset(self.storage, data) if self.keeps else digest_bytes(data)


def host_of(image: str) -> str:
    """Whom a picture is asked of; empty for local files."""
    return "" if is_local_path(image) else urlsplit(image).netloc.rpartition("@")[2].lower()


def shown(image: str) -> str:
    """A picture's address as it may be shown: its query may hold a signature."""
    return image if is_local_path(image) else image.split("?", 1)[0].split("#", 1)[0]


def _tag(path: Path) -> str:
    """What changes whenever a local file does: size, times of content and entry, and which file it is."""
    try:
        facts = path.stat()
    except OSError as error:
        raise NotFoundError(f"there is no file {str(path)!r}; check the path", path=str(path)) from error
    return f"{facts.st_size}-{facts.st_mtime_ns}-{facts.st_ctime_ns}-{facts.st_ino}"
