"""Faces are found where they are, and restored as the authors' code restores them; no other file is taken."""

import copy
import hashlib
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

import model_blocks.codeformer
from datasets.errors import FrameShapeError, ModelUnknownError, UsageError
from model_blocks.capabilities import Face, FaceDetector, FaceRestorer
from model_blocks.choice import choose_model
from model_blocks.codeformer import CodeformerRestorer, open_codeformer
from model_blocks.face_alignment import SIDE, TEMPLATE, estimate_alignment, scale_of
from model_blocks.face_network import FaceNetwork
from model_blocks.gfpgan import GfpganRestorer, open_gfpgan
from model_blocks.registry import ModelFacts, find_model, known_models
from model_blocks.weight_errors import WeightsDamagedError, WeightsDigestError, WeightsKeysError, WeightsMissingError
from model_blocks.weight_files import check
from model_blocks.yunet import YunetDetector, open_yunet
from tests.model_blocks.parity import assert_parity, checkpoint, compared, golden
from tests.model_blocks.parity_faces import as_faces, codeformer_outputs, gfpgan_outputs
from tests.shared_data import fixture, shared

YUNET = "weights/yunet_n_640_640.onnx"
ASTRONAUT = (178, 65, 91, 111)  # x, y, width, height of her face, read off the picture
Opened = Callable[[str], Any]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """A restorer with the reference weights, loaded from a file such as the authors publish; the file is made once."""
    folder = tmp_path_factory.mktemp("face-weights")

    @lru_cache
    def make(name: str) -> Any:
        manifest, opener = {"gfpgan-1.4": ("GFPGANv1.4", open_gfpgan), "codeformer": ("codeformer", open_codeformer)}[
            name
        ]
        path = checkpoint(manifest, folder / f"{manifest}.pth")
        try:
            return opener(name, path)
        finally:
            path.unlink()  # hundreds of megabytes

    yield make
    make.cache_clear()


@lru_cache
def detector() -> YunetDetector:
    return open_yunet("yunet", shared(YUNET))


def picture(name: str) -> Tensor:
    pixels = cv2.imread(str(fixture(f"images/{name}")))
    assert pixels is not None
    return as_image(pixels[..., ::-1])


def as_image(pixels: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)


def scaled(image: Tensor, factor: float) -> Tensor:
    pixels = image.permute(1, 2, 0).numpy()
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    made = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=how)
    return torch.from_numpy(np.asarray(made)).permute(2, 0, 1).clamp(0, 1)


# GFPGAN and CodeFormer against their authors' outputs


@pytest.mark.slow
def test_gfpgan_gives_the_reference_values(opened: Opened) -> None:
    assert_parity("GFPGANv1.4", gfpgan_outputs(opened("gfpgan-1.4"), golden("GFPGANv1.4")[0]))


@pytest.mark.slow
def test_codeformer_gives_the_reference_values_at_every_fidelity(opened: Opened) -> None:
    assert_parity("codeformer", codeformer_outputs(opened("codeformer"), golden("codeformer")[0]))


def missed(manifest: str, made: dict[str, Any]) -> set[str]:
    """The outputs among those made that are not the reference's."""
    return {each.output for each in compared(manifest, made) if each.output in made and not each.passed}


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["channels", "range", "noise"])
def test_gfpgan_misses_the_reference_with_another_convention(
    broken: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, (inputs, _) = opened("gfpgan-1.4"), golden("GFPGANv1.4")
    given = dict(inputs)
    if broken == "channels":
        given["face_rgb_u8"] = np.ascontiguousarray(inputs["face_rgb_u8"][..., ::-1])
    elif broken == "range":
        monkeypatch.setattr(FaceNetwork, "normalised", lambda self, faces: faces)
    else:
        monkeypatch.setattr(GfpganRestorer, "_run", lambda self, values, fidelity: self.network(values)[0])
    assert missed("GFPGANv1.4", gfpgan_outputs(model, given)) == {"net_sub", "net_crop", "net_u8"}


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["channels", "range", "fidelity"])
def test_codeformer_misses_the_reference_with_another_convention(
    broken: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, (inputs, _) = opened("codeformer"), golden("codeformer")
    given, expected = dict(inputs), {"w1_sub", "w1_crop", "logits_sub", "lq_feat_sub", "code_idx"}
    if broken == "channels":
        given["face_rgb_u8"] = np.ascontiguousarray(inputs["face_rgb_u8"][..., ::-1])
    elif broken == "range":
        monkeypatch.setattr(FaceNetwork, "normalised", lambda self, faces: faces)
    else:  # the network takes any word and says nothing

        def swallowed(self: CodeformerRestorer, values: Tensor, fidelity: float) -> Tensor:
            made: Tensor = self.network(values, w=fidelity)[0]
            return made

        monkeypatch.setattr(CodeformerRestorer, "_run", swallowed)
        expected = {"w1_sub", "w1_crop"}
    assert missed("codeformer", codeformer_outputs(model, given, ("1",))) == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gfpgan-1.4", "codeformer"])
def test_networks_are_ready_for_inference_and_repeat_themselves(name: str, opened: Opened) -> None:
    model = opened(name)
    assert issubclass(type(model), FaceNetwork)
    assert model.side == SIDE
    assert not any(module.training for module in model.network.modules())
    assert not any(weight.requires_grad for weight in model.network.parameters())
    faces = torch.rand((2, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(1))
    both = model.restore(faces, 0.5)
    assert both.shape == faces.shape
    assert both.dtype == torch.float32
    assert 0 <= float(both.min()) < float(both.max()) <= 1
    assert torch.equal(both[1:], model.restore(faces[1:], 0.5))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), [("gfpgan-1.4", GfpganRestorer), ("codeformer", CodeformerRestorer)])
