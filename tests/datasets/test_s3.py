"""Storage on a real S3 service that fails now and then, is asked little, and is known for what it can do."""

import logging
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from prefect.blocks.core import Block

from datasets.errors import OutputDamagedError, SettingsError, StorageUnavailableError
from datasets.frame_spec import FrameSpec, chunk_key
from datasets.frames import FrameReader, create_frames, finished_chunks, write_chunk
from datasets.object_store import object_store_options, s3_options
from datasets.outputs import Manifest, OutputPlace, find_output
from datasets.probe import probed
from datasets.settings import read_settings
from datasets.storage import Storage, open_storage
from tests.datasets.test_outputs import store
from tests.datasets.test_storage import StorageContract
from tests.s3_server import SECRET, S3Server

FAULTS = 0.05
NAME = "a" * 64


@pytest.fixture
def storage(s3: S3Server) -> Storage:
    return open_storage(f"{s3.url}/some/prefix", "default", object_store_options(read_settings()))


class TestOnS3(StorageContract):
    @pytest.fixture(autouse=True)
    def _storage(self, storage: Storage, s3: S3Server) -> None:
        self.storage, self.server = storage, s3
        s3.rate = FAULTS

    def test_of_many_writers_at_once_one_creates_and_knows_it(self) -> None:
        self.server.rate = 0.3
        with ThreadPoolExecutor(8) as threads:
            told = list(threads.map(lambda n: self.storage.create_bytes("a", f"{n}".encode()), range(24)))
        assert told.count(True) == 1
        assert self.raw("a") == str(told.index(True)).encode()
        assert self.server.faults


def test_faults_never_surface(storage: Storage, s3: S3Server) -> None:
    s3.rate = 0.1
    for n in range(60):
        storage.write_bytes(f"many/{n}", b"x" * n)
    assert storage.list_tree("many") == {str(n): n for n in range(60)}
    assert all(storage.read_bytes(f"many/{n}") == b"x" * n for n in range(60))
    assert s3.faults.total() > 3


@pytest.mark.slow
def test_more_objects_than_one_listing_holds(storage: Storage) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: storage.write_bytes(f"many/{n:04}", b"x"), range(1005)))
    assert len(storage.list_tree("many")) == 1005
    storage.remove_tree("many")
    assert storage.list_tree("many") == {}


def test_frames_come_back_through_faults(storage: Storage, s3: S3Server) -> None:
    s3.rate = FAULTS
    chance = np.random.default_rng(1)
    for number in range(4):
        shape = tuple(int(chance.integers(1, limit)) for limit in (4, 40, 40, 4))
        chunks = tuple(int(chance.integers(1, 20)) for _ in range(3))
        place = OutputPlace(storage, f"{number}" * 64)
        spec = FrameSpec((shape[0], shape[1], shape[2], shape[3]), "uint16", (chunks[0], chunks[1], chunks[2]))
        values = store(place, spec)
        found = find_output(place)
        assert found is not None
        assert np.array_equal(FrameReader(place).read(), values)


def test_a_missing_chunk_is_damage_and_a_silent_service_is_not(storage: Storage, s3: S3Server) -> None:
    place = OutputPlace(storage, NAME)
    store(place, FrameSpec((1, 8, 8, 3), "uint8", (1, 4, 4)))
    reader = FrameReader(place)
    s3.rate = 1.0
    impatient = replace(storage, options={**storage.options, "attempts": 1})
    with pytest.raises(StorageUnavailableError):
        FrameReader(OutputPlace(impatient, NAME))
    with pytest.raises(StorageUnavailableError):
        find_output(OutputPlace(impatient, NAME))
    s3.rate = 0.0
    storage.remove_tree(place.inside("frames.zarr/pixels/c/0/1/1/0"))
    with pytest.raises(OutputDamagedError) as damaged:
        reader.read()
    assert damaged.value.facts["chunk"] == "0.1.1"
    assert find_output(place) is None


def test_a_chunk_costs_two_requests_to_write_and_one_to_read(storage: Storage, s3: S3Server) -> None:
    place = OutputPlace(storage, NAME)
    spec = create_frames(place, FrameSpec((1, 10, 8, 3), "uint8", (1, 4, 4)))
    values = np.arange(240, dtype=np.uint8).reshape(spec.shape)
    sums = {}
    for number, index in enumerate(spec.indices()):
        s3.requests.clear()
        sums[chunk_key(index)] = write_chunk(place, spec, index, values[spec.box(index)])
        assert number == 0 or dict(s3.requests) == {"PUT": 2}, index  # the first also opens the array
    assert finished_chunks(place, spec) == sums
    from datasets.frames import frames_entry

    place.finish(Manifest(NAME, "test", place.stored_objects(), frames_entry(spec, sums)))
    reader = FrameReader(place)
    s3.requests.clear()
    assert np.array_equal(reader.read((slice(0, 1), slice(8, 10), slice(4, 8))), values[:, 8:10, 4:8])
    assert dict(s3.requests) == {"GET": 1}


