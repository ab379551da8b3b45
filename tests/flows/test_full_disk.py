"""A disk that fills up anywhere: nothing wrong is delivered, the reason is said, and space is all it takes to go on."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.commands import delivered, product_command
from tests.photographs import save_product

pytestmark = [pytest.mark.usefixtures("prefect_api"), pytest.mark.slow]

POINTS = 20
EXPLAINED = ("storage_unavailable", "disk_too_small", "settings")
RECIPE = '[{"stage": "cutout"}, {"stage": "upscale", "factor": 3}, {"stage": "publish", "format": "png"}]'


class Disk:
    """A small disk of its own: a tmpfs of a given size."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resize(self, size: int) -> None:
        mount("-o", f"remount,size={size}", str(self.folder))

    def used(self) -> int:
        facts = os.statvfs(self.folder)
        return (facts.f_blocks - facts.f_bfree) * facts.f_frsize


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine lets nobody mount a small disk: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=256m", "tmpfs", str(folder))
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def run(photos: list[Path], disk: Disk, recipe: Path) -> tuple[int, str]:
    environment = {"STILLMOTION_STORAGE_ROOT": str(disk.folder / "store"), "STILLMOTION_DISK_RESERVE_MB": "0"}
    running = product_command(photos, disk.folder / "out", "--recipe", str(recipe), environment=environment)
    out, said = running.communicate(timeout=120)
    return running.returncode, out + said


def wipe(disk: Disk) -> None:
    subprocess.run(["find", str(disk.folder), "-mindepth", "1", "-delete"], check=True)


@pytest.mark.parametrize("part", range(4))
def test_a_full_disk_is_explained_and_the_run_goes_on_once_there_is_space(
    tmp_path: Path, disk: Disk, part: int
) -> None:
    """Twenty points from an almost empty disk to one that just does not hold the last file, in four parts."""
    photos = [save_product(tmp_path / "in" / f"{n}.png", 300 + n, 240, n) for n in range(3)]
    recipe = tmp_path / "recipe.json"
    recipe.write_text(RECIPE)
    status, said = run(photos, disk, recipe)
    assert status == 0, said
    whole, needed = delivered(disk.folder / "out"), disk.used()
    for point in range(1 + part, POINTS + 1, 4):
        wipe(disk)
        disk.resize(needed * point // (POINTS + 1))
        status, said = run(photos, disk, recipe)
        assert "Traceback" not in said
        assert status in (0, 1, 2), said
        if status:  # what SQLite had in its log was not all needed
            assert any(code in said for code in EXPLAINED), said
        before = delivered(disk.folder / "out") if (disk.folder / "out").exists() else {}
        assert {name: whole[name] for name in before} == before
        disk.resize(256 << 20)
        status, said = run(photos, disk, recipe)
        assert status == 0, said
        assert delivered(disk.folder / "out") == whole
        assert not [path for path in disk.folder.rglob("*") if ".part" in path.name]
