"""Weight files: the right bytes are loaded, everything else is refused by name, and nothing in a file is run."""

import hashlib
import io
import json
import os
import pickle
import random
import struct
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save as save_safetensors

from datasets.errors import UsageError
from model_blocks.registry import ModelFacts, find_model
from model_blocks.weight_errors import (
    WeightsDamagedError,
    WeightsDigestError,
    WeightsKeysError,
    WeightsMissingError,
    WeightsUnsafeError,
)
from model_blocks.weight_files import check, find_weights, look, official_name, record_digest, weights_folder
from model_blocks.weights import check_keys, load_state_dict

STATE = {"conv.weight": torch.arange(24.0).reshape(2, 3, 4), "conv.bias": torch.tensor([1.5, -2.5])}
FACTS = ModelFacts(
    name="enlarger-x4",
    capability="upscale",
    architecture="for tests",
    factory="nowhere:nothing",
    version=1,
    embedded=False,
    licence="BSD-3-Clause",
    conventions="RGB 0..1",
    memory_factor=1.0,
    file_url="https://example.org/releases/enlarger%20x4.pth?download=1",
    container_key="params",
)


def torch_bytes(value: object, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


def write(folder: Path, data: bytes, name: str = "enlarger x4.pth") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(data)
    return path


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    ("data", "container_key"),
    [
        (torch_bytes({"params": STATE}), "params"),
        (torch_bytes(STATE), None),
        (torch_bytes(STATE, _use_new_zipfile_serialization=False), None),
        (save_safetensors(STATE), None),
        (save_safetensors(STATE), "params"),  # safetensors have no such level
    ],
    ids=["zip in a container", "zip", "before PyTorch 1.6", "safetensors", "safetensors of a model with a container"],
)
def test_what_was_saved_is_loaded_whatever_the_file_is_called(
    tmp_path: Path, data: bytes, container_key: str | None
) -> None:
    path = write(tmp_path, data, "weights.bin")
    assert same(load_state_dict(path, sha256=sha256(data), container_key=container_key), STATE)
    assert same(load_state_dict(path, sha256=None, container_key=container_key), STATE)


def test_another_digest_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, b"not even a weight file")
    with pytest.raises(WeightsDigestError) as refused:
        load_state_dict(path, sha256="0" * 64, container_key=None)
    assert refused.value.facts["found"] == sha256(b"not even a weight file")
    assert "0" * 64 in refused.value.message


def test_the_bytes_that_are_hashed_are_the_bytes_that_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is exchanged after it was read once: the exchanged one must not be seen."""
    data = torch_bytes(STATE)
    path = write(tmp_path, data)
    read = Path.read_bytes

    def read_and_exchange(self: Path) -> bytes:
        found = read(self)
        self.write_bytes(torch_bytes({"other": torch.zeros(1)}))
        return found

    monkeypatch.setattr(Path, "read_bytes", read_and_exchange)
    assert same(load_state_dict(path, sha256=sha256(data), container_key=None), STATE)


class Payload:
    """Touches a file when it is unpickled by an ordinary reader."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.canary}'",)


@pytest.mark.parametrize("kind", ["zip", "before 1.6", "pickle 2", "pickle 4", "cut off"])
def test_a_payload_is_refused_by_name_and_never_run(tmp_path: Path, kind: str) -> None:
    canary = tmp_path / "canary"
    value = {"params": Payload(canary)}
    data = {
        "zip": lambda: torch_bytes(value),
        "before 1.6": lambda: torch_bytes(value, _use_new_zipfile_serialization=False),
        "pickle 2": lambda: pickle.dumps(value, protocol=2),
        "pickle 4": lambda: pickle.dumps(value, protocol=4),
        "cut off": lambda: pickle.dumps(value, protocol=2)[:-2],
    }[kind]()
    path = write(tmp_path, data)
    with pytest.raises(WeightsUnsafeError, match="system"):
        load_state_dict(path, sha256=None, container_key="params")
    assert not canary.exists()


def test_the_payload_would_have_run_elsewhere(tmp_path: Path) -> None:
    """The test above proves something only if its canary can sing."""
    pickle.loads(pickle.dumps(Payload(tmp_path / "canary")))
    assert (tmp_path / "canary").exists()


def test_a_torchscript_archive_is_a_program_and_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = torch.jit.script(torch.nn.Linear(2, 2))
    stream = io.BytesIO()
    torch.jit.save(scripted, stream)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("PyTorch saw it"))
    with pytest.raises(WeightsUnsafeError, match="TorchScript"):
        load_state_dict(write(tmp_path, stream.getvalue(), "weights.pth"), sha256=None, container_key=None)


