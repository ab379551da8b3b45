"""The same products as NDJSON and Parquet, from an object store as from a disk, and large ones."""

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.catalogue import ColumnMapping, TableUnreadableError, open_table
from datasets.errors import StorageUnavailableError, UsageError
from datasets.object_store import object_store_options
from datasets.settings import read_settings
from datasets.storage import open_storage
from tests.datasets.tables import HEADER, URL, codes, rows_of, table_of
from tests.s3_server import S3Server

PRODUCTS = {"sku": ["00123", "B", None, "b"], "image_url": [URL, "N/A", URL, URL], "size": [96, None, 3, 4]}
MAPPING = ColumnMapping(parameters={"thumbnails.size": "size"})


def lines_of(*rows: object) -> str:
    return "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)


def write(folder: Path, ending: str) -> Path:
    path = folder / f"table.{ending}"
    frame = pl.DataFrame(PRODUCTS)
    if ending == "csv":
        frame.write_csv(path)
    elif ending == "ndjson":
        frame.write_ndjson(path)
    else:
        frame.write_parquet(path)
    return path


@pytest.mark.parametrize("ending", ["csv", "ndjson", "parquet"])
def test_every_kind_of_table_gives_the_same_rows(tmp_path: Path, ending: str) -> None:
    table = open_table(write(tmp_path, ending), MAPPING)
    good, bad = rows_of(table, size=2)
    first = 2 if ending == "csv" else 1
    size = "96" if ending == "csv" else 96
    assert [(row.line - first, row.sku, row.parameters) for row in good] == [
        (0, "00123", {"thumbnails.size": size}),
        (3, "b", {"thumbnails.size": 4 if size == 96 else "4"}),
    ]
    assert {line - first: why for line, why in codes(bad).items()} == {1: ["image_missing"], 2: ["sku_missing"]}
    assert table.facts.columns == (("sku", "String"), ("image_url", "String"), ("size", "Int64"))
    assert table.facts.bytes == (tmp_path / f"table.{ending}").stat().st_size


@pytest.mark.parametrize("ending", ["csv", "ndjson", "parquet"])
def test_tables_come_from_an_object_store_that_fails_now_and_then(tmp_path: Path, ending: str, s3: S3Server) -> None:
    path, options = write(tmp_path, ending), object_store_options(read_settings())
    storage = open_storage(s3.url, "default", options)
    storage.write_bytes(path.name, path.read_bytes())
    s3.rate = 0.05
    table = open_table(f"s3://{storage.path(path.name)}", MAPPING, storage_options=options)
    good, bad = rows_of(table)
    local = open_table(path, MAPPING)
    assert (good, bad) == rows_of(local)
    assert table.facts == local.facts
    with pytest.raises(UsageError, match="no table"):
        open_table(f"{s3.url}/none.{ending}", MAPPING, storage_options=options)


def test_pictures_by_path_need_a_local_table(s3: S3Server) -> None:
    options = object_store_options(read_settings())
    storage = open_storage(s3.url, "default", options)
    storage.write_bytes("t.csv", f"{HEADER}A,a.jpg\n".encode())
    _good, bad = rows_of(open_table(f"s3://{storage.path('t.csv')}", storage_options=options))
    assert codes(bad) == {2: ["image_path_outside"]}


def test_a_service_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch, s3: S3Server) -> None:
    from datasets import patient_s3

    monkeypatch.setattr(patient_s3, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(patient_s3, "LONGEST_WAIT_S", 0.001)
    s3.rate = 1.0
    with pytest.raises(StorageUnavailableError):
        open_table(f"{s3.url}/t.csv", storage_options=object_store_options(read_settings()))


def test_ndjson_rows_that_are_none_are_named(tmp_path: Path) -> None:
    text = lines_of(
        {"sku": "A", "image_url": URL},
        "",
        "not json",
        "[1]",
        '{"sku":"B","sku":"C","image_url":"x"}',
        {"sku": 7, "image_url": URL},
        {"sku": 7.5, "image_url": URL},
        {"sku": True, "image_url": ["x"]},
        {"image_url": URL},
        '{"sku":"\\ud800","image_url":"a.jpg"}',
        '{"sku":NaN,"image_url":"a.jpg"}',
        "[" * 100_000,
        "{" + ",".join(f'"k{number}":1' for number in range(50_000)) + ',"k49999":1}',
        '{"sku":' + "1" * 5000 + "}",
        {"sku": "D", "image_url": URL, "size": {"a": 1}},
    )
    table = table_of(tmp_path, text.encode() + b'{"sku":"\xe9"}\n', "t.ndjson")
    good, bad = rows_of(table)
    assert [(row.line, row.sku) for row in good] == [(1, "A"), (6, "7"), (15, "D")]
    assert codes(bad) == {
        3: ["row_not_json"],
        4: ["row_not_json"],
        5: ["row_not_json"],
        7: ["sku_not_text"],
        8: ["sku_not_text", "image_not_text"],
        9: ["sku_missing"],
        10: ["control_characters"],
        11: ["sku_missing"],
        12: ["row_not_json"],
        13: ["row_not_json"],
        14: ["row_not_json"],
        16: ["row_undecodable"],
    }


def test_parameters_are_single_values(tmp_path: Path) -> None:
    text = lines_of({"sku": "A", "image_url": URL, "n": 5}, {"sku": "B", "image_url": URL, "n": {"a": 1}})
    good, bad = rows_of(table_of(tmp_path, text, "t.jsonl", parameters={"thumbnails.size": "n"}))
    assert [row.parameters for row in good] == [{"thumbnails.size": 5}]
    assert codes(bad) == {2: ["parameter_not_scalar"]}


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "is empty"), ("[{}]", "JSON array"), ("nonsense", "no NDJSON: line 1"), ("sku,image_url\n", "no NDJSON")],
)
def test_what_is_no_ndjson_is_told(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(TableUnreadableError, match=words):
        table_of(tmp_path, text, "t.ndjson")


def test_a_key_that_no_row_has_is_a_missing_column(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no column 'image_url'; it has: 'sku', 'picture'"):
        table_of(tmp_path, lines_of({"sku": "A"}, {"picture": URL}), "t.ndjson")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([b'{"sku":"A"', b'"image_url":"a"}', b",", b"\n", b"\xff", b"[", b"}"]), max_size=20))
