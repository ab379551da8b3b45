"""Clips with their storage on an S3 service that fails now and then and their ledger on PostgreSQL."""

from pathlib import Path

import pytest

from datasets.settings import read_settings
from flows.video import run_video
from flows.video_order import VideoOrder
from tests.flows.clip_files import save_moving_clip
from tests.flows.commands import delivered
from tests.postgresql import Database
from tests.s3_server import S3Server

pytestmark = [pytest.mark.usefixtures("prefect_api"), pytest.mark.slow]

FAULTS = 0.02
RECIPE = (
    {"stage": "upscale", "factor": 2},
    {"stage": "interpolate", "factor": 2},
    {"stage": "encode", "codec": "ffv1", "segment_frames": 20},
    {"stage": "thumbnails"},
)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_clip_on_s3_is_the_clip_on_disk(
    workers: int, tmp_path: Path, s3: S3Server, postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = save_moving_clip(tmp_path / "clip.mp4", 2, width=64, height=48)

    def run(name: str, **settings: object) -> dict[str, str]:
        order = VideoOrder(clips=(str(clip),), recipe=RECIPE, out=str(tmp_path / name), models="embedded")
        summary = run_video(order, read_settings(**settings))
        assert summary.exit_status == 0, summary.to_json()
        return delivered(tmp_path / name)

    on_disk = run("on-disk", storage_root=str(tmp_path / "store"))
    for name, value in (s3.environment | postgres.environment).items():
        monkeypatch.setenv(name, value)
    s3.rate = FAULTS
    assert run("on-s3", storage_root=f"{s3.url}/shop", workers=workers) == on_disk
    s3.rate = 0
    order = VideoOrder(clips=(str(clip),), recipe=RECIPE, out=str(tmp_path / "on-s3"), models="embedded")
    again = run_video(order, read_settings(storage_root=f"{s3.url}/shop"))
    assert all(stage.cached for item in again.items for stage in item.stages)
