"""Product tables as they come: the hostile fixtures row by row, columns, SKUs, pictures, duplicates."""

import os
import sqlite3
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from datasets.catalogue import (
    ColumnMapping,
    TableChangedError,
    TableFacts,
    TableUnreadableError,
    catalogue_roots,
    is_local_path,
    local_image,
    open_table,
)
from datasets.catalogue.local_images import ImagePathError
from datasets.errors import StorageUnavailableError, UsageError
from datasets.settings import read_settings
from tests.datasets.tables import HEADER, URL, codes, one_row, rows_of, table_of
from tests.shared_data import fixture


def test_every_row_of_the_bad_catalogue_is_given_or_named() -> None:
    table = open_table(fixture("hostile/catalogue_bad.csv"))
    good, bad = rows_of(table, size=3)
    assert [(row.line, row.sku) for row in good] == [(2, "A-1"), (13, "E-5"), (15, "G-7")]  # 13 is the fetch's
    assert codes(bad) == {
        3: ["sku_duplicate"],
        4: ["sku_duplicate"],
        5: ["sku_missing"],
        6: ["sku_missing", "image_missing"],
        7: ["image_url_malformed"],
        8: ["image_scheme_refused"],
        9: ["image_scheme_refused"],
        11: ["image_scheme_refused"],  # the row of line 9 ends on line 10
        12: ["image_path_outside"],
        14: ["row_ragged"],
        16: ["row_ragged"],
    }
    assert [row.sku for row in bad if row.line in (7, 8)] == ["00123", "123"]
    assert (table.facts.rows, table.facts.bad, table.facts.duplicates, table.facts.bytes) == (14, 11, 2, 840)
    assert table.facts.columns[0] == ("sku", "String")  # no byte-order mark in its name
    assert TableFacts.from_json(table.facts.to_json()) == table.facts


def test_the_newest_row_of_a_sku_is_used_where_a_column_says_which() -> None:
    table = open_table(fixture("hostile/catalogue_bad.csv"), ColumnMapping(updated="updated_at"))
    good, bad = rows_of(table)
    assert [row.line for row in good] == [3, 13, 15]
    assert {row.line: row.reasons[0].facts["line"] for row in bad if row.line in (2, 4)} == {2: 3, 4: 3}


def test_the_latin_1_catalogue_is_refused_by_line_and_column_until_it_is_declared() -> None:
    path = fixture("hostile/catalogue_latin1.csv")
    good, bad = rows_of(open_table(path, ColumnMapping(image="title")))
    assert good == []
    assert [(row.line, row.sku, row.reasons[0].code, row.reasons[0].facts["column"]) for row in bad] == [
        (2, "X-1", "row_undecodable", 8),
        (3, "X-2", "row_undecodable", 5),
    ]
    good, bad = rows_of(open_table(path, ColumnMapping(image="title", encoding="latin-1")))
    assert [row.image for row in good] == ["Café crème", "Über"]
    assert bad == []
    with pytest.raises(UsageError, match=r"'sku', 'title', 'price'.*line 2, column 8.*line 3, column 5") as refused:
        open_table(path)
    assert [row["line"] for row in refused.value.facts["bad_rows"]] == [2, 3]  # type: ignore[attr-defined]


def test_a_column_that_is_missing_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no column 'sku', 'image_url'; it has: 'SKU', 'picture'.*is it 'SKU'"):
        table_of(tmp_path, "SKU,picture\nA,b\n")
    with pytest.raises(UsageError, match="seem to be separated by ';'"):
        table_of(tmp_path, "sku;image_url\nA;b\n")
    with pytest.raises(UsageError, match=r"no column 'size'.*of thumbnails.size"):
        table_of(tmp_path, HEADER, parameters={"thumbnails.size": "size"})


