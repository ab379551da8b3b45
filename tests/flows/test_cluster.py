"""Product and video on a Dask cluster of separate processes, S3 and PostgreSQL: by settings alone, as on a laptop."""

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from tests.flows.clip_files import save_moving_clip
from tests.flows.commands import delivered, product_command, video_command
from tests.model_blocks.driving import weights_of
from tests.photographs import save_product
from tests.postgresql import Database
from tests.s3_server import S3Server
from tests.services.dask_apart import DaskApart, dask_apart, end

PHOTO_RECIPE = [
    {"stage": "cutout"},
    {"stage": "upscale", "factor": 2},
    {"stage": "compose", "width": 200, "height": 160},
    {"stage": "publish", "format": "png"},
    {"stage": "thumbnails", "sizes": [48]},
]
CLIP_RECIPE = [
    {"stage": "upscale", "factor": 2},
    {"stage": "encode", "codec": "ffv1", "segment_frames": 20},
    {"stage": "thumbnails"},
]


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory, s3_service: S3Server) -> Iterator[DaskApart]:
    """Workers know how to get into S3; where it is comes with the tasks."""
    place = tmp_path_factory.mktemp("dask")
    with dask_apart(place, {"first": "GPU=1", "second": ""}, _keys(s3_service)) as running:
        yield running


def _keys(s3: S3Server) -> dict[str, str]:
    return {name: value for name, value in s3.environment.items() if name.startswith("AWS_")}


@pytest.fixture
def company(s3: S3Server, postgres: Database, apart: DaskApart) -> dict[str, str]:
    return installed(s3, postgres, apart)


def installed(s3: S3Server, postgres: Database, apart: DaskApart) -> dict[str, str]:
    """The environment of an installation on S3, PostgreSQL and a cluster, for commands to be given."""
    return {
        **s3.environment,
        **postgres.environment,
        "STILLMOTION_STORAGE_ROOT": f"{s3.url}/shop",
        "STILLMOTION_DASK_ADDRESS": apart.address,
    }


def recipe_file(path: Path, stages: Sequence[object]) -> str:
    path.write_text(json.dumps(stages))
    return str(path)


def executed(apart: DaskApart) -> dict[str, int]:
    """How many tasks each worker has computed so far, by its name."""
    from distributed import Client

    def count(dask_worker: object) -> tuple[str, int]:
        return str(dask_worker.name), int(dask_worker.state.executed_count)  # type: ignore[attr-defined]

    with Client(apart.address, set_as_default=False) as client:
        return dict(client.run(count, on_error="ignore").values())


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_a_product_run_on_the_cluster_gives_what_a_laptop_gives(
    tmp_path: Path, apart: DaskApart, company: dict[str, str]
) -> None:
    photos = [save_product(tmp_path / "in" / f"{n}.png", 200 + n, 160, n) for n in range(4)]
    recipe = recipe_file(tmp_path / "photo.json", PHOTO_RECIPE)
    before = executed(apart)
    laptop = product_command(photos, tmp_path / "laptop", "--recipe", recipe)
    assert laptop.wait(300) == 0
    assert executed(apart) == before
    there = product_command(photos, tmp_path / "there", "--recipe", recipe, "--json", environment=company)
    document, said = there.communicate(timeout=300)
    assert there.returncode == 0, f"{said}\n{document}"
    assert delivered(tmp_path / "there") == delivered(tmp_path / "laptop") != {}
    after = executed(apart)
    assert all(after[name] > before[name] for name in after), (before, after)
    assert apart.dashboard in said
    assert apart.dashboard in _links(json.loads(document)["run_id"])


def _links(run_id: str) -> str:
    """What the run's link artifacts hold."""
    with get_client(sync_client=True) as client:
        mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
        return " ".join(
            str(found.data) for found in client.read_artifacts(artifact_filter=mine) if found.key == "dask-dashboard"
        )


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_a_clip_on_the_cluster_is_the_clip_of_a_laptop_though_a_worker_is_killed(
    tmp_path: Path, apart: DaskApart, company: dict[str, str]
) -> None:
    clip = save_moving_clip(tmp_path / "clip.mp4", 4, width=160, height=120)
    options = ("--recipe", recipe_file(tmp_path / "clip.json", CLIP_RECIPE), "--models", "embedded")
    laptop = video_command([clip], tmp_path / "laptop", *options)
    assert laptop.wait(300) == 0
    victim = apart.add_worker("victim")
    apart.wait_for_workers(3)
    killer = threading.Thread(target=_kill_when_it_worked, args=(apart,))
    killer.start()
    there = video_command([clip], tmp_path / "there", *options, environment=company)
    document, said = there.communicate(timeout=300)
    killer.join(60)
    assert there.returncode == 0, f"{said}\n{document}"
    assert victim.poll() is not None
    assert "Traceback" not in said
    assert delivered(tmp_path / "there") == delivered(tmp_path / "laptop") != {}


def _kill_when_it_worked(apart: DaskApart) -> None:
    while executed(apart)["victim"] < 2:
        pass
    end(apart.workers["victim"])


@pytest.mark.slow
def test_a_model_whose_device_no_worker_has_is_refused_before_any_work(
    tmp_path: Path, s3: S3Server, postgres: Database
) -> None:
    name = "realesr-general-x4v3"
    photo = save_product(tmp_path / "in" / "a.png")
    with dask_apart(tmp_path / "dask", {"only": "abacus=3"}, _keys(s3)) as apart:
        there = product_command(
            [photo],
            tmp_path / "out",
            *("--recipe", recipe_file(tmp_path / "r.json", [{"stage": "upscale", "factor": 2}, {"stage": "publish"}])),
            *("--models", f"upscale={name}", "--weights", f"{name}={weights_of(name)}", "--device", "cuda", "--json"),
            environment=installed(s3, postgres, apart),
        )
        out, said = there.communicate(timeout=300)
    assert there.returncode != 0, said
    (reason,) = json.loads(out)["reasons"]
    assert reason["code"] == "no_resource"
    assert "GPU=1" in reason["message"]
    assert "abacus=3" in reason["message"]


@pytest.mark.usefixtures("prefect_api")
def test_a_cluster_elsewhere_is_refused_by_the_command_with_the_reasons(tmp_path: Path) -> None:
    photo = save_product(tmp_path / "in" / "a.png")
    settings = {"STILLMOTION_DASK_ADDRESS": "tcp://127.0.0.1:9"}  # refused before anybody connects
    running = product_command([photo], tmp_path / "out", "--json", environment=settings)
    out, said = running.communicate(timeout=120)
    assert running.returncode == 2
    (reason,) = json.loads(out)["reasons"]
    assert (reason["code"], reason["facts"]["reasons"]) == ("settings", ["ledger_sqlite", "storage_local"])
    assert "Traceback" not in said


@pytest.mark.slow
def test_workers_that_cannot_get_into_the_storage_are_refused_before_any_work(
    tmp_path: Path, s3: S3Server, postgres: Database
) -> None:
    photo = save_product(tmp_path / "in" / "a.png")
    with dask_apart(tmp_path / "dask", {"only": ""}, dict.fromkeys(_keys(s3), "")) as apart:
        there = product_command(
            [photo],
            tmp_path / "out",
            *("--recipe", "thumbnails", "--json"),
            environment=installed(s3, postgres, apart),
        )
        out, said = there.communicate(timeout=300)
    assert there.returncode == 2, said
    (reason,) = json.loads(out)["reasons"]
    assert reason["code"] == "settings"
    assert "AWS_*" in reason["message"]
    assert "STILLMOTION_STORAGE_BLOCK" in reason["message"]