def test_an_archive_that_unpacks_to_much_more_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 1_000_000)
    with pytest.raises(WeightsUnsafeError, match="1000000 bytes"):
        load_state_dict(write(tmp_path, stream.getvalue()), sha256=None, container_key=None)


WHOLE = {
    "zip": torch_bytes({"params": STATE}),
    "before 1.6": torch_bytes({"params": STATE}, _use_new_zipfile_serialization=False),
    "safetensors": save_safetensors(STATE),
}


@pytest.mark.parametrize("kind", WHOLE)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_off_anywhere_is_damaged(tmp_path_factory: pytest.TempPathFactory, kind: str, share: float) -> None:
    data = WHOLE[kind]
    path = write(tmp_path_factory.getbasetemp(), data[: int(share * len(data))], f"cut-{os.getpid()}")
    with pytest.raises(WeightsDamagedError, match="fetch it again"):
        load_state_dict(path, sha256=None, container_key="params")


@pytest.mark.parametrize("data", [b"", b"<!doctype html><title>log in</title>", b"\x89PNG\r\n\x1a\n" + b"\0" * 64])
def test_what_is_no_weight_file_is_named_so(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(WeightsDamagedError, match="no weight file"):
        load_state_dict(write(tmp_path, data), sha256=None, container_key=None)


def test_flipped_bits_end_in_a_sentence_or_in_tensors(tmp_path: Path) -> None:
    """Without a digest altered numbers cannot be told; any other end than tensors must be one of ours."""
    chance = random.Random(7)
    for data in WHOLE.values():
        for _ in range(150):
            altered = bytearray(data)
            altered[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            path = write(tmp_path, bytes(altered))
            with suppress(WeightsDamagedError, WeightsUnsafeError, WeightsKeysError):
                load_state_dict(path, sha256=None, container_key="params")
            with pytest.raises(WeightsDigestError):
                load_state_dict(path, sha256=sha256(data), container_key="params")


def test_a_safetensors_header_that_lies_is_damaged(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4000]}}).encode()
    data = struct.pack("<Q", len(header)) + header + b"\0" * 8
    with pytest.raises(WeightsDamagedError):
        load_state_dict(write(tmp_path, data), sha256=None, container_key=None)


def test_a_missing_container_is_answered_with_the_keys_there_are(tmp_path: Path) -> None:
    path = write(tmp_path, torch_bytes({"params_ema": STATE, "epoch": 3}))
    with pytest.raises(WeightsKeysError, match=r"no 'params'; the keys there are: epoch, params_ema"):
        load_state_dict(path, sha256=None, container_key="params")
    with pytest.raises(WeightsKeysError, match="not tensors under epoch, params_ema"):
        load_state_dict(path, sha256=None, container_key=None)
    with pytest.raises(WeightsKeysError, match="expected named tensors"):
        load_state_dict(write(tmp_path, torch_bytes([1, 2])), sha256=None, container_key=None)


def test_a_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissingError):
        load_state_dict(tmp_path / "nowhere.pth", sha256=None, container_key=None)
    with pytest.raises(WeightsDamagedError):
        load_state_dict(tmp_path, sha256=None, container_key=None)


def test_keys_must_be_the_same() -> None:
    check_keys(["a", "b"], ["b", "a"])
    with pytest.raises(WeightsKeysError, match="1 missing: c; 2 unknown: b, d"):
        check_keys(["a", "b", "d"], ["a", "c"])


def test_ignored_patterns_excuse_unknown_keys_and_no_missing_ones() -> None:
    check_keys(["a", "style_mlp.0.weight", "toRGB.1"], ["a"], ("style_mlp.*", "toRGB.*"))
    with pytest.raises(WeightsKeysError, match=r"1 unknown: other\.0"):
        check_keys(["a", "style_mlp.0", "other.0"], ["a"], ("style_mlp.*",))
    with pytest.raises(WeightsKeysError, match=r"1 missing: style_mlp\.0"):
        check_keys(["a"], ["a", "style_mlp.0"], ("style_mlp.*",))


def test_up_to_ten_keys_of_each_kind_are_named() -> None:
    with pytest.raises(WeightsKeysError) as refused:
        check_keys([f"u{n:02}" for n in range(12)], [f"m{n:02}" for n in range(10)])
    assert "u09, ..." in refused.value.message
    assert "u10" not in refused.value.message
    assert "m09;" in refused.value.message
    assert refused.value.facts["unknown_count"] == 12
    assert len(refused.value.facts["unknown"]) == 10  # type: ignore[arg-type]