def test_a_column_that_stands_twice_is_refused_only_if_it_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'sku' 2 times \(columns 1, 3\)"):
        table_of(tmp_path, f"sku,image_url,sku\nA,{URL},B\n")
    good, _bad = rows_of(table_of(tmp_path, f"sku,image_url,x,x\nA,{URL},1,2\n"))
    assert [row.sku for row in good] == ["A"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n\r\n\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"\x1f\x8b\x08\x00", "gzip: unpack"),
        (b"PAR1....", "a Parquet file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Excel"),
        (b"\n <!DOCTYPE html><html>", "web page"),
        (HEADER.encode("utf-16-le"), "NUL bytes"),
        (b"\0" * 5000, "NUL bytes"),
        (b'sku,"image_url\n', "header .* quote that opens in line 1"),
        (b"sku,image_\xe9\nA,b", "header .* line 1, column 11"),
        (b"x" * (2 << 20), "longer than"),
        (b"," * 10_000 + b"\n", "10001 columns"),
    ],
)
def test_what_is_no_table_is_told_as_what_it_is(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(TableUnreadableError, match=words):
        table_of(tmp_path, content)


def test_a_zip_archive_is_no_table(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "table.csv", "w") as archive:
        archive.writestr("inside.csv", HEADER)
    with pytest.raises(TableUnreadableError, match="ZIP archive"):
        open_table(tmp_path / "table.csv")


def test_a_table_that_is_not_there_is_bad_usage(tmp_path: Path) -> None:
    for name, words in (
        ("none.csv", "no table"),
        ("none.csv.gz", "known: .csv"),
        ("nothing://y/t.csv", "cannot be opened"),
    ):
        with pytest.raises(UsageError, match=words):
            open_table(name if "://" in name else tmp_path / name)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        open_table(tmp_path / "folder.csv")
    os.mkfifo(tmp_path / "pipe.csv")  # opening it would wait for a writer for ever
    with pytest.raises(UsageError, match="pipe"):
        open_table(tmp_path / "pipe.csv")


def test_a_header_alone_is_a_table_without_rows(tmp_path: Path) -> None:
    table = table_of(tmp_path, HEADER)
    assert list(table.batches()) == []
    assert (table.facts.rows, table.facts.columns) == (0, (("sku", "String"), ("image_url", "String")))


def test_facts_are_not_known_before_the_end(tmp_path: Path) -> None:
    table = table_of(tmp_path, f"{HEADER}A,{URL}\nB,{URL}\n")
    next(table.batches(1))
    with pytest.raises(TypeError):
        _ = table.facts
    assert table.survey().rows == 2


def test_types_of_columns_are_told_from_their_values(tmp_path: Path) -> None:
    text = "sku,image_url,number,price,code,empty\n" + f"1,{URL},5,1.5,007,\n2,{URL},NULL,2,123,N/A\n"
    assert dict(table_of(tmp_path, text).survey().columns) == {
        "sku": "String",
        "image_url": "String",
        "number": "Int64",
        "price": "Float64",
        "code": "String",
        "empty": "Null",
    }


def test_skus_stay_as_given_but_for_outer_space_and_normal_form(tmp_path: Path) -> None:
    text = HEADER + "".join(
        f"{sku},{URL}\n" for sku in ("00123", "123", " x ", "Cafe\u0301", "1e3", "NA", "\u00a0y\u3000")
    )
    good, bad = rows_of(table_of(tmp_path, text))
    assert [row.sku for row in good] == ["00123", "123", "x", "Caf\u00e9", "1e3", "NA", "y"]
    assert bad == []


def test_one_sku_in_many_spellings_is_one_product(tmp_path: Path) -> None:
    text = HEADER + "".join(f"{sku},{URL}\n" for sku in ("Caf\u00e9", "CAFE\u0301", " caf\u00e9", "STRASSE", "straße"))
    good, bad = rows_of(table_of(tmp_path, text))
    assert [row.line for row in good] == [2, 5]
    assert {row.line: row.reasons[0].facts["line"] for row in bad} == {3: 2, 4: 2, 6: 5}


def test_a_row_that_cannot_be_used_takes_no_sku(tmp_path: Path) -> None:
    good, bad = rows_of(table_of(tmp_path, f"{HEADER}A,\nA,{URL}\na,\n"))
    assert [row.line for row in good] == [3]
    assert codes(bad) == {2: ["image_missing"], 4: ["image_missing", "sku_duplicate"]}


NEWEST = st.sampled_from(["", "2026-01-02", "2026-01-02T00:00:01", "2026-01-01T23:00:00-09:00", "7", "12.5", "later"])
AGES = {"": 0.0, "later": 0.0, "7": 1.7, "12.5": 1.8, "2026-01-02": 2.1, "2026-01-02T00:00:01": 2.2}
AGES["2026-01-01T23:00:00-09:00"] = 2.3  # eight in the morning of the second, in UTC


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["A", "a", "B", "c"]), st.sampled_from([URL, ""]), NEWEST), max_size=12))
def test_of_rows_with_one_sku_one_that_can_be_used_is_used(tmp_path: Path, rows: list[tuple[str, str, str]]) -> None:
    text = "sku,image_url,at\n" + "".join(f"{','.join(row)}\n" for row in rows)
    usable: dict[str, list[tuple[int, float]]] = {}
    for line, (sku, image, at) in enumerate(rows, 2):
        if image:
            usable.setdefault(sku.lower(), []).append((line, AGES[at]))
    firsts = {found[0][0] for found in usable.values()}
    newest = {max(found, key=lambda each: (each[1], -each[0]))[0] for found in usable.values()}
    for mapping, wanted in (({}, firsts), ({"updated": "at"}, newest)):
        good, bad = rows_of(table_of(tmp_path, text, **mapping))
        assert {row.line for row in good} == wanted
        assert {row.line for row in bad} == set(range(2, len(rows) + 2)) - wanted


