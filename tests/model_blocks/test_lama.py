"""LaMa computes what its authors' code computes, through the inpainter's contract, and takes no other file."""

import io
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

import model_blocks.lama as subject
from datasets.errors import FrameShapeError, UsageError
from model_blocks import registry
from model_blocks.capabilities import Inpainter
from model_blocks.lama import LamaInpainter, open_lama, padded
from model_blocks.registry import find_model
from model_blocks.weight_errors import WeightsDigestError, WeightsKeysError, WeightsUnsafeError
from model_blocks.weight_files import file_digest
from tests.model_blocks.parity import assert_parity, checkpoint, compared, golden
from tests.model_blocks.parity_inpainting import RUNS, outputs

NAME = "big-lama"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint such as the authors publish, with the reference weights; made once."""
    return checkpoint(NAME, tmp_path_factory.mktemp("lama") / "best.ckpt")


@pytest.fixture(scope="module")
def model(file: Path) -> LamaInpainter:
    return open_lama("lama", file)


def frames(count: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Frames of noise, and a mask over the middle of them."""
    images = torch.rand((count, 3, height, width), generator=torch.Generator().manual_seed(3))
    masks = torch.zeros(count, 1, height, width)
    masks[..., height // 4 : height // 2 + 1, width // 4 : width // 2 + 1] = 1
    return images, masks


def test_the_authors_outputs_are_met(file: Path) -> None:
    assert_parity(NAME, RUNS[NAME].run(file, golden(NAME)[0]))


def test_it_keeps_the_contract(model: LamaInpainter) -> None:
    assert isinstance(model, Inpainter)
    assert model.reach == 0


def train_mode(model: LamaInpainter, monkeypatch: pytest.MonkeyPatch, inputs: dict[str, Any]) -> None:
    model.network.train()


def blue_first(model: LamaInpainter, monkeypatch: pytest.MonkeyPatch, inputs: dict[str, Any]) -> None:
    inputs["image_u8"] = np.ascontiguousarray(inputs["image_u8"][..., ::-1])


def shown_holes(model: LamaInpainter, monkeypatch: pytest.MonkeyPatch, inputs: dict[str, Any]) -> None:
    monkeypatch.setattr(model, "predicted", model.network)


def inverted_mask(model: LamaInpainter, monkeypatch: pytest.MonkeyPatch, inputs: dict[str, Any]) -> None:
    predicted = model.predicted
    monkeypatch.setattr(model, "predicted", lambda images, holes: predicted(images, 1 - holes))


def replicated(model: LamaInpainter, monkeypatch: pytest.MonkeyPatch, inputs: dict[str, Any]) -> None:
    monkeypatch.setattr(subject, "padded", lambda v: F.pad(v, (0, -v.shape[3] % 8, 0, -v.shape[2] % 8), "replicate"))


def larger_multiple(model: LamaInpainter, monkeypatch: pytest.MonkeyPatch, inputs: dict[str, Any]) -> None:
    monkeypatch.setattr(subject, "MULTIPLE", 32)


def only_full_holes(model: LamaInpainter, monkeypatch: pytest.MonkeyPatch, inputs: dict[str, Any]) -> None:
    inputs["mask_u8"] = np.where(inputs["mask_u8"] == 255, inputs["mask_u8"], 0)


BROKEN = [train_mode, blue_first, shown_holes, inverted_mask, replicated, larger_multiple, only_full_holes]


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_procedure_misses_the_reference(
    broken: Any, model: LamaInpainter, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = dict(golden(NAME)[0])
    kept = {key: value.clone() for key, value in model.network.state_dict().items()} if broken is train_mode else {}
    broken(model, monkeypatch, inputs)
    try:
        made = outputs(model, inputs)
    finally:
        if kept:  # training changes the running means
            model.network.load_state_dict(kept)
            model.network.eval()
    assert not {each.output: each.passed for each in compared(NAME, made)}["inpainted_f32"]


def test_it_is_in_evaluation_mode_and_frozen(model: LamaInpainter) -> None:
    assert not any(module.training for module in model.network.modules())
    assert not any(parameter.requires_grad for parameter in model.network.parameters())


def test_what_is_not_covered_stays_and_frames_do_not_depend_on_each_other(model: LamaInpainter) -> None:
    images, masks = frames(3, 30, 43)
    masks[1] = 0
    together = model.inpaint(images, masks, slice(0, 3))
    assert torch.equal(torch.where(masks > 0, 0, together), torch.where(masks > 0, 0, images))
    assert torch.equal(together[1], images[1])
    assert (together - images)[2].abs().max() > 0.05
    for index in range(3):
        assert torch.equal(model.inpaint(images, masks, slice(index, index + 1))[0], together[index])
    assert model.inpaint(images, masks, slice(1, 1)).shape == (0, 3, 30, 43)


def test_what_is_hidden_does_not_show(model: LamaInpainter) -> None:
    images, masks = frames(1, 32, 32)
    masks[..., 20:24] = 0.1  # seen through in the end, but not by the network
    other = torch.where(masks >= 0.5, 1 - images, images)
    assert torch.equal(model.inpaint(images, masks, slice(0, 1)), model.inpaint(other, masks, slice(0, 1)))


def test_a_soft_edge_is_blended(model: LamaInpainter) -> None:
    images, masks = frames(1, 32, 32)
    whole = model.inpaint(images, (masks > 0).float(), slice(0, 1))
    for value, share in ((0.1, 0.2), (0.25, 0.5), (0.5, 1.0), (0.75, 1.0)):
        made = model.inpaint(images, masks * value, slice(0, 1))
        assert torch.allclose(made, share * whole + (1 - share) * images, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (37, 1), (7, 9), (9, 16), (33, 51)])
def test_any_size_with_a_hole_or_all_of_it(size: tuple[int, int], model: LamaInpainter) -> None:
    images = frames(1, *size)[0]
    for masks in (torch.ones(1, 1, *size), frames(1, *size)[1]):
        made = model.inpaint(images, masks, slice(0, 1))
        assert made.shape == (1, 3, *size)
        assert made.dtype == torch.float32
        assert torch.isfinite(made).all()
        assert made.min() >= 0
        assert made.max() <= 1


@pytest.mark.parametrize("size", [(17, 23), (24, 16), (100, 41)])
def test_padding_is_numpys_symmetric_one(size: tuple[int, int]) -> None:
    values = frames(1, *size)[0]
    wanted = np.pad(values[0].numpy(), ((0, 0), (0, -size[0] % 8), (0, -size[1] % 8)), mode="symmetric")
    assert np.array_equal(padded(values)[0].numpy(), wanted)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (7, 2)])
