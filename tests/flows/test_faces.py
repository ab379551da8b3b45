"""The stage ``faces`` from a photograph or a clip to a file: what is delivered, told, refused and recorded."""

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import tasks.faces
from datasets.lineage.beside import record_path
from datasets.lineage.record import parse_record
from datasets.settings import read_settings
from flows.order import ProductOrder
from flows.product import product
from flows.summary import RunSummary
from flows.video import run_video
from flows.video_order import VideoOrder
from model_blocks.face_alignment import SIDE
from tasks.prefect_stage import value_of
from tests.deployments.test_cli import stillmotion
from tests.model_blocks.parity import checkpoint
from tests.shared_data import fixture, shared

pytestmark = pytest.mark.usefixtures("prefect_api")

PHOTO = ({"stage": "faces"}, {"stage": "publish", "format": "png"})
CLIP = ({"stage": "faces"}, {"stage": "encode", "codec": "ffv1", "container": "mkv"})
STEPS = 4  # of 255; a clip goes through luma and chroma on its way to the file
HEAD = (slice(0, 256), slice(100, 356))  # of the astronaut


class Greening:
    """A restorer that costs nothing and leaves a trace."""

    side = SIDE

    def restore(self, faces: Tensor, fidelity: float = 0.5) -> Tensor:
        return (faces + torch.tensor([0.0, 0.2, 0.0]).view(1, 3, 1, 1)).clamp(0, 1)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Real ones of the detector; for the restorer a file that is never opened."""
    (tmp_path / "any.pth").write_bytes(b"never read")
    monkeypatch.setattr(tasks.faces, "face_restorer", lambda ref: Greening())
    return {"yunet": str(shared("weights/yunet_n_640_640.onnx")), "gfpgan-1.4": str(tmp_path / "any.pth")}


def head() -> np.ndarray[Any, np.dtype[np.uint8]]:
    with Image.open(fixture("images/astronaut.png")) as picture:
        return np.array(picture.convert("RGB"))[HEAD]


def save(pixels: np.ndarray[Any, Any], path: Path) -> Path:
    cv2.imwrite(str(path), pixels[..., [2, 1, 0, 3][: pixels.shape[2]]] if pixels.shape[2] == 3 else pixels)
    return path


def save_clip(frames: list[np.ndarray[Any, Any]], path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(25))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def decoded(path: Path) -> np.ndarray[Any, Any]:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def run(photo: Path, weights: dict[str, str], recipe: Any = PHOTO, **more: Any) -> RunSummary:
    order = ProductOrder(
        photos=(str(photo),), recipe=recipe, out=str(Path("out").absolute()), weights=weights,
        **{"purpose": "research", **more},
    )  # fmt: skip
    summary = value_of(product(order, return_state=True))
    assert isinstance(summary, RunSummary)
    return summary


def delivered(summary: RunSummary) -> tuple[Path, np.ndarray[Any, Any]]:
    assert summary.exit_status == 0, summary.to_json()
    path = summary.items[0].outputs[0].path
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    return path, pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]


def test_a_face_is_restored_and_all_else_stays(tmp_path: Path, weights: dict[str, str]) -> None:
    photo = save(head(), tmp_path / "head.png")
    first = run(photo, weights)
    path, made = delivered(first)
    assert path.name == "head-restored.png"
    assert first.items[0].reasons == ()
    change = made.astype(int) - head()
    assert change[115, 128].tolist()[::2] == [0, 0]  # the nose: green alone
    assert 49 <= change[115, 128, 1] <= 51
    assert not change[220:].any()
    assert not change[:, :20].any()
    again = run(photo, weights)
    assert all(stage.cached for stage in again.items[0].stages)


def test_sixteen_bits_and_alpha_are_kept(tmp_path: Path, weights: dict[str, str]) -> None:
    deep = np.dstack([head().astype(np.uint16) * 257, np.full((256, 256), 65535, np.uint16)])
    deep[:10, :, 3] = 0
    deep[..., 2] += np.arange(256, dtype=np.uint16) // 2 * (deep[..., 2] < 65000)
    photo = tmp_path / "head.png"
    cv2.imwrite(str(photo), deep[..., [2, 1, 0, 3]])
    _, made = delivered(run(photo, weights))
    assert made.dtype == np.uint16
    np.testing.assert_array_equal(made[..., 3], deep[..., 3])
    np.testing.assert_array_equal(made[220:], deep[220:])
    assert made[115, 128, 1] > deep[115, 128, 1]


@pytest.mark.parametrize(
    ("name", "config", "code"), [("coffee.png", {}, "no_face"), ("", {"smallest": 200}, "faces_too_small")]
)
def test_a_picture_without_a_face_to_restore_passes_and_says_so(
    tmp_path: Path, weights: dict[str, str], name: str, config: dict[str, int], code: str
) -> None:
    photo = fixture(f"images/{name}") if name else save(head(), tmp_path / "head.png")
    with Image.open(photo) as picture:
        before = np.array(picture.convert("RGB"))
    summary = run(photo, weights, recipe=({"stage": "faces", **config}, PHOTO[1]))
    _, made = delivered(summary)
    np.testing.assert_array_equal(made, before)
    assert [reason.code for reason in summary.items[0].reasons] == [code]


def test_every_frame_of_a_clip_is_searched_for_itself(tmp_path: Path, weights: dict[str, str]) -> None:
    frames = [head(), np.roll(head(), 12, axis=1), np.full_like(head(), 90), head()[:, ::-1].copy()]
    clip = save_clip(frames, tmp_path / "head.mkv")
    order = VideoOrder(clips=(str(clip),), recipe=CLIP, out=str(tmp_path / "out"), weights=weights, purpose="research")
    summary = run_video(order, read_settings())
    assert summary.exit_status == 0, summary.to_json()
    made = decoded(summary.items[0].outputs[0].path)
    assert len(made) == 4
    change = made.astype(int) - np.stack(frames)
    for number, nose in ((0, 128), (1, 140), (3, 127)):
        assert abs(np.median(change[number, 105:125, nose - 10 : nose + 10, 1]) - 51) <= STEPS
    assert np.abs(change[2]).max() <= STEPS
    assert np.abs(change[:, 225:]).mean() <= STEPS


def test_by_default_the_run_is_commercial_and_refused(
    tmp_path: Path, weights: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    photo, recipe = save(head(), tmp_path / "head.png"), tmp_path / "faces.json"
    recipe.write_text(json.dumps(PHOTO))
    given = [f"--weights={name}={path}" for name, path in weights.items()]
    for models in ("auto", "restore_faces=gfpgan-1.4"):
        arguments = ("product", str(photo), "--recipe", str(recipe), "--out", "out", "--models", models, *given)
        status, _, err = stillmotion(capsys, *arguments)
        assert status != 0
        for words in ("licence of gfpgan-1.4", "CC-BY-NC-SA-4.0", "commercial run", "--purpose research"):
            assert words in err, err
        assert not (tmp_path / "out").exists() or not list((tmp_path / "out").rglob("*.png"))


def test_a_research_run_is_allowed_and_recorded_as_such(
    tmp_path: Path, weights: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    photo, recipe = save(head(), tmp_path / "head.png"), tmp_path / "faces.json"
    recipe.write_text(json.dumps(PHOTO))
    given = [f"--weights={name}={path}" for name, path in weights.items()]
    arguments = ("product", str(photo), "--recipe", str(recipe), "--out", "out", "--purpose", "research", "--json")
    status, out, err = stillmotion(capsys, *arguments, *given)
    assert status == 0, err
    (output,) = json.loads(out)["items"][0]["outputs"]
    assert output["role"] == "restored"
    record = parse_record(record_path(Path(output["path"])).read_bytes())
    definition = record["predicate"]["buildDefinition"]
    assert '"purpose": "research"' in json.dumps(definition["externalParameters"])
    licences = {
        each["name"]: each["annotations"]["licence"]
        for each in definition["resolvedDependencies"]
        if "licence" in each.get("annotations", {})
    }
    assert licences["yunet"] == "MIT"
    assert "CC-BY-NC-SA-4.0" in licences["gfpgan-1.4"]
    report = Path(json.loads(out)["report"]).read_text()
    for words in (
        '<td role="cell" data-name="Purpose">research</td>',
        '<td role="cell" data-name="Licence">MIT</td>',
        '<td role="cell" data-name="Licence">Apache-2.0 AND CC-BY-NC-SA-4.0 ',
    ):
        assert words in report


def test_without_weights_the_remedy_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLMOTION_WEIGHTS_DIR", str(tmp_path / "none"))
    photo, recipe = save(np.zeros((8, 8, 3), np.uint8), tmp_path / "a.png"), tmp_path / "faces.json"
    recipe.write_text(json.dumps(PHOTO))
    status, _, err = stillmotion(
        capsys, "product", str(photo), "--recipe", str(recipe), "--out", "out", "--purpose", "research"
    )
    assert status != 0
    assert "stillmotion models pull yunet" in err


# with the network itself, on weights by the recipe of the reference data


@pytest.fixture(scope="module")
def real_weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    path = checkpoint("GFPGANv1.4", tmp_path_factory.mktemp("gfpgan") / "GFPGANv1.4.pth")
    yield {"yunet": str(shared("weights/yunet_n_640_640.onnx")), "gfpgan-1.4": str(path)}
    path.unlink()  # hundreds of megabytes


@pytest.mark.slow
def test_a_photograph_and_a_clip_go_through_the_network(tmp_path: Path, real_weights: dict[str, str]) -> None:
    photo = save(head(), tmp_path / "head.png")
    _, made = delivered(run(photo, real_weights))
    change = made.astype(int) - head()
    assert change[60:170, 80:170].any()
    assert not change[220:].any()
    frames = [head(), np.full_like(head(), 90), np.roll(head(), 12, axis=1)]
    order = VideoOrder(
        clips=(str(save_clip(frames, tmp_path / "head.mkv")),), recipe=CLIP, out=str(tmp_path / "clip"),
        weights=real_weights, purpose="research",
    )  # fmt: skip
    summary = run_video(order, read_settings())
    assert summary.exit_status == 0, summary.to_json()
    shown = decoded(summary.items[0].outputs[0].path)
    assert len(shown) == 3
    assert np.abs(shown[0].astype(int) - made).mean() <= STEPS
    assert np.abs(shown[1].astype(int) - frames[1]).max() <= STEPS
    assert np.abs(shown[2].astype(int) - frames[2])[60:170, 92:182].mean() > 2 * STEPS
