"""What authors put weights into: archives, checkpoints that name other things, and programs. Nothing in them is run."""

import hashlib
import io
import sys
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save as save_safetensors

from model_blocks.weight_errors import (
    WeightsDamagedError,
    WeightsDigestError,
    WeightsKeysError,
    WeightsUnsafeError,
)
from model_blocks.weights import load_state_dict
from tests.model_blocks.test_weights import STATE, Payload, same, sha256, torch_bytes, write

MEMBER = "models/best.ckpt"
CALLBACK = "trainer_of_tests.callbacks.Checkpointing"
INERT = ("builtins.int", "collections.defaultdict", CALLBACK)


def zipped(*files: tuple[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return stream.getvalue()


def load(path: Path, **options: Any) -> dict[str, torch.Tensor]:
    known = {"sha256": None, "container_key": None, "archive_member": MEMBER}
    return load_state_dict(path, **(known | options))


@pytest.mark.parametrize(
    "data",
    [
        zipped(("big/config.yaml", b"kind: made"), (f"big/{MEMBER}", torch_bytes(STATE))),
        zipped((MEMBER, torch_bytes(STATE, _use_new_zipfile_serialization=False))),
        zipped((f"__MACOSX/big/models/._{MEMBER[7:]}", b"Mac OS X"), (f"big/{MEMBER}", torch_bytes(STATE))),
        zipped((MEMBER, save_safetensors(STATE))),
        torch_bytes(STATE),
        torch_bytes(STATE, _use_new_zipfile_serialization=False),
        save_safetensors(STATE),
    ],
    ids=["archive", "old format in it", "made on a Mac", "safetensors in it", "plain", "plain and old", "safetensors"],
)
def test_the_archive_and_the_file_in_it_load_alike(tmp_path: Path, data: bytes) -> None:
    assert same(load(write(tmp_path, data), sha256=sha256(data)), STATE)


def test_the_digest_is_that_of_the_file_as_it_was_downloaded(tmp_path: Path) -> None:
    inner = torch_bytes(STATE)
    with pytest.raises(WeightsDigestError):
        load(write(tmp_path, zipped((MEMBER, inner))), sha256=sha256(inner))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ((("big/models/last.ckpt", torch_bytes(STATE)),), r"holds 0 files models/best\.ckpt.*big/models/last\.ckpt"),
        (((f"a/{MEMBER}", b"one"), (f"b/{MEMBER}", b"two")), r"holds 2 files.*a/models/best\.ckpt, b/models/best"),
        (((f"big/not{MEMBER}", b"one"),), "holds 0 files"),
        ((), "none"),
    ],
    ids=["another", "two", "alike", "empty"],
)
def test_an_archive_must_hold_the_file_once(tmp_path: Path, files: tuple[tuple[str, bytes], ...], words: str) -> None:
    data = zipped(*files) if files else zipped(("nothing/", b""))
    with pytest.raises(WeightsKeysError, match=words):
        load(write(tmp_path, data))


def test_an_archive_that_unpacks_to_much_more_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = zipped((MEMBER, b"\0" * 5_000_000))
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(WeightsUnsafeError, match="5000000 bytes"):
        load(write(tmp_path, data))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_an_archive_cut_off_is_damaged(tmp_path: Path, share: float) -> None:
    data = zipped((MEMBER, torch_bytes(STATE)))
    with pytest.raises(WeightsDamagedError):
        load(write(tmp_path, data[: int(share * len(data))]))


def test_a_flipped_bit_in_an_archive_is_noticed(tmp_path: Path) -> None:
    data = bytearray(zipped((MEMBER, torch_bytes(STATE)), compression=zipfile.ZIP_STORED))
    data[data.index(b"data.pkl") + 100] ^= 1
    with pytest.raises(WeightsDamagedError, match="CRC"):
        load(write(tmp_path, bytes(data)))


def test_a_payload_in_an_archive_is_never_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    path = write(tmp_path, zipped((MEMBER, torch_bytes({"a": Payload(canary)})), compression=zipfile.ZIP_STORED))
    with pytest.raises(WeightsUnsafeError, match="system"):
        load(path, inert_classes=INERT)
    assert not canary.exists()