def test_any_ndjson_is_read_or_refused_in_words(tmp_path: Path, parts: list[bytes]) -> None:
    try:
        good, bad = rows_of(table_of(tmp_path, b"".join(parts), "t.ndjson"))
    except (TableUnreadableError, UsageError):
        return
    filled = {n for n, line in enumerate(b"".join(parts).split(b"\n"), 1) if line.strip()}
    assert {row.line for row in good} | {row.line for row in bad} == filled


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"sku": [1.5], "image_url": [URL]}, "'sku' .* Float64, expected text or whole numbers"),
        ({"sku": [True], "image_url": [URL]}, "Boolean"),
        ({"sku": ["A"], "image_url": [[URL]]}, "List"),
        ({"sku": [b"A"], "image_url": [URL]}, "Binary"),
        ({"SKU": ["A"], "image_url": [URL]}, "no column 'sku'"),
    ],
)
def test_columns_of_other_types_are_refused(tmp_path: Path, columns: dict[str, object], words: str) -> None:
    pl.DataFrame(columns).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(UsageError, match=words):
        open_table(tmp_path / "t.parquet")


def test_parquet_of_numbers_dates_and_categories(tmp_path: Path) -> None:
    frame = pl.DataFrame({"sku": [7, 8, 7], "image_url": [URL] * 3, "at": ["2026-01-01", "2026-01-02", "2026-02-01"]})
    frame = frame.with_columns(pl.col("at").str.to_date(), pl.col("image_url").cast(pl.Categorical))
    frame.write_parquet(tmp_path / "t.parquet", row_group_size=1)
    table = open_table(tmp_path / "t.parquet", ColumnMapping(updated="at", parameters={"a.b": "at"}))
    good, bad = rows_of(table)
    assert [(row.line, row.sku, row.parameters["a.b"]) for row in good] == [
        (2, "8", "2026-01-02"),
        (3, "7", "2026-02-01"),
    ]
    assert codes(bad) == {1: ["sku_duplicate"]}
    assert dict(table.facts.columns)["sku"] == "Int64"


def test_broken_parquet_is_told(tmp_path: Path) -> None:
    whole = write(tmp_path, "parquet").read_bytes()
    for number, data in enumerate(
        (b"", b"PAR1", whole[:-20], whole[: len(whole) // 2] + whole[-8:], b"sku,image_url\n")
    ):
        (tmp_path / f"{number}.parquet").write_bytes(data)
        with pytest.raises(TableUnreadableError):
            open_table(tmp_path / f"{number}.parquet").survey()


def test_flipped_bytes_of_parquet_never_pass_in_silence_as_a_crash(tmp_path: Path) -> None:
    whole = write(tmp_path, "parquet").read_bytes()
    for place in range(4, len(whole), max(1, len(whole) // 60)):
        (tmp_path / "f.parquet").write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            open_table(tmp_path / "f.parquet").survey()
        except (TableUnreadableError, UsageError):
            continue


def test_delta_without_its_package_names_it(tmp_path: Path) -> None:
    (tmp_path / "products" / "_delta_log").mkdir(parents=True)
    with pytest.raises(UsageError, match="'deltalake'"):
        open_table(tmp_path / "products")


PEAK = """
import resource, sys
from datasets.catalogue import open_table
facts = open_table(sys.argv[1]).survey()
print(facts.rows, facts.bad, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peak_mib(path: Path, rows: int) -> int:
    """Memory at its most of a process that reads so many rows."""
    with path.open("w") as stream:
        stream.write(HEADER)
        stream.writelines(f'"P-{number}",https://images.example.com/{number}.jpg\n' for number in range(rows))
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], check=True, capture_output=True, text=True)
    found, bad, peak = map(int, done.stdout.split())
    assert (found, bad) == (rows, 0)
    return peak


@pytest.mark.slow
def test_memory_does_not_grow_with_the_table(tmp_path: Path) -> None:
    small, large = peak_mib(tmp_path / "small.csv", 1_000), peak_mib(tmp_path / "large.csv", 300_000)
    assert large - small < 24  # of which the index's cache is 8; the 300,000 rows are 80 as Python objects
