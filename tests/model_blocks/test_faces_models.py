"""Faces are restored as the authors' code restores them, for purposes that licences allow; no other file is taken."""

import copy
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import model_blocks.codeformer
from datasets.errors import FrameShapeError, ModelUnknownError, UsageError
from model_blocks.capabilities import FaceRestorer
from model_blocks.choice import choose_model
from model_blocks.codeformer import CodeformerRestorer, open_codeformer
from model_blocks.face_alignment import SIDE
from model_blocks.face_network import FaceNetwork
from model_blocks.gfpgan import GfpganRestorer, open_gfpgan
from model_blocks.registry import ModelFacts, find_model, known_models
from model_blocks.weight_errors import WeightsKeysError
from tests.model_blocks.parity import assert_parity, checkpoint, compared, golden
from tests.model_blocks.parity_faces import as_faces, codeformer_outputs, gfpgan_outputs

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
    else:  # what the network does unless it is told otherwise

        def drawn(self: GfpganRestorer, values: Tensor, fidelity: float) -> Tensor:
            made: Tensor = self.network(values, return_rgb=False)[0]
            return made

        monkeypatch.setattr(GfpganRestorer, "_run", drawn)
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
    with pytest.raises(ModelUnknownError, match=r"models pull gfpgan-1\.4`; codeformer: .*models pull codeformer`$"):
        choose("auto", "research", present=False)
    with pytest.raises(ModelUnknownError, match=r"models pull yunet`$"):
        choose_model("detect_faces", "auto", device="cpu", purpose="commercial")


def test_every_model_of_the_family_is_tested() -> None:
    names = {facts.name for facts in (*known_models("detect_faces"), *known_models("restore_faces"))}
    assert names == {"yunet", "gfpgan-1.4", "codeformer"}


@pytest.mark.parametrize("name", ["gfpgan-1.4", "codeformer"])
def test_the_registry_holds_the_published_digests(name: str) -> None:
    facts: ModelFacts = find_model(name, "restore_faces")
    assert facts.sha256 is not None
    assert facts.bytes is not None
    assert "commercial" not in facts.purposes