@pytest.mark.parametrize(
    ("image", "code"),
    [
        ("https://a.example/ü.jpg?x=1#y", None),
        ("HTTPS://a.example:8443/a%20b.jpg", None),
        ("pictures/a b.jpg", None),
        ("https://a.example/a b.jpg", "image_url_malformed"),
        ("https:///a.jpg", "image_url_malformed"),
        ("https:/a.example/a.jpg", "image_url_malformed"),
        ("https://a.example:99999/", "image_url_malformed"),
        ("https://[::1/", "image_url_malformed"),
        ("//a.example/a.jpg", "image_url_malformed"),
        ("\\\\server\\share\\a.jpg", "image_url_malformed"),
        ("https://a.example\\@b.example/", "image_url_malformed"),
        ("https://u:secret@a.example/", "image_url_malformed"),
        ("https://a.example/" + "x" * 2048, "image_url_malformed"),
        ("file:/etc/passwd", "image_scheme_refused"),
        ("FILE:///etc/passwd", "image_scheme_refused"),
        ("data:image/png;base64,AA==", "image_scheme_refused"),
        ("ftp://a.example/a.jpg", "image_scheme_refused"),
        ("s3://bucket/a.jpg", "image_scheme_refused"),
        ("C:\\a.jpg", "image_scheme_refused"),
        ("localhost:8000/a.jpg", "image_scheme_refused"),
        ("/etc/passwd", "image_path_outside"),
        ("../../../../../etc/passwd", "image_path_outside"),
        ("a/../../../../../../etc/passwd", "image_path_outside"),
        ("https://a.example/\x00", "control_characters"),
        ("https://a.example/a\nb", "control_characters"),
        ("https://a.example/\u202egpj.exe", "control_characters"),
        ("N/A", "image_missing"),
        ("", "image_missing"),
    ],
)
def test_shapes_of_pictures(tmp_path: Path, image: str, code: str | None) -> None:
    assert one_row(tmp_path, image) == ([code] if code else [])


@pytest.mark.parametrize(
    ("sku", "code"),
    [
        ("x" * 200, None),
        ("x" * 201, "sku_too_long"),
        ("a\x00b", "control_characters"),
        ("a\nb", "control_characters"),
        ("a\u200bb", "control_characters"),
        ("\ufeffA", "control_characters"),
        ("NaN", "sku_missing"),
        ("   ", "sku_missing"),
    ],
)
def test_shapes_of_skus(tmp_path: Path, sku: str, code: str | None) -> None:
    assert one_row(tmp_path, URL, sku) == ([code] if code else [])