def test_half_precision_stays_near_full(name: str, kind: type[FaceNetwork], opened: Opened) -> None:
    """Rounding may choose other entries of CodeFormer's codebook, so its limit is wide."""
    full = opened(name)
    half = kind(copy.deepcopy(full.network), precision="bfloat16")
    faces = as_faces(golden("codeformer")[0])
    made, wanted = half.restore(faces, 1.0), full.restore(faces, 1.0)
    assert made.dtype == torch.float32
    assert bool(made.isfinite().all())
    assert 0 < float((made - wanted).abs().mean()) < 0.05


class Negative(FaceNetwork):
    """A network that turns colours round, far beyond its range."""

    def _run(self, values: Tensor, fidelity: float) -> Tensor:
        return -3 * values


def test_ranges_are_those_of_the_contract() -> None:
    model = Negative(torch.nn.Identity())
    assert isinstance(model, FaceRestorer)
    faces = torch.full((1, 3, SIDE, SIDE), 0.55)
    faces[:, 1] = 1.0
    made = model.restore(faces)
    assert made[0, :, 0, 0].tolist() == pytest.approx([0.35, 0.0, 0.35], abs=1e-6)
    assert model.restore(faces[:0]).shape == (0, 3, SIDE, SIDE)
    with pytest.raises(FrameShapeError, match="512"):
        model.restore(faces[..., :500])
    with pytest.raises(UsageError, match="0 to 1"):
        model.restore(faces, 1.5)


def saved(path: Path, state: dict[str, Tensor], container: str = "params_ema") -> Path:
    torch.save({container: state}, path)
    return path


def test_missing_and_unknown_keys_are_refused_by_name(tmp_path: Path) -> None:
    stray = saved(tmp_path / "stray.pth", {"discriminator.weight": torch.zeros(1)})
    with pytest.raises(WeightsKeysError, match=r"unknown: discriminator\.weight") as refused:
        open_gfpgan("gfpgan-1.4", stray)
    assert "condition_scale.0.0.bias" in str(refused.value)
    with pytest.raises(WeightsKeysError, match=r"unknown: discriminator\.weight") as refused:
        open_codeformer("codeformer", stray)
    assert refused.value.facts["missing_count"] == 515
    with pytest.raises(WeightsKeysError, match="no 'params_ema'"):
        open_gfpgan("gfpgan-1.4", saved(tmp_path / "other.pth", {"a": torch.zeros(1)}, "params"))


def test_what_inference_ignores_may_be_there_and_may_not(tmp_path: Path) -> None:
    """GFPGAN's file holds the mapping of styles and the pictures of its first half, which nothing reads."""
    ignored = {"toRGB.0.weight": torch.zeros(1), "stylegan_decoder.style_mlp.1.bias": torch.zeros(1)}
    with pytest.raises(WeightsKeysError) as refused:
        open_gfpgan("gfpgan-1.4", saved(tmp_path / "x.pth", ignored))
    assert refused.value.facts["unknown_count"] == 0
    assert refused.value.facts["missing_count"] == 285 - 14 - 16


@pytest.mark.slow
def test_another_shape_and_another_models_file_are_refused(tmp_path: Path, opened: Opened) -> None:
    state = dict(opened("gfpgan-1.4").network.state_dict())
    wrong = state | {"final_conv.bias": torch.zeros(7)}
    with pytest.raises(WeightsKeysError, match=r"another shape: final_conv\.bias"):
        open_gfpgan("gfpgan-1.4", saved(tmp_path / "shape.pth", wrong))
    with pytest.raises(WeightsKeysError, match="another model"):
        open_codeformer("codeformer", saved(tmp_path / "shape.pth", state))


