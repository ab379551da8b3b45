"""Stored bytes that rot, shrink or vanish: nothing wrong is delivered, and what was damaged is whole again after it."""

import hashlib
import random
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from flows.order import ProductOrder
from flows.product import product
from flows.summary import RunSummary
from tasks.prefect_stage import value_of
from tests.photographs import save_product

pytestmark = [pytest.mark.usefixtures("prefect_api"), pytest.mark.slow]

ITEMS = 20
FLIPS, TRUNCATIONS, DELETIONS = 200, 50, 50
Damage = Callable[[Path, random.Random], None]


def flip(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    position = chance.randrange(len(data) * 8)
    data[position // 8] ^= 1 << position % 8
    path.write_bytes(data)


def truncate(path: Path, chance: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])


def delete(path: Path, chance: random.Random) -> None:
    path.unlink()


def run(photos: Iterable[Path], out: Path, quality: int) -> RunSummary:
    """Every quality is a new consumer of the same stored pictures: all their chunks are read again."""
    recipe = (
        {"stage": "cutout", "id": "object"},
        {"stage": "publish", "format": "webp", "quality": quality},
        {"stage": "publish", "input": "intake", "format": "jpeg", "quality": quality, "role": "composed"},
    )
    order = ProductOrder(photos=tuple(map(str, photos)), recipe=recipe, out=str(out))
    summary = value_of(product(order, return_state=True))
    assert isinstance(summary, RunSummary)
    return summary


def delivered(summary: RunSummary) -> dict[str, str]:
    files = [output.path for item in summary.items for output in item.outputs]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def pictures(summary: RunSummary, store: Path) -> list[Path]:
    """The folders of each item's intake and cutout."""
    names = [stage.picture.fingerprint for item in summary.items for stage in item.stages[:2]]
    return [store / "tenants" / "default" / "outputs" / name[:2] / name for name in names]


class Campaign:
    """The same photographs in two stores: one that is damaged, and one that nobody touches."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # Two of them are wider than a stored tile, so that their pictures have several chunks.
        self.photos = [
            save_product(folder / "in" / f"{n}.png", 1100 + n if n < 2 else 90 + n, 80, n) for n in range(ITEMS)
        ]
        self.folder, self.monkeypatch, self.quality = folder, monkeypatch, 10
        self.folders = pictures(self.again("damaged"), folder / "damaged")

    def again(self, store: str) -> RunSummary:
        self.monkeypatch.setenv("STILLMOTION_STORAGE_ROOT", str(self.folder / store))
        return run(self.photos, self.folder / f"out-{store}", self.quality)

    def after(self, damaged: list[Path], damage: Damage, chance: random.Random) -> None:
        """Damage each of these files, deliver from the store, and compare with what an untouched one delivers."""
        before = {path: path.read_bytes() for path in damaged}
        for path in before:
            damage(path, chance)
        hurt = [path for path, data in before.items() if not path.exists() or path.read_bytes() != data]
        self.quality += 1
        summary, truth = self.again("damaged"), self.again("untouched")
        assert [item.status for item in summary.items] == ["delivered"] * ITEMS
        assert delivered(summary) == delivered(truth)
        assert hurt, "nothing was damaged"
        assert [path for path in hurt if path.read_bytes() != before[path]] == []


def rounds(total: int) -> list[int]:
    return [min(ITEMS, total - begun) for begun in range(0, total, ITEMS)]


@pytest.mark.parametrize(
    ("damage", "times"), [(flip, FLIPS), (truncate, TRUNCATIONS), (delete, DELETIONS)], ids=["flip", "cut", "delete"]
)
def test_damaged_chunks_are_noticed_and_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Damage, times: int
) -> None:
    campaign, chance = Campaign(tmp_path, monkeypatch), random.Random(times)
    for count in rounds(times):
        chunks = [path for folder in campaign.folders for path in sorted(folder.rglob("pixels/c/*/*/*/*"))]
        campaign.after(chance.sample(chunks, count), damage, chance)


@pytest.mark.parametrize("name", ["manifest.json", "frames.zarr/zarr.json", "frames.zarr/pixels/zarr.json"])
@pytest.mark.parametrize("damage", [flip, truncate, delete])
def test_damaged_descriptions_are_noticed_and_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, damage: Damage
) -> None:
    campaign, chance = Campaign(tmp_path, monkeypatch), random.Random(name)
    campaign.after([folder / name for folder in campaign.folders], damage, chance)