@given(st.sets(st.text("ab.", max_size=3)), st.sets(st.text("ab.", max_size=3)))
def test_keys_fit_exactly_if_the_sets_are_equal(found: set[str], expected: set[str]) -> None:
    try:
        check_keys(found, expected)
    except WeightsKeysError:
        assert found != expected
    else:
        assert found == expected


def test_the_official_name_is_the_last_part_of_the_address_unless_it_is_stated() -> None:
    assert official_name(FACTS) == "enlarger x4.pth"
    assert official_name(replace(FACTS, file_name="flownet.pkl")) == "flownet.pkl"
    with pytest.raises(UsageError, match="needs no weights"):
        official_name(find_model("embedded-upscaler"))


def test_missing_weights_name_the_file_the_folder_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissingError) as missing:
        find_weights(FACTS, weights_dir=tmp_path, overrides={})
    for words in ("enlarger x4.pth", str(tmp_path), "stillmotion models pull enlarger-x4"):
        assert words in missing.value.message


def test_the_published_digest_is_asked_of_the_official_file(tmp_path: Path) -> None:
    path = write(tmp_path, b"anything")
    found = find_weights(replace(FACTS, sha256="a" * 64), weights_dir=tmp_path, overrides={})
    assert (found.path, found.sha256, found.published) == (path, "a" * 64, True)
    with pytest.raises(WeightsDigestError):
        load_state_dict(found.path, sha256=found.sha256, container_key=None)


def test_a_file_without_a_published_digest_counts_under_the_recorded_one(tmp_path: Path) -> None:
    path = write(tmp_path, b"anything")
    assert find_weights(FACTS, weights_dir=tmp_path, overrides={}).sha256 == sha256(b"anything")
    record_digest(path, "b" * 64, "https://example.org")
    found = find_weights(FACTS, weights_dir=tmp_path, overrides={})
    assert (found.sha256, found.published) == ("b" * 64, False)


def test_a_given_file_counts_under_its_own_digest_as_unpublished(tmp_path: Path) -> None:
    write(tmp_path, b"official")
    path = write(tmp_path, b"mine", "mine.pth")
    facts = replace(FACTS, sha256=sha256(b"official"))
    found = find_weights(facts, weights_dir=tmp_path, overrides={"enlarger-x4": str(path)})
    assert (found.path, found.sha256, found.published) == (path, sha256(b"mine"), False)
    assert find_weights(facts, weights_dir=tmp_path, overrides={"another": str(path)}).published
    with pytest.raises(WeightsMissingError, match="nowhere"):
        find_weights(facts, weights_dir=tmp_path, overrides={"enlarger-x4": "nowhere.pth"})


def test_the_default_folder_is_in_the_users_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert weights_folder(None).parts[-2:] == ("stillmotion", "weights")
    assert weights_folder(Path("~/w")) == Path.home() / "w"


def test_check_tells_present_missing_and_damaged_apart(tmp_path: Path) -> None:
    data = torch_bytes({"params": STATE})
    facts = replace(FACTS, sha256=sha256(data), bytes=len(data))
    assert check(facts, weights_dir=tmp_path).presence == "missing"
    write(tmp_path, data)
    assert (check(facts, weights_dir=tmp_path).presence, check(facts, weights_dir=tmp_path).published) == (
        "present",
        True,
    )
    write(tmp_path, data[:-1] + b"x")
    assert look(facts, weights_dir=tmp_path).presence == "present"  # the quick look reads no bytes
    assert check(facts, weights_dir=tmp_path).presence == "damaged"
    write(tmp_path, data[:-1])
    assert "bytes" in look(facts, weights_dir=tmp_path).detail
    assert check(facts, weights_dir=tmp_path).presence == "damaged"
    assert check(find_model("embedded-matter"), weights_dir=tmp_path).presence == "needs none"


def test_a_file_of_which_nothing_is_known_is_present_if_it_can_be_loaded(tmp_path: Path) -> None:
    data = torch_bytes({"params": STATE})
    path = write(tmp_path, data)
    state = check(FACTS, weights_dir=tmp_path)
    assert (state.presence, state.sha256, state.published) == ("present", sha256(data), False)
    assert "not verified" in state.detail
    write(tmp_path, data[:-30])
    assert check(FACTS, weights_dir=tmp_path).presence == "damaged"
    record_digest(path, sha256(data), "https://example.org")
    assert "recorded" in check(FACTS, weights_dir=tmp_path).detail