def test_codeformer_without_its_package_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel_extra_arches.architectures.CodeFormer", None)
    with pytest.raises(ModelUnknownError, match=r"pip install 'stillmotion\[research\]'"):
        model_blocks.codeformer.open_codeformer("codeformer", tmp_path / "none.pth")


def test_the_choice_says_so_before_anything_is_fingerprinted(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        if name == "spandrel_extra_arches":
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr("model_blocks.choice.installed_version", absent)
    with pytest.raises(ModelUnknownError, match=r"spandrel_extra_arches.*pip install 'stillmotion\[research\]'"):
        choose("codeformer", "research")
    assert choose("gfpgan-1.4", "research").name == "gfpgan-1.4"


# licences


def choose(selection: str, purpose: Any, present: bool = True) -> Any:
    named = selection if selection in ("auto", "official", "embedded") else {"restore_faces": selection}
    return choose_model("restore_faces", named, device="cpu", purpose=purpose, available=lambda _: present)


@pytest.mark.parametrize(
    ("name", "licence", "reason"),
    [
        ("codeformer", "LicenseRef-S-Lab-1.0", "S-Lab licence"),
        ("gfpgan-1.4", "CC-BY-NC-SA-4.0", "StyleGAN2 and DFDNet"),
    ],
)
def test_a_commercial_run_is_refused_with_licence_reason_and_way_out(name: str, licence: str, reason: str) -> None:
    for selection in (name, "auto", "official"):
        with pytest.raises(ModelUnknownError) as refused:
            choose(selection, "commercial")
        words = str(refused.value)
        assert f"the licence of {name}" in words
        assert licence in words
        assert reason in words
        assert "no model to restore_faces is free for a commercial run" in words
        assert "--purpose research" in words
        assert refused.value.facts["alternatives"] == []


@pytest.mark.parametrize("purpose", ["research", "personal"])
def test_other_purposes_are_allowed(purpose: str) -> None:
    assert choose("auto", purpose).name == "gfpgan-1.4"
    assert choose("codeformer", purpose).name == "codeformer"


def test_absent_weights_are_answered_with_how_to_get_them() -> None:
    with pytest.raises(ModelUnknownError, match=r"models pull gfpgan-1\.4`$"):
        choose("auto", "research", present=False)
    with pytest.raises(ModelUnknownError, match=r"models pull yunet`$"):
        choose_model("detect_faces", "auto", device="cpu", purpose="commercial")


# YuNet


def near(face: Face, box: tuple[float, ...], tolerance: float) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(face.box, box, strict=True))


@pytest.mark.parametrize("width", [24, 48, 91, 400, 900])
def test_a_face_is_found_in_the_pictures_own_pixels(width: int) -> None:
    """From 24 pixels up to a face almost as wide as the picture."""
    factor = width / 91
    image = picture("astronaut.png")
    if width >= 400:
        image = image[:, 55:185, 170:280]
    found = detector().detect(scaled(image, factor))
    box = [value * factor for value in ASTRONAUT]
    if width >= 400:
        box[0], box[1] = box[0] - 170 * factor, box[1] - 55 * factor
    assert len(found) == 1
    assert near(found[0], tuple(box), 0.12 * width)
    right_eye, left_eye, nose, right_mouth, left_mouth = found[0].landmarks
    assert right_eye[0] < nose[0] < left_eye[0]
    assert right_mouth[0] < left_mouth[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])


def test_several_faces_are_found_at_their_places_each_once() -> None:
    image = picture("astronaut.png")
    large = torch.full((3, 1400, 2000), 0.5)
    places = [(0, 0, 1.0), (1130, 50, 0.5), (100, 700, 2.0)]
    for y, x, factor in places:
        copy_ = scaled(image, factor)
        large[:, y : y + copy_.shape[1], x : x + copy_.shape[2]] = copy_
    found = sorted(detector().detect(large), key=lambda face: face.box[2])
    assert len(found) == 3
    for face, (y, x, factor) in zip(found, sorted(places, key=lambda place: place[2]), strict=True):
        box = tuple(value * factor + shift for value, shift in zip(ASTRONAUT, (x, y, 0, 0), strict=True))
        assert near(face, box, 0.2 * 91 * factor)


def test_the_detector_wants_rgb() -> None:
    """A red and a blue picture of one shape are told apart; the authors' network takes blue first."""
    image = picture("astronaut.png")
    assert detector().detect(image)[0].score != detector().detect(image.flip(0))[0].score