class Checkpointing:
    """Such as trainers keep beside the tensors; anything it does leaves a trace."""

    canary = ""

    def __init__(self) -> None:
        self.best = 3

    def __setstate__(self, state: object) -> None:
        Path(self.canary).write_text("set")


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[bytes]:
    """A checkpoint that names a class of a module which, if anybody imports it now, leaves a trace."""
    canary = tmp_path / "canary"
    made = ModuleType("trainer_of_tests.callbacks")
    Checkpointing.canary = str(canary)
    setattr(made, "Checkpointing", Checkpointing)  # noqa: B010 - a module has no such attribute to the type checker
    monkeypatch.setattr(Checkpointing, "__module__", "trainer_of_tests.callbacks")
    with monkeypatch.context() as there:
        there.setitem(sys.modules, "trainer_of_tests", ModuleType("trainer_of_tests"))
        there.setitem(sys.modules, "trainer_of_tests.callbacks", made)
        metrics = defaultdict(int, {"loss": 2})
        data = torch_bytes(
            {
                "state_dict": STATE,
                "callbacks": {Checkpointing: {"best": 1}},
                "kept": Checkpointing(),
                "metrics": metrics,
            }
        )
    package = tmp_path / "site" / "trainer_of_tests"
    package.mkdir(parents=True)
    for name in ("__init__.py", "callbacks.py"):
        (package / name).write_text(f"from pathlib import Path\nPath({str(canary)!r}).write_text('imported')\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield data
    assert not canary.exists()
    assert "trainer_of_tests" not in sys.modules


def test_what_a_trainer_left_is_passed_over_and_not_imported(tmp_path: Path, trained: bytes) -> None:
    found = load(write(tmp_path, trained), container_key="state_dict", inert_classes=INERT)
    assert same(found, STATE)


def test_only_named_classes_get_stand_ins(tmp_path: Path, trained: bytes) -> None:
    with pytest.raises(WeightsUnsafeError, match="Checkpointing") as refused:
        load(write(tmp_path, trained), container_key="state_dict", inert_classes=INERT[:2])
    assert refused.value.facts["objects"] == ["trainer_of_tests.callbacks Checkpointing"]
    with pytest.raises(WeightsUnsafeError, match="Checkpointing"):
        load(write(tmp_path, trained), container_key="state_dict")


def test_what_was_let_through_is_not_let_through_afterwards(tmp_path: Path, trained: bytes) -> None:
    before = set(map(str, torch.serialization.get_safe_globals()))  # in an order that changes with what is imported
    load(write(tmp_path, trained), container_key="state_dict", inert_classes=INERT)
    assert set(map(str, torch.serialization.get_safe_globals())) == before


def test_an_allowed_name_lets_no_other_through(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    data = torch_bytes({"state_dict": STATE, "kept": Payload(canary)})
    with pytest.raises(WeightsUnsafeError, match="system"):
        load(write(tmp_path, data), container_key="state_dict", inert_classes=INERT)
    assert not canary.exists()


@pytest.fixture
def program() -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the format is old, and the point of the test
        torch.jit.save(torch.jit.script(torch.nn.Linear(3, 2)), stream)
    return stream.getvalue()


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_program_on_the_list_gives_its_tensors_if_its_digest_is_demanded(
    tmp_path: Path, program: bytes, wrapped: bool
) -> None:
    data = zipped((MEMBER, program)) if wrapped else program
    digest = sha256(data)
    found = load(write(tmp_path, data), sha256=digest, torchscript_sha256=("0" * 64, digest), container_key="params")
    assert {key: tuple(value.shape) for key, value in found.items()} == {"weight": (2, 3), "bias": (2,)}


@pytest.mark.parametrize("case", ["not on the list", "not demanded", "another is on the list", "no list"])
def test_any_other_program_is_refused_unseen(
    tmp_path: Path, program: bytes, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("it was loaded"))
    digest = hashlib.sha256(program).hexdigest()
    demanded, known = {
        "not on the list": (digest, ("0" * 64,)),
        "not demanded": (None, (digest,)),
        "another is on the list": (digest, (sha256(program[:-1]),)),
        "no list": (digest, ()),
    }[case]
    with pytest.raises(WeightsUnsafeError, match="TorchScript"):
        load(write(tmp_path, program), sha256=demanded, torchscript_sha256=known)