def test_a_second_layout_at_the_same_place_is_not_taken_for_the_first(storage: Storage) -> None:
    place = OutputPlace(storage, NAME)
    for chunks in ((1, 8, 8), (1, 3, 5), (1, 8, 8)):
        values = store(place, FrameSpec((1, 8, 8, 3), "uint8", chunks))
        assert np.array_equal(FrameReader(place).read(), values)
        place.discard()


def test_the_second_of_two_writers_takes_the_first_ones_manifest(storage: Storage) -> None:
    place = OutputPlace(storage, NAME)
    first = place.finish(Manifest(NAME, "test", {}, facts={"writer": 1}))
    second = place.finish(Manifest(NAME, "test", {}, facts={"writer": 2}))
    assert first == second
    assert find_output(place) == first


@pytest.mark.parametrize(("conditional", "held"), [("yes", True), ("ignored", False), ("refused", False)])
def test_the_probe_finds_out_whether_objects_can_be_created_atomically(
    storage: Storage, s3: S3Server, conditional: str, held: bool
) -> None:
    s3.conditional = conditional
    found = probed(storage)
    assert found.atomic_create is held
    assert storage.list_tree("") == {}
    assert found.create_bytes("a", b"1")
    assert not found.create_bytes("a", b"2")
    assert found.read_bytes("a") == b"1"


def test_the_probe_asks_once_and_little(storage: Storage, s3: S3Server) -> None:
    probed(storage)
    assert s3.requests.total() <= 12
    s3.requests.clear()
    probed(open_storage(storage.root, "default", storage.options))
    assert s3.requests.total() == 0


@pytest.mark.parametrize("fault", ["bucket", "endpoint"])
def test_a_storage_that_cannot_be_used_is_refused_in_words(storage: Storage, s3: S3Server, fault: str) -> None:
    root = "s3://no-such-bucket" if fault == "bucket" else s3.url
    nowhere = {**storage.options, "endpoint_url": "http://127.0.0.1:9"}
    wrong = open_storage(root, "default", storage.options if fault == "bucket" else nowhere)
    with pytest.raises(SettingsError, match="STILLMOTION_S3_ENDPOINT") as refused:
        probed(wrong)
    assert root in refused.value.message
    assert SECRET not in refused.value.message


def test_secrets_are_never_shown_and_travel_to_workers(s3: S3Server) -> None:
    options = s3_options(endpoint=s3.endpoint, path_style=True, region="eu-central-1", key="somebody", secret=SECRET)
    storage = open_storage(s3.url, "default", options)
    assert SECRET not in repr(storage)
    assert SECRET not in repr(OutputPlace(storage, NAME))
    again = pickle.loads(pickle.dumps(storage))
    again.write_bytes("a", b"x")
    assert storage.read_bytes("a") == b"x"


@pytest.mark.usefixtures("prefect_api")
def test_credentials_come_from_a_saved_block(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from model_blocks.blocks import ObjectStore
    from model_blocks.object_access import access_options

    ObjectStore(
        endpoint=s3.endpoint, region="eu-central-1", path_style=True, access_key_id="somebody", secret_access_key=SECRET
    ).save("shop", overwrite=True)
    for name in s3.environment:
        monkeypatch.delenv(name)
    monkeypatch.setenv("STILLMOTION_STORAGE_ROOT", s3.url)
    monkeypatch.setenv("STILLMOTION_STORAGE_BLOCK", "shop")
    storage = open_storage(s3.url, "default", access_options(s3.url, read_settings()))
    assert access_options("file:///a", read_settings()) == access_options(None, read_settings()) == {}
    assert probed(storage).atomic_create
    assert SECRET not in repr(Block.load("stillmotion-object-store/shop"))
    monkeypatch.setenv("STILLMOTION_STORAGE_BLOCK", "no-such")
    with pytest.raises(SettingsError, match="no-such"):
        access_options(s3.url, read_settings())


def test_the_service_is_not_talked_about(storage: Storage, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        storage.write_bytes("a", b"x")
        storage.read_bytes("a")
    assert not caplog.records