@pytest.mark.parametrize("name", ["coffee.png", "teddy-bear.jpg", "tshirt_man_03.jpg", "cap_04.jpg", "brick.png"])
def test_products_have_no_face(name: str) -> None:
    assert detector().detect(picture(name)) == ()


@pytest.mark.parametrize("size", [(1, 1), (1, 14), (9, 2), (2, 1500), (0, 0)])
def test_odd_and_tiny_pictures_have_no_face(size: tuple[int, int]) -> None:
    assert detector().detect(torch.rand((3, max(1, size[0]), max(1, size[1])))) == ()


def test_the_same_picture_gives_the_same_faces() -> None:
    image = picture("astronaut.png")
    fresh = open_yunet("yunet", shared(YUNET))
    assert isinstance(fresh, FaceDetector)
    detector().detect(torch.rand((3, 200, 300)))
    assert detector().detect(image) == fresh.detect(image)


def test_a_detector_file_is_held_against_its_digest(tmp_path: Path) -> None:
    data = shared(YUNET).read_bytes()
    path = tmp_path / "face_detection_yunet_2023mar.onnx"
    path.write_bytes(data)
    open_yunet("yunet", path, sha256=hashlib.sha256(data).hexdigest())
    with pytest.raises(WeightsDigestError, match="expected 0000"):
        open_yunet("yunet", path, sha256="0" * 64)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(WeightsDigestError):
        open_yunet("yunet", path, sha256=hashlib.sha256(data).hexdigest())
    with pytest.raises(WeightsMissingError):
        open_yunet("yunet", tmp_path / "none.onnx")


@pytest.mark.parametrize("data", [b"", b"hello " * 200, b"PK\x03\x04" + b"0" * 100], ids=["empty", "text", "zip"])
def test_what_is_no_onnx_file_is_damaged(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(data)
    with pytest.raises(WeightsDamagedError, match="no ONNX file"):
        open_yunet("yunet", path)


def test_a_cut_off_detector_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(shared(YUNET).read_bytes()[:-1000])
    with pytest.raises(WeightsDamagedError):
        open_yunet("yunet", path)


def test_checking_an_onnx_file_reads_it_as_one(tmp_path: Path) -> None:
    facts = find_model("yunet")
    path = tmp_path / "face_detection_yunet_2023mar.onnx"
    path.write_bytes(shared(YUNET).read_bytes())
    assert check(facts, weights_dir=tmp_path).presence == "present"
    path.write_bytes(b"no network")
    found = check(facts, weights_dir=tmp_path)
    assert found.presence == "damaged"
    assert "no ONNX file" in found.detail


# alignment


def turned(angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray[Any, Any]:
    """The template's points in a picture in which the face is turned, scaled and moved."""
    cosine, sine = np.cos(np.radians(angle)) * scale, np.sin(np.radians(angle)) * scale
    made: np.ndarray[Any, Any] = np.asarray(TEMPLATE) @ np.asarray([[cosine, sine], [-sine, cosine]]) + shift
    return made


@pytest.mark.parametrize("angle", range(0, 360, 15))
@pytest.mark.parametrize("scale", [0.05, 0.5, 1.0, 7.3])
def test_landmarks_come_to_lie_on_the_template(angle: float, scale: float) -> None:
    points = turned(angle, scale, (300, -40))
    matrix = estimate_alignment([(x, y) for x, y in points])
    assert matrix is not None
    assert scale_of(matrix) == pytest.approx(1 / scale, rel=1e-3)
    assert np.abs(points @ matrix[:, :2].T + matrix[:, 2] - TEMPLATE).max() < 1


def test_one_landmark_far_off_moves_nothing() -> None:
    points = turned(20, 0.4, (90, 60))
    points[2] += (60, -45)
    matrix = estimate_alignment([(x, y) for x, y in points])
    assert matrix is not None
    others = [0, 1, 3, 4]
    assert np.abs((points @ matrix[:, :2].T + matrix[:, 2] - TEMPLATE)[others]).max() < 1


def test_landmarks_without_a_face_have_no_alignment() -> None:
    assert estimate_alignment([(5.0, 5.0)] * 5) is None
    assert estimate_alignment([(float("nan"), 1.0)] * 5) is None


def test_every_model_of_the_family_is_tested() -> None:
    names = {facts.name for facts in (*known_models("detect_faces"), *known_models("restore_faces"))}
    assert names == {"yunet", "gfpgan-1.4", "codeformer"}


@pytest.mark.parametrize("name", ["gfpgan-1.4", "codeformer"])
def test_the_registry_holds_the_published_digests(name: str) -> None:
    facts: ModelFacts = find_model(name, "restore_faces")
    assert facts.sha256 is not None
    assert facts.bytes is not None
    assert "commercial" not in facts.purposes
