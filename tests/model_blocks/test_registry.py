"""The registry and the choice of models: names, policies, purposes, and what makes a fingerprint."""

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from datasets.errors import ModelUnknownError
from model_blocks.capabilities import Inpainter, Interpolator, Matter, Propagator, Segmenter, Upscaler
from model_blocks.choice import ModelRef, choose_device, choose_model
from model_blocks.registry import MODELS, Capability, ModelFacts, find_model, known_models
from model_blocks.runtime import inpainter, interpolator, matter, propagator, segmenter, upscaler
from model_blocks.weight_files import official_name


def test_names_are_unique_and_every_capability_that_every_run_needs_has_an_embedded_model() -> None:
    names = [facts.name for facts in MODELS]
    assert len(names) == len(set(names))
    needless = {"upscale_blend", "detect_faces", "restore_faces", "estimate_depth"}
    for capability in {facts.capability for facts in MODELS} - needless:
        assert any(facts.embedded for facts in known_models(capability))


@pytest.mark.parametrize("facts", [facts for facts in MODELS if facts.embedded], ids=lambda facts: facts.name)
def test_every_embedded_model_is_made_and_does_what_it_is_registered_for(facts: object) -> None:
    known = find_model(str(getattr(facts, "name")))  # noqa: B009 - the parameter is typed as an object
    ref = ModelRef(known.name, "", "cpu")
    if known.capability == "segment":
        assert isinstance(segmenter(ref), Segmenter)
    elif known.capability == "matte":
        assert isinstance(matter(ref), Matter)
    elif known.capability == "interpolate":
        assert isinstance(interpolator(ref), Interpolator)
    elif known.capability == "propagate":
        assert isinstance(propagator(ref), Propagator)
    elif known.capability == "inpaint":
        assert isinstance(inpainter(ref), Inpainter)
    else:
        assert isinstance(upscaler(ref, 3), Upscaler)
        assert upscaler(ref, 3).scale == 3


def test_a_model_is_made_once_per_process() -> None:
    ref = ModelRef("embedded-segmenter", "", "cpu")
    assert segmenter(ref) is segmenter(ModelRef("embedded-segmenter", "", "cpu"))


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ModelUnknownError, match="registered: embedded-segmenter"):
        choose_model("segment", {"segment": "matte-xl"}, device="cpu", purpose="commercial")


def test_a_model_of_another_capability_is_no_answer() -> None:
    with pytest.raises(ModelUnknownError, match="for segment"):
        choose_model("segment", {"segment": "embedded-upscaler"}, device="cpu", purpose="commercial")


@pytest.mark.parametrize("selection", ["auto", "embedded", {"upscale": "embedded-upscaler"}, {}])
def test_the_embedded_model_is_chosen_where_nothing_else_is(selection: str | dict[str, str]) -> None:
    assert choose_model("upscale", selection, device="auto", purpose="commercial").name == "embedded-upscaler"


def test_official_models_are_not_replaced_silently() -> None:
    with pytest.raises(ModelUnknownError, match="official"):
        choose_model("upscale", "official", device="cpu", purpose="commercial")


def test_present_weights_put_an_official_model_first() -> None:
    def choose(selection: str, present: str) -> str:
        return choose_model(
            "upscale", selection, device="cpu", purpose="commercial", available=lambda facts: facts.name == present
        ).name

    assert choose("auto", "realesr-general-x4v3") == "realesr-general-x4v3"
    assert choose("official", "realesr-general-x4v3") == "realesr-general-x4v3"
    assert choose("embedded", "realesr-general-x4v3") == "embedded-upscaler"
    assert choose("auto", "") == "embedded-upscaler"


