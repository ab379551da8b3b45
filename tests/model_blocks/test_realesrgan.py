"""Real-ESRGAN computes what the authors' code computes, in tiles as in one piece, and takes no other file."""

import copy
import importlib.util
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import model_blocks.realesrgan as subject
from datasets.errors import UsageError
from model_blocks.capabilities import Upscaler
from model_blocks.nets.rrdb import RrdbNet
from model_blocks.nets.srvgg import SrvggCompact
from model_blocks.realesrgan import RealEsrganUpscaler, blended, open_realesrgan
from model_blocks.registry import find_model, known_models
from model_blocks.weight_errors import WeightsKeysError, WeightsUnsafeError
from tests.shared_data import shared

MODELS = {
    "realesr-animevideo-v3": "realesr-animevideov3",
    "realesr-general-x4v3": "realesr-general-x4v3",
    "realesrgan-x4plus-anime-6b": "RealESRGAN_x4plus_anime_6B",
    "realesrgan-x4plus": "RealESRGAN_x4plus",
}
LARGE = {"realesrgan-x4plus-anime-6b", "realesrgan-x4plus"}  # take seconds per thumbnail
EVERY_MODEL = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "realesrgan-x4plus" else name for name in MODELS]
)
COMPACT = pytest.mark.parametrize("name", sorted(MODELS.keys() - LARGE))