def test_tiny_pictures_are_mirrored_again_and_again(size: tuple[int, int]) -> None:
    values = frames(1, *size)[0]
    wanted = np.pad(values[0].numpy(), ((0, 0), (0, 16 - size[0]), (0, 16 - size[1])), mode="symmetric")
    assert np.array_equal(padded(values)[0].numpy(), wanted)


def test_images_and_masks_must_belong_together(model: LamaInpainter) -> None:
    images, masks = frames(2, 16, 16)
    for wrong in ((images[:, :2], masks), (images, masks[:1]), (images, masks[..., 1:])):
        with pytest.raises(FrameShapeError):
            model.inpaint(*wrong, slice(0, 1))


def test_other_files_are_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsDigestError):
        open_lama("lama", file, sha256="0" * 64)
    with pytest.raises(UsageError, match="float32 alone"):
        open_lama("lama", file, precision="float16")
    other = tmp_path / "other.ckpt"
    torch.save({"state_dict": {"conv.weight": torch.zeros(1)}}, other)
    with pytest.raises(WeightsKeysError, match="holds 0 networks of LaMa's kind"):
        open_lama("lama", other)


@pytest.mark.slow
def test_missing_unknown_and_misshapen_tensors_are_named(file: Path, tmp_path: Path) -> None:
    state = dict(torch.load(file, weights_only=True)["state_dict"])
    path = tmp_path / "best.ckpt"

    def refused(changed: dict[str, Tensor], words: str) -> None:
        torch.save({"state_dict": changed}, path)
        with pytest.raises(WeightsKeysError, match=words):
            open_lama("lama", path)

    key = "generator.model.34.bias"
    refused({name: value for name, value in state.items() if name != key}, r"1 missing: model\.34\.bias")
    refused(state | {"generator.model.99.bias": torch.zeros(1)}, r"1 unknown: model\.99\.bias")
    refused(state | {key: torch.zeros(4)}, r"another shape: model\.34\.bias")


@pytest.mark.slow
def test_the_archive_and_safetensors_load_as_the_checkpoint_does(
    file: Path, tmp_path: Path, model: LamaInpainter
) -> None:
    archive = tmp_path / "big-lama.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        packed.writestr("big-lama/config.yaml", "run_title: made\n")
        packed.write(file, "big-lama/models/best.ckpt")
    state = torch.load(file, weights_only=True)["state_dict"]
    generator = {key: value for key, value in state.items() if key.startswith("generator.")}
    save_file(generator, tmp_path / "with.safetensors")
    save_file({key.removeprefix("generator."): value for key, value in generator.items()}, tmp_path / "own.safetensors")
    images, masks = frames(1, 24, 24)
    wanted = model.inpaint(images, masks, slice(0, 1))
    for path in (archive, tmp_path / "with.safetensors", tmp_path / "own.safetensors"):
        found = open_lama("lama", path, sha256=file_digest(path))
        assert torch.equal(found.inpaint(images, masks, slice(0, 1)), wanted), path.name


class _Holder(torch.nn.Module):
    """The generator as deep in a program as in the one that circulates."""

    def __init__(self, generator: torch.nn.Module) -> None:
        super().__init__()
        self.model = torch.nn.Module()
        self.model.add_module("generator", generator)


@pytest.mark.slow
def test_a_known_program_loads_and_an_unknown_one_does_not(
    tmp_path: Path, model: LamaInpainter, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, masks = frames(1, 32, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the format is old, and the point of the test
        traced = torch.jit.trace(model.network, (images, masks), check_trace=False)  # type: ignore[no-untyped-call]
        stream = io.BytesIO()
        torch.jit.save(torch.jit.script(_Holder(traced)), stream)
    path = tmp_path / "big-lama.pt"
    path.write_bytes(stream.getvalue())
    digest = file_digest(path)
    with pytest.raises(WeightsUnsafeError, match="TorchScript"):
        open_lama("lama", path, sha256=digest)
    known = replace(find_model("lama"), torchscript_sha256=(digest,))
    monkeypatch.setattr(registry, "MODELS", (known,))
    with pytest.raises(WeightsUnsafeError, match="TorchScript"):
        open_lama("lama", path)
    found = open_lama("lama", path, sha256=digest)
    assert torch.equal(found.inpaint(images, masks, slice(0, 1)), model.inpaint(images, masks, slice(0, 1)))


def test_the_digest_on_the_list_is_the_known_one() -> None:
    facts = find_model("lama")
    assert facts.torchscript_sha256 == ("344c77bbcb158f17dd143070d1e789f38a66c04202311ae3a258ef66667a9ea9",)
    assert facts.sha256 is None