@pytest.mark.parametrize(
    ("selection", "device", "present", "chosen"),
    [
        ("auto", "cpu", {"realesrgan-x4plus", "realesr-general-x4v3"}, "realesr-general-x4v3"),
        ("auto", "cuda", {"realesrgan-x4plus", "realesr-general-x4v3"}, "realesrgan-x4plus"),
        ("auto", "cpu", {"realesrgan-x4plus"}, "embedded-upscaler"),
        ("auto", "cuda", {"realesr-animevideo-v3", "realesrgan-x4plus-anime-6b"}, "embedded-upscaler"),
        ("official", "cpu", {"realesrgan-x4plus", "realesr-general-x4v3"}, "realesr-general-x4v3"),
        ("official", "cpu", {"realesrgan-x4plus"}, "realesrgan-x4plus"),
        ({"upscale": "realesrgan-x4plus"}, "cpu", {"realesrgan-x4plus"}, "realesrgan-x4plus"),
    ],
)
def test_what_suits_the_device_and_photographs_is_chosen(
    selection: str | dict[str, str], device: str, present: set[str], chosen: str
) -> None:
    found = choose_model(
        "upscale", selection, device=device, purpose="commercial", available=lambda facts: facts.name in present
    )
    assert found.name == chosen


def test_half_precision_is_chosen_on_cuda_alone_and_part_of_the_identity() -> None:
    def chosen(device: str) -> ModelRef:
        selection = {"upscale": "realesr-general-x4v3"}
        return choose_model("upscale", selection, device=device, purpose="commercial", available=lambda _: True)

    assert [chosen(device).precision for device in ("cpu", "cuda")] == ["float32", "float16"]
    assert chosen("cuda").identity["precision"] == "float16"


def test_absent_weights_are_named() -> None:
    with pytest.raises(ModelUnknownError, match=r"weights are not present.*realesrgan-x4plus, .*realesr-general-x4v3"):
        choose_model("upscale", "official", device="cpu", purpose="commercial")
    with pytest.raises(ModelUnknownError, match="weights of realesr-general-x4v3 are not present"):
        choose_model("upscale", {"upscale": "realesr-general-x4v3"}, device="cpu", purpose="commercial")
    with pytest.raises(ModelUnknownError, match=r"models pull realesr-general-wdn-x4v3`, or leave 'denoise' out"):
        choose_model("upscale_blend", "auto", device="cpu", purpose="commercial")


def test_every_model_to_blend_with_is_registered() -> None:
    for facts in known_models():
        if facts.blend is not None:
            weak = find_model(facts.blend, "upscale_blend")
            assert (weak.scale, weak.halo_pixels, weak.container_key) == (4, facts.halo_pixels, facts.container_key)


@pytest.mark.parametrize("facts", [facts for facts in MODELS if not facts.embedded], ids=lambda facts: facts.name)
def test_every_official_model_says_where_it_comes_from(facts: ModelFacts) -> None:
    assert official_name(facts)  # of a file that some publish where no program can fetch it
    assert facts.file_url is None or facts.file_url.startswith("https://")
    assert facts.sha256 is None or re.fullmatch("[0-9a-f]{64}", facts.sha256)
    assert facts.licence
    assert facts.purposes


def test_identity_holds_what_decides_pixels() -> None:
    identity = ModelRef("embedded-upscaler", "", "cpu").identity
    assert {"name", "version", "weights", "precision", "device_class", "libraries"} == set(identity)
    assert identity != ModelRef("embedded-upscaler", "", "cuda").identity
    assert identity != ModelRef("embedded-upscaler", "0" * 64, "cpu").identity


def test_a_stated_device_is_taken_as_it_is() -> None:
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") in ("cpu", "cuda")


@pytest.mark.usefixtures("prefect_api")
def test_a_saved_choice_of_models_is_found_by_its_name() -> None:
    from model_blocks.blocks import ModelSelection, load_selection

    ModelSelection(upscale="embedded-upscaler").save("shop", overwrite=True)
    chosen = load_selection("shop")
    assert chosen.pop("upscale") == "embedded-upscaler"
    assert set(chosen) == set(get_args(Capability)) - {"upscale", "upscale_blend", "estimate_depth"}  # those follow
    assert set(chosen.values()) == {"auto"}
    with pytest.raises(ModelUnknownError, match="nowhere"):
        load_selection("nowhere")


def test_looking_at_the_registry_imports_nothing_heavy() -> None:
    program = (
        "import sys, model_blocks.registry; print([m for m in ('torch', 'cv2', 'prefect', 'dask') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "[]"
