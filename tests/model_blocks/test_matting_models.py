"""BackgroundMattingV2 and MODNet compute what their authors' code computes, and take no other file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import model_blocks.background_matting as comparing
import model_blocks.modnet as portraits
import model_blocks.nets.bmv2 as coarse_and_fine
from datasets.errors import FrameShapeError
from model_blocks.background_matting import open_background_matting, settings_for
from model_blocks.capabilities import AlphaFinder, SmallAlphaFinder
from model_blocks.choice import ModelRef
from model_blocks.modnet import open_modnet, resized_by_area, working_size
from model_blocks.official import filled
from model_blocks.registry import find_model, known_models
from model_blocks.runtime import matter
from model_blocks.weight_errors import WeightsKeysError
from tests.model_blocks.parity import assert_parity, checkpoint, compared, golden
from tests.model_blocks.parity_matting import RUNS, as_images, background_outputs, portrait_outputs

MOBILE, DEEP, DEEPEST = "bmv2-mobilenetv2", "bmv2-resnet50", "bmv2-resnet101"
NAMES = ("modnet-photographic", "modnet-webcam")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A file such as the authors publish, by the name of its manifest; made once."""
    folder, made = tmp_path_factory.mktemp("weights"), dict[str, Path]()

    def file(name: str) -> Path:
        if name not in made:
            made[name] = checkpoint(name, folder / f"{name}.pth")
        return made[name]

    return file


def noise(*shape: int, seed: int = 3) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def resaved(path: Path, target: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, target)
    return target


@pytest.mark.parametrize("name", [MOBILE, pytest.param(DEEP, marks=pytest.mark.slow), "modnet"])
def test_the_whole_procedure_gives_the_authors_outputs(name: str, files: Any) -> None:
    assert_parity(name, RUNS[name].run(files(name), golden(name)[0]))


def in_training(network: Any, state: Any) -> Any:
    made = filled(network, state)
    made.backbone.train()
    return made


def missed(name: str, made: Any) -> set[str]:
    return {each.output for each in compared(name, made) if not each.passed}


@pytest.mark.parametrize("broken", ["channels", "picture for background", "no hidden features", "dilation", "training"])
def test_breaking_a_convention_of_background_matting_misses_the_reference(
    broken: str, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = golden(MOBILE)[0]
    match broken:
        case "channels":
            inputs = {name: value[..., ::-1] if value.ndim == 3 else value for name, value in inputs.items()}
        case "picture for background":
            inputs = inputs | {"src_u8": inputs["bgr_u8"], "bgr_u8": inputs["src_u8"]}
        case "no hidden features":
            monkeypatch.setattr(torch.Tensor, "relu", lambda values: values)
        case "dilation":
            monkeypatch.setattr(coarse_and_fine, "RATES", (6, 12, 18))
        case "training":
            monkeypatch.setattr(comparing, "filled", in_training)
    seen = {"f_pha"} if broken == "dilation" else {"s_pha", "t_pha", "f_pha"}  # a quarter has no room for the reaches
    assert seen <= missed(MOBILE, background_outputs(MOBILE, files(MOBILE), inputs))


@pytest.mark.parametrize(
    "broken",
    [
        "channels",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("0..1", "bilinear", "unscaled", "normalisation")),
    ],
)
def test_breaking_a_convention_of_modnet_misses_the_reference(
    broken: str, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = golden("modnet")[0]
    match broken:
        case "channels":
            inputs = {name: value[..., ::-1] if value.ndim == 3 else value for name, value in inputs.items()}
        case "0..1":
            monkeypatch.setattr(portraits, "MEAN", 0.0)
            monkeypatch.setattr(portraits, "SPREAD", 1.0)
        case "bilinear":
            stretch = torch.nn.functional.interpolate
            monkeypatch.setattr(
                portraits, "resized_by_area", lambda images, *size: stretch(images, size, mode="bilinear")
            )
        case "unscaled":
            monkeypatch.setattr(
                portraits, "working_size", lambda height, width: (-(-height // 32) * 32, -(-width // 32) * 32)
            )
        case "normalisation":
            monkeypatch.setattr(torch.nn.functional, "instance_norm", lambda values: values)
    model = open_modnet("modnet-photographic", files("modnet"))
    assert {"matte_f32_small", "matte_f32_keep"} <= missed("modnet", portrait_outputs(model, inputs))


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (227, 179, (640, 512)),  # wholly below 512: int(227 / 179 * 512) = 649, down to a multiple of 32
        (301, 535, (288, 512)),  # kept, down to multiples of 32
        (2000, 3000, (512, 768)),
        (3000, 2000, (768, 512)),
        (1, 1, (512, 512)),
        (1, 300, (512, 4096)),
        (1, 900, (32, 896)),
    ],
)
def test_the_size_that_modnet_works_at(height: int, width: int, expected: tuple[int, int]) -> None:
    assert working_size(height, width) == expected


def test_sizes_tell_how_closely_background_matting_looks() -> None:
    assert settings_for(1080, 1920) == (0.25, 80_000)
    assert settings_for(3840, 2160) == (0.125, 320_000)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (37, 50)])
def test_odd_sizes_come_back_whole_and_finite(size: tuple[int, int], files: Any) -> None:
    alpha, colours = open_background_matting(MOBILE, files(MOBILE)).find_alpha(noise(1, 3, *size), noise(1, 3, *size))
    assert colours is not None
    assert (alpha.shape, colours.shape) == ((1, 1, *size), (1, 3, *size))
    for values in (alpha, colours):
        assert values.isfinite().all()
        assert (values >= 0).all()
        assert (values <= 1).all()