def test_a_login_in_a_url_is_not_repeated(tmp_path: Path) -> None:
    for url in (
        "https://user:hunter2@a.example/",
        "ftp://user:hunter2@a.example/",
        "https://user:hunter2@a.example/ x",
    ):
        _good, bad = rows_of(table_of(tmp_path, f"{HEADER}A,{url}\n"))
        assert "hunter2" not in repr(bad)


def test_paths_lead_only_into_the_allowed_folders_whatever_links_say(tmp_path: Path) -> None:
    shop, other = tmp_path / "shop", tmp_path / "other"
    for folder in (shop / "tables", shop / "pictures", other):
        folder.mkdir(parents=True)
    table = str(shop / "tables" / "table.csv")
    (shop / "tables" / "out").symlink_to(other)
    (shop / "tables" / "loop").symlink_to("loop")
    assert local_image(table, "../pictures/a.jpg") == shop / "pictures" / "a.jpg"
    assert local_image(table, str(shop / "pictures" / "a.jpg")) == shop / "pictures" / "a.jpg"
    assert local_image(f"file://{table}", "a.jpg") == shop / "tables" / "a.jpg"
    for image in ("out/a.jpg", str(other / "a.jpg"), "../../other/a.jpg", "../../shop2/a.jpg"):
        with pytest.raises(ImagePathError, match="STILLMOTION_CATALOGUE_ROOTS"):
            local_image(table, image)
    local_image(table, "loop")
    assert local_image(table, "out/a.jpg", roots=[other]) == other / "a.jpg"
    with pytest.raises(ImagePathError):
        local_image(table, "../pictures/a.jpg", roots=[other])
    with pytest.raises(ImagePathError, match="https://"):
        local_image("s3://bucket/table.csv", "a.jpg")
    with pytest.raises(ImagePathError):
        local_image("/table.csv", "/etc/passwd")
    with pytest.raises(ImagePathError):
        local_image("/srv/table.csv", "/etc/passwd")


def test_the_allowed_folders_are_a_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STILLMOTION_CATALOGUE_ROOTS", f"{tmp_path}/a:{tmp_path}/b")
    assert catalogue_roots(read_settings()) == (tmp_path / "a", tmp_path / "b")
    monkeypatch.setenv("STILLMOTION_CATALOGUE_ROOTS", "")
    assert catalogue_roots(read_settings()) == ()
    assert is_local_path("a.jpg")
    assert not is_local_path(URL)


def test_recipes_and_parameters_come_with_their_row(tmp_path: Path) -> None:
    text = f"sku,image_url,how,size\nA,{URL},thumbnails,96\nB,{URL},,NULL\n"
    table = table_of(tmp_path, text, recipe="how", parameters={"thumbnails.size": "size"})
    good, _bad = rows_of(table)
    assert [(row.recipe, row.parameters) for row in good] == [("thumbnails", {"thumbnails.size": "96"}), (None, {})]


def test_a_table_that_changes_between_two_readings_is_noticed(tmp_path: Path) -> None:
    table = table_of(tmp_path, f"{HEADER}A,{URL}\n")
    table.survey()
    (tmp_path / "table.csv").write_text(f"{HEADER}B,{URL}\n")
    with pytest.raises(TableChangedError):
        table.survey()


def test_a_table_that_grows_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    table = table_of(tmp_path, HEADER + "".join(f"{n},{URL}\n" for n in range(1_200)))
    batches = table.batches()
    next(batches)
    with (tmp_path / "table.csv").open("a") as stream:
        stream.write(f"late,{URL}\n")
    with pytest.raises(TableChangedError):
        list(batches)


def test_no_room_for_the_index_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    table = table_of(tmp_path, f"{HEADER}A,{URL}\n")
    monkeypatch.setattr(sqlite3, "connect", full)
    with pytest.raises(StorageUnavailableError, match="TMPDIR"):
        table.survey()


@pytest.mark.parametrize(
    "wrong",
    [
        {"encoding": "utf-7"},
        {"encoding": "cp037"},
        {"encoding": "nothing"},
        {"encoding": "hex"},
        {"separator": '"'},
        {"separator": ";;"},
        {"sku": ""},
        {"parameters": {"size": "x"}},
        {"columns": "x"},
    ],
)
def test_mappings_that_mean_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ColumnMapping.model_validate(wrong)
