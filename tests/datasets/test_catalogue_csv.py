"""CSV against Python's own reader, and CSV as it should not be: nothing is lost without a word."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from datasets.catalogue import csv_rows, open_table
from datasets.catalogue.csv_rows import CsvRow, CsvRows
from datasets.catalogue.lines import LONGEST_ROW, lines
from datasets.catalogue.records import TableUnreadableError
from tests.datasets.tables import HEADER, URL, codes, rows_of, table_of

TEXT = st.text(st.sampled_from('ab ,;"\n\ré😀'), max_size=8)


def parsed(data: bytes, *, block: int = 7, separator: str = ",", encoding: str = "utf-8") -> list[CsvRow]:
    """Rows of bytes that come in blocks of this size."""
    blocks = (data[at : at + block] for at in range(0, len(data), block))
    return list(CsvRows("t", lines(blocks), encoding=encoding, separator=separator))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(TEXT, min_size=2, max_size=4), max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(",;"),
    st.integers(1, 40),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_well_formed_tables_read_as_python_reads_them(
    rows: list[list[str]], end: str, separator: str, block: int, quoting: int
) -> None:
    text = io.StringIO(newline="")
    begins = []
    if any("\r" in value for row in rows for value in row):
        quoting = csv.QUOTE_ALL  # Python leaves a lone one bare, and then takes it for the end of a row
    writer = csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting)  # type: ignore[arg-type]
    for row in rows:
        begins.append(text.getvalue().count("\n") + 1)
        writer.writerow(row)
    found = parsed(text.getvalue().encode(), block=block, separator=separator)
    assert [row.reasons for row in found] == [()] * len(rows)
    assert [row.values for row in found] == list(
        csv.reader(io.StringIO(text.getvalue(), newline=""), delimiter=separator)
    )
    assert [row.line for row in found] == begins


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([b"a", b'"', b'""', b",", b"\n", b"\r\n", b"\xe9", b"\0"]), max_size=40).map(b"".join))
@example(b'a,"b\nc,d\n"e",f\n')
@example(b'5","open\n' * 6)
def test_every_line_of_anything_is_in_a_row(data: bytes) -> None:
    """Whatever the quotes say: rows follow each other, and no line that holds something lies between them."""
    found = parsed(data, block=3)
    assert found == parsed(data, block=1000)
    covered = [number for row in found for number in range(row.line, row.last + 1)]
    assert covered == sorted(set(covered))
    blank = {number for number, line in enumerate(data.split(b"\n"), 1) if line in (b"", b"\r")}
    assert set(range(1, data.count(b"\n") + 2)) - set(covered) <= blank


def test_an_unclosed_quote_costs_its_own_line(tmp_path: Path) -> None:
    rows = "".join(f"B-{n},{URL}\n" for n in range(50))
    good, bad = rows_of(table_of(tmp_path, f'{HEADER}A,{URL}\nX,"{URL}\n{rows}'))
    assert codes(bad) == {3: ["quote_unclosed"]}
    assert "line 3" in bad[0].reasons[0].message
    assert [row.line for row in good] == [2, *range(4, 54)]


def test_an_unclosed_quote_that_the_next_one_closes_is_noticed(tmp_path: Path) -> None:
    good, bad = rows_of(table_of(tmp_path, f'{HEADER}X,"{URL}\n"B",{URL}\n"C",{URL}\n'))
    assert codes(bad) == {2: ["quote_unclosed"]}
    assert [row.sku for row in good] == ["B", "C"]


def test_a_quote_is_looked_for_within_bounds(tmp_path: Path) -> None:
    far = f"{'x' * 1000}\n" * (LONGEST_ROW // 1000 + 1)
    good, bad = rows_of(table_of(tmp_path, f'{HEADER}X,"{far}"\nB,{URL}\n'))
    assert [row.sku for row in good] == ["B"]
    assert codes(bad)[2] == ["quote_unclosed"]
    assert bad[0].reasons[0].facts["searched_to"] == 1050  # line 2 and 1048 more are beyond 1 MiB


def test_a_table_of_nothing_but_unclosed_quotes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_rows, "MOST_AGAIN", 1 << 16)
    with pytest.raises(TableUnreadableError, match="line "):
        parsed(b'5","open\n' * 2000, block=5000)


def test_a_stray_quote_is_named_with_its_column(tmp_path: Path) -> None:
    good, bad = rows_of(table_of(tmp_path, f'{HEADER}A,"5" pipe"\n5" B,{URL}\n'))
    assert codes(bad) == {2: ["quote_stray"]}
    assert bad[0].reasons[0].facts == {"line": 2, "column": 6}
    assert [row.sku for row in good] == ['5" B']


def test_a_line_that_is_too_long_costs_itself_only(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    with path.open("wb") as stream:  # a hole in the file stands for a value of 100 MB
        stream.write(f'{HEADER}A,{URL}\nX,"'.encode())
        stream.seek(100_000_000, io.SEEK_CUR)
        stream.write(f'"\nB,{URL}\n'.encode())
    good, bad = rows_of(open_table(path))
    assert [row.line for row in good] == [2, 4]
    assert codes(bad) == {3: ["row_too_long"]}


def test_lines_keep_what_they_may_and_no_more() -> None:
    def blocks() -> Iterator[bytes]:
        for _ in range(64):
            yield b"x" * LONGEST_ROW
        yield b"\nshort\n" + b"y" * LONGEST_ROW + b"\nend"

    found = list(lines(blocks()))
    assert [(line.number, len(line.data), line.whole) for line in found] == [
        (1, LONGEST_ROW, False),
        (2, 5, True),
        (3, LONGEST_ROW, True),
        (4, 3, True),
    ]


def test_ragged_rows_name_their_lines(tmp_path: Path) -> None:
    text = f'{HEADER}A\nB,{URL},more\n"C\nc",{URL},\nD,{URL}\n\n'
    good, bad = rows_of(table_of(tmp_path, text))
    assert codes(bad) == {2: ["row_ragged"], 3: ["row_ragged"], 4: ["row_ragged"]}
    assert "lines 4 to 5" in bad[2].reasons[0].message
    assert [(row.line, row.sku) for row in good] == [(6, "D")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_marks_and_line_ends(tmp_path: Path, encoding: str, end: str) -> None:
    text = f"sku,image_url{end}Tasse-é,{URL}{end}00123,{URL}{end}"
    marked = "utf-8" if encoding in ("utf-8-sig", "utf-16", "utf-32") else encoding  # a mark needs no declaration
    good, bad = rows_of(table_of(tmp_path, text.encode(encoding), encoding=marked))
    assert bad == []
    assert [(row.line, row.sku) for row in good] == [(2, "Tasse-é"), (3, "00123")]


def test_bytes_of_another_encoding_refuse_their_row_with_line_and_column(tmp_path: Path) -> None:
    text = HEADER.encode() + f"A,{URL}\nü".encode() + b"\xe9," + URL.encode() + f"\nB,{URL}\n".encode()
    good, bad = rows_of(table_of(tmp_path, text))
    assert [row.sku for row in good] == ["A", "B"]
    assert bad[0].reasons[0].facts == {"line": 3, "column": 2, "byte": 0xE9, "encoding": "utf-8"}
    assert bad[0].sku is None


def test_half_a_character_of_utf_16_refuses_its_row(tmp_path: Path) -> None:
    good, bad = rows_of(table_of(tmp_path, f"{HEADER}A,{URL}\nB,{URL}".encode("utf-16") + b"x"))
    assert [row.sku for row in good] == ["A"]
    assert codes(bad) == {3: ["row_undecodable"]}