def test_what_is_padded_repeats_the_edge_and_leaves_the_rest(files: Any) -> None:
    model = open_background_matting(MOBILE, files(MOBILE), mode="full")
    seen = [noise(1, 3, 37, 50, seed=seed) for seed in (1, 2)]
    wide = [torch.nn.functional.pad(each, (0, 2, 0, 3), mode="replicate") for each in seen]
    assert torch.equal(model.find_alpha(*seen)[0], model.find_alpha(*wide)[0][..., :37, :50])


@pytest.mark.parametrize("size", [(1, 1), pytest.param((33, 61), marks=pytest.mark.slow)])
def test_modnet_takes_odd_sizes(size: tuple[int, int], files: Any) -> None:
    alpha, colours = open_modnet("modnet-webcam", files("modnet")).find_alpha(noise(1, 3, *size))
    assert colours is None
    assert alpha.shape == (1, 1, *size)
    assert alpha.isfinite().all()


def test_a_picture_is_matted_as_in_a_batch(files: Any) -> None:
    model = open_background_matting(MOBILE, files(MOBILE))
    images, backgrounds = noise(2, 3, 64, 96), noise(2, 3, 64, 96, seed=4)
    both = model.find_alpha(images, backgrounds)[0]
    alone = torch.cat([model.find_alpha(images[n : n + 1], backgrounds[n : n + 1])[0] for n in range(2)])
    assert (both - alone).abs().max() < 1e-4


def test_the_small_alpha_stretched_is_the_alpha(files: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portraits, "SIDE", 64)  # quicker
    model = open_modnet("modnet-photographic", files("modnet"))
    assert isinstance(model, SmallAlphaFinder)
    images = noise(1, 3, 77, 90)
    stretched = resized_by_area(model.find_small_alpha(images), 77, 90)
    assert torch.equal(stretched, model.find_alpha(images)[0])


@pytest.mark.parametrize("background", [None, (1, 3, 8, 12), (1, 1, 8, 8)])
def test_a_background_of_another_shape_is_refused(background: tuple[int, ...] | None, files: Any) -> None:
    model = open_background_matting(MOBILE, files(MOBILE))
    with pytest.raises(FrameShapeError, match="same view without the object"):
        model.find_alpha(noise(1, 3, 8, 8), None if background is None else noise(*background))


def test_bfloat16_is_near(files: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [as_images(golden(MOBILE)[0][name]) for name in ("src_u8", "bgr_u8")]
    monkeypatch.setattr(portraits, "SIDE", 64)
    full, half = (
        open_background_matting(MOBILE, files(MOBILE), mode="full", precision=precision).find_alpha(*seen)[0]
        for precision in ("float32", "bfloat16")
    )
    assert half.dtype == torch.float32
    assert (full - half).abs().mean() < 0.03
    portrait = [
        open_modnet("modnet-photographic", files("modnet"), precision=precision).find_alpha(noise(1, 3, 64, 64))[0]
        for precision in ("float32", "bfloat16")
    ]
    assert (portrait[0] - portrait[1]).abs().mean() < 0.05


@pytest.mark.slow
def test_the_deepest_one_takes_its_file_and_runs(files: Any) -> None:
    model = open_background_matting(DEEPEST, files(DEEPEST))
    alpha, _ = model.find_alpha(noise(1, 3, 32, 40), noise(1, 3, 32, 40, seed=9))
    assert alpha.isfinite().all()


def test_missing_unknown_and_misshapen_tensors_are_named(files: Any, tmp_path: Path) -> None:
    path, target = files(MOBILE), tmp_path / "changed.pth"
    with pytest.raises(WeightsKeysError, match=r"refiner\.conv4\.bias"):
        open_background_matting(MOBILE, resaved(path, target, lambda state: state.pop("refiner.conv4.bias")))
    with pytest.raises(WeightsKeysError, match=r"refiner\.conv9"):
        open_background_matting(MOBILE, resaved(path, target, lambda s: s.update({"refiner.conv9": torch.zeros(1)})))
    with pytest.raises(WeightsKeysError, match=r"refiner\.conv4\.bias"):
        open_background_matting(
            MOBILE, resaved(path, target, lambda state: state.update({"refiner.conv4.bias": torch.zeros(5)}))
        )


def test_the_file_of_another_model_is_refused(files: Any) -> None:
    with pytest.raises(WeightsKeysError):
        open_background_matting(DEEP, files(MOBILE))
    with pytest.raises(WeightsKeysError):
        open_modnet("modnet-photographic", files(MOBILE))


def test_heads_for_training_are_passed_over_and_two_backbones_are_not(files: Any, tmp_path: Path) -> None:
    def without_heads(state: dict[str, Any]) -> None:
        for key in [key for key in state if ".conv_hr." in key or ".conv_lr." in key]:
            del state[key]

    target = tmp_path / "changed.ckpt"
    assert open_modnet("modnet-webcam", resaved(files("modnet"), target, without_heads))
    key = "module.lr_branch.backbone.model.features.0.0.weight"
    with pytest.raises(WeightsKeysError, match="to be the same"):
        open_modnet("modnet-webcam", resaved(files("modnet"), target, lambda state: state[key].add_(1)))


def test_models_come_from_the_registry_as_they_are_registered(files: Any) -> None:
    for name, file in ((MOBILE, MOBILE), ("modnet-photographic", "modnet")):
        facts = find_model(name, "matte")
        model = matter(ModelRef(name, "", "cpu", path=str(files(file))))
        assert isinstance(model, AlphaFinder)
        assert (facts.finds_alpha, facts.needs_background) == (True, model.needs_background)


def test_no_run_gets_them_unasked() -> None:
    found = [facts for facts in known_models("matte") if facts.finds_alpha]
    assert {facts.name for facts in found} == {MOBILE, DEEP, DEEPEST, *NAMES}
    assert all(facts.auto_on == () for facts in found)