@lru_cache
def recipe() -> ModuleType:
    """The module that makes the reference weights."""
    spec = importlib.util.spec_from_file_location("parity_recipe", shared("parity/recipe.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def manifest(name: str) -> Any:
    return recipe().load_manifest(shared(f"parity/manifests/{MODELS[name]}.json"))


def golden(name: str) -> dict[str, np.ndarray[Any, Any]]:
    with np.load(shared(f"parity/golden/{MODELS[name]}.npz")) as arrays:
        return {key: arrays[key] for key in arrays.files}


def checkpoint(name: str, folder: Path) -> Path:
    path = folder / f"{MODELS[name]}.pth"
    recipe().save_checkpoint(path, manifest(name), 1)
    return path


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model with the reference weights, loaded from a file such as the authors publish; made once."""
    return lru_cache(lambda name: open_realesrgan(name, checkpoint(name, tmp_path_factory.mktemp("weights"))))


def as_images(pixels: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]


def as_pixels(images: Tensor) -> np.ndarray[Any, Any]:
    pixels: np.ndarray[Any, Any] = np.rint(images[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    return pixels


def meets(name: str, output: str, made: np.ndarray[Any, Any]) -> tuple[bool, str]:
    ok, said = recipe().check(output, made, golden(name)[f"out_{output}"], manifest(name)["tolerance"][output])
    return ok, said


@EVERY_MODEL
def test_the_network_gives_the_reference_values(name: str, opened: Any) -> None:
    made = opened(name).network(torch.from_numpy(golden(name)["in_net_in"])).numpy()
    ok, said = meets(name, "net_out", made)
    assert ok, said


def end_to_end(name: str, colours: str, model: RealEsrganUpscaler) -> tuple[bool, str]:
    made = as_pixels(model.upscale(as_images(golden(name)[f"in_image_{colours}_u8"])))
    return meets(name, f"enhanced_{colours}_u8", made)


@EVERY_MODEL
def test_the_whole_procedure_gives_the_reference_picture(name: str, opened: Any) -> None:
    ok, said = end_to_end(name, "rgb", opened(name))
    assert ok, said


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LARGE))
def test_alpha_goes_through_as_a_picture_of_its_own(name: str, opened: Any) -> None:
    ok, said = end_to_end(name, "rgba", opened(name))
    assert ok, said


@EVERY_MODEL
def test_swapped_channels_miss_the_reference(name: str, opened: Any) -> None:
    images = as_images(golden(name)["in_image_rgb_u8"])
    assert not meets(name, "enhanced_rgb_u8", as_pixels(opened(name).upscale(images.flip(1)).flip(1)))[0]


@EVERY_MODEL
@pytest.mark.parametrize("broken", ["none", "replicated", "all around"])
def test_other_padding_misses_the_reference(
    name: str, broken: str, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = as_images(golden(name)["in_image_rgb_u8"])
    pad = torch.nn.functional.pad
    if broken == "all around":
        made = opened(name).upscale(pad(images, (10, 0, 10, 0), mode="reflect"))[..., 40:, 40:]
    else:
        replaced = {"none": lambda x: x, "replicated": lambda x: pad(x, (0, 10, 0, 10), mode="replicate")}
        monkeypatch.setattr(subject, "pre_padded", replaced[broken])
        made = opened(name).upscale(images)
    assert not meets(name, "enhanced_rgb_u8", as_pixels(made))[0]


def by_tiles(upscale: Callable[[Tensor], Tensor], images: Tensor, tile: int, halo: int) -> Tensor:
    height, width = images.shape[2:]
    rows = []
    for y in range(0, height, tile):
        row = []
        for x in range(0, width, tile):
            top, left = max(0, y - halo), max(0, x - halo)
            part = upscale(images[:, :, top : y + tile + halo, left : x + tile + halo])
            inside = part[:, :, (y - top) * 4 : (y - top + tile) * 4, (x - left) * 4 : (x - left + tile) * 4]
            row.append(inside[:, :, : (height - y) * 4, : (width - x) * 4])
        rows.append(torch.cat(row, dim=3))
    return torch.cat(rows, dim=2)


def noise(height: int, width: int, channels: int = 3) -> Tensor:
    return torch.rand((1, channels, height, width), generator=torch.Generator().manual_seed(7))


def real(name: str) -> RealEsrganUpscaler:
    return open_realesrgan(name, shared(f"weights/{MODELS[name]}.pth"))


@pytest.mark.parametrize(("name", "halo"), [("realesr-animevideo-v3", 18), ("realesr-general-x4v3", 34)])
@pytest.mark.parametrize(("height", "width", "tile"), [(67, 83, 29), (5, 91, 40), (41, 12, 11)])
def test_tiles_equal_the_whole_with_the_real_weights(name: str, halo: int, height: int, width: int, tile: int) -> None:
    model, images = real(name), noise(height, width)
    assert model.halo == halo
    torch.testing.assert_close(by_tiles(model.upscale, images, tile, halo), model.upscale(images), atol=1e-5, rtol=0)


@COMPACT
def test_a_halo_four_pixels_smaller_shows(name: str) -> None:
    model, images = real(name), noise(80, 80)
    assert float((by_tiles(model.upscale, images, 40, model.halo - 4) - model.upscale(images)).abs().max()) > 1e-5


@COMPACT
def test_a_halo_one_pixel_smaller_shows_in_double_precision(name: str) -> None:
    network, images = real(name).network.double(), noise(74, 8).double()
    reach = network.receptive_radius
    with torch.inference_mode():
        whole = network(images)
        assert float((by_tiles(network, images, 37, reach) - whole).abs().max()) < 1e-12
        assert float((by_tiles(network, images, 37, reach - 1) - whole).abs().max()) > 1e-9


@pytest.mark.parametrize("network", [SrvggCompact(4, 3, 4), SrvggCompact(4, 6, 2), RrdbNet(4, 2, 1), RrdbNet(4, 2, 2)])
def test_the_receptive_radius_is_what_the_gradient_says(network: SrvggCompact | RrdbNet) -> None:
    network = network.double().requires_grad_(False)
    for weight in network.parameters():
        weight.abs_().add_(0.01)  # nothing cancels
    reach, scale = network.receptive_radius, network.scale
    images = torch.rand((1, 3, 2 * reach + 9, 2 * reach + 9), dtype=torch.float64, requires_grad=True)
    middle = reach + 4
    network(images)[..., middle * scale : (middle + 1) * scale, middle * scale : (middle + 1) * scale].sum().backward()
    assert images.grad is not None
    seen = images.grad.abs().sum(dim=(0, 1, 2)).nonzero().flatten()
    assert (middle - int(seen.min()), int(seen.max()) - middle) == (reach, reach)


@EVERY_MODEL
def test_the_registry_knows_the_networks_reach(name: str, opened: Any) -> None:
    facts, model = find_model(name), opened(name)
    assert facts.receptive_radius == model.network.receptive_radius
    assert (facts.scale, facts.halo_pixels) == (model.scale, model.halo)
    assert isinstance(model, Upscaler)
    assert (facts.halo_error == 0) == (facts.halo_pixels == facts.receptive_radius)


@pytest.mark.parametrize("halo", [10, pytest.param(16, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name", ["realesrgan-x4plus-anime-6b", pytest.param("realesrgan-x4plus", marks=pytest.mark.slow)]
)
def test_a_seam_errs_as_much_as_the_registry_says(name: str, halo: int, opened: Any) -> None:
    """Black and white noise of 400 rows, cut at row 200; in float64, whose rounding is far below what is looked for."""
    network = copy.deepcopy(opened(name).network).double()
    images = torch.randint(0, 2, (1, 3, 400, 8), generator=torch.Generator().manual_seed(5)).double()
    with torch.inference_mode():
        whole, part = network(images), network(images[:, :, : 200 + halo])
    known = dict(find_model(name).halo_errors)[halo]
    assert known / 2 < float((part - whole[:, :, : part.shape[2]])[:, :, :800].abs().max()) <= known


def test_halo_errors_fall_with_the_halo() -> None:
    for name in LARGE:
        halos, errors = zip(*find_model(name).halo_errors, strict=True)
        assert list(halos) == sorted(halos)
        assert list(errors) == sorted(errors, reverse=True)
        assert (
            dict(find_model(name).halo_errors).get(find_model(name).halo_pixels or 0, 1) <= find_model(name).halo_error
        )


@EVERY_MODEL
def test_missing_and_unknown_keys_are_refused_by_name(name: str) -> None:
    state = recipe().to_torch(recipe().make_arrays(manifest(name), 1))
    for key in (next(iter(state)), "body.2.bias", "body.0.rdb1.conv1.weight", list(state)[-2]):
        if key in state:
            with pytest.raises(WeightsKeysError, match=key.replace(".", r"\.")):
                RealEsrganUpscaler({other: value for other, value in state.items() if other != key})
    stray = state | {"discriminator.weight": torch.zeros(1)}
    with pytest.raises(WeightsKeysError, match=r"1 unknown: discriminator\.weight"):
        RealEsrganUpscaler(stray)
    RealEsrganUpscaler(stray, ignored_keys=("discriminator.*",))


def test_a_tensor_of_another_shape_is_refused_by_name() -> None:
    state = SrvggCompact(8, 2, 4).state_dict() | {"body.2.weight": torch.zeros(8, 8, 1, 1)}
    with pytest.raises(WeightsKeysError, match=r"of another shape: body\.2\.weight"):
        RealEsrganUpscaler(state)


def test_another_models_file_is_refused(tmp_path: Path) -> None:
    path = checkpoint("realesr-general-x4v3", tmp_path)
    with pytest.raises(WeightsKeysError, match="another model"):
        open_realesrgan("realesr-animevideo-v3", path)
    with pytest.raises(WeightsKeysError, match="no 'params_ema'"):
        open_realesrgan("realesrgan-x4plus", path)


def test_a_file_that_is_code_is_not_run(tmp_path: Path) -> None:
    torch.save({"params": Path("x")}, tmp_path / "code.pth")
    with pytest.raises(WeightsUnsafeError, match="code"):
        open_realesrgan("realesr-animevideo-v3", tmp_path / "code.pth")


def test_the_network_is_ready_for_inference_alone(opened: Any) -> None:
    network = opened("realesr-animevideo-v3").network
    assert not network.training
    assert not any(weight.requires_grad for weight in network.parameters())


def test_half_precision_stays_near_full() -> None:
    path, images = shared("weights/realesr-animevideov3.pth"), noise(24, 31)
    full = open_realesrgan("realesr-animevideo-v3", path).upscale(images)
    half = open_realesrgan("realesr-animevideo-v3", path, precision="bfloat16").upscale(images)
    assert half.dtype == full.dtype == torch.float32
    assert 0 < float((half - full).abs().mean()) < 0.01


@pytest.mark.parametrize("size", [(1, 1), (1, 14), (9, 2)])
def test_pictures_smaller_than_the_padding_are_enlarged(size: tuple[int, int], opened: Any) -> None:
    made = opened("realesr-animevideo-v3").upscale(noise(*size))
    assert made.shape == (1, 3, size[0] * 4, size[1] * 4)
    assert bool(made.isfinite().all())


def test_a_picture_with_two_channels_is_refused(opened: Any) -> None:
    with pytest.raises(UsageError, match="1, 3 or 4 channels"):
        opened("realesr-animevideo-v3").upscale(noise(8, 8, 2))


def test_blending_weighs_the_two_files() -> None:
    strong, weak = {"a": torch.tensor([1.0, 4.0])}, {"a": torch.tensor([3.0, 0.0])}
    assert blended(strong, weak, 0.25)["a"].tolist() == [2.5, 1.0]
    assert blended(strong, weak, 1.0)["a"].tolist() == [1.0, 4.0]
    assert blended(strong, weak, 0.0)["a"].tolist() == [3.0, 0.0]
    with pytest.raises(UsageError, match="0 to 1"):
        blended(strong, weak, 1.5)
    with pytest.raises(WeightsKeysError, match="pair"):
        blended(strong, {"b": torch.zeros(2)}, 0.5)


def test_less_denoising_keeps_more_noise() -> None:
    strong, weak = shared("weights/realesr-general-x4v3.pth"), shared("weights/realesr-general-wdn-x4v3.pth")
    noisy = (0.5 + 0.05 * torch.randn((1, 3, 48, 48), generator=torch.Generator().manual_seed(3))).clamp(0, 1)

    def remaining(strength: float) -> float:
        model = open_realesrgan("realesr-general-x4v3", strong, weak_denoise_path=weak, denoise_strength=strength)
        return float(model.upscale(noisy).std())

    kept = [remaining(strength) for strength in (1.0, 0.5, 0.0)]
    assert kept == sorted(kept)
    assert kept[-1] > 1.5 * kept[0]


def test_less_denoising_needs_the_second_file() -> None:
    with pytest.raises(UsageError, match="weakly denoising file"):
        open_realesrgan("realesr-general-x4v3", shared("weights/realesr-general-x4v3.pth"), denoise_strength=0.5)


def test_every_model_of_the_family_is_tested() -> None:
    official = {facts.name for facts in known_models("upscale") if facts.factory.startswith("model_blocks.realesrgan:")}
    assert official == set(MODELS)
