"""Names of items: safe everywhere, unique, stable."""

import tarfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.ops.names import MAX_BYTES, safe_item_names
from tests.shared_data import fixture

NASTY = st.text(
    st.sampled_from("aAéÉe\u0301ßſ产ह\u093f😀 ./\\:*?\"<>|$;()#%-_~'`&!\n\t\x00\u202e\u200b\u3164\ufe0f²１x0")
    | st.characters(),
    max_size=130,
)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/in/lamp.jpg", "lamp"),
        ("lamp-2.5 cm.JPEG", "lamp-2.5-cm"),
        ("résumé 产品 😀 (1)#%20.jpg", "résumé-产品-1-20"),
        ("re\u0301sume\u0301.png", "résumé"),
        ("-rf --help;$(touch pwned).jpg", "rf-help-touch-pwned"),
        ("..%2f..%2fescape.jpg", "2f.-2fescape"),
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\a.jpg", "C-photos-a"),
        ("हिन्दी.jpg", "हिन्दी"),
        ("a\u202egpj.exe", "a-gpj.exe"),
        ("=HYPERLINK(1).jpg", "HYPERLINK-1"),
        ("CON.txt", "photo-CON"),
        ("com1.tar.gz", "photo-com1.tar.gz"),
        ("console.jpg", "console"),
        ("name. . .", "name"),
        ("", "photo"),
        ("..", "photo"),
        (".jpg", "photo"),
        ("😀.png", "photo"),
        ("\u3164.png", "photo"),
        ("a.jpg.png", "a"),
        ("x" * 300 + ".jpg", "x" * 100),
        ("产" * 50 + ".jpg", "产" * 33),
        ("\udcff\udcfe.jpg", "photo"),
    ],
)
def test_examples(path: str, name: str) -> None:
    assert safe_item_names([path]) == [name]


def test_equal_names_are_numbered_in_order_whatever_their_case() -> None:
    given_names = ["a/x.jpg", "b/X.png", "x-2.jpg", "x.webp", "Straße.jpg", "STRASSE.jpg"]
    assert safe_item_names(given_names) == ["x", "X-2", "x-2-2", "x-3", "Straße", "STRASSE-2"]


def test_a_number_shortens_a_long_name() -> None:
    assert safe_item_names(["x" * 100, "x" * 100]) == ["x" * 100, "x" * 98 + "-2"]


def test_ten_thousand_equal_names_take_no_time() -> None:
    names = safe_item_names(["photo.jpg"] * 10_000)
    assert names[-1] == "photo-10000"
    assert len(set(names)) == 10_000


def assert_safe(name: str) -> None:
    assert name
    assert len(name.encode()) <= MAX_BYTES
    assert name == unicodedata.normalize("NFC", name)
    assert name[0] not in "-. "
    assert name[-1] not in "-. "
    assert ".." not in name
    assert Path(name).name == name
    assert not set(name) & set("/\\:*?\"<>|$;&`'(){}[]!#%=~^ \n\r\t\x00")
    assert all(unicodedata.category(character)[0] in "LMN" or character in "._-" for character in name)
    assert name.partition(".")[0].lower() not in {"con", "prn", "aux", "nul", "com1", "lpt9"}


@given(st.lists(NASTY, max_size=8))
@example(["x" * 95 + ".jpgy"])
@example(["con" + "." + "y" * 120])
@example(["x.jpg-.jpg", "x", "x-2"])
@example(["é" * 60, "É" * 60])
def test_names_are_safe_unique_and_their_own(paths: list[str]) -> None:
    names = safe_item_names(paths)
    assert len(names) == len(paths)
    assert len({unicodedata.normalize("NFC", name.casefold()) for name in names}) == len(names)
    for name in names:
        assert_safe(name)
    assert safe_item_names(names) == names
    assert safe_item_names(paths) == names


@given(st.lists(NASTY, max_size=6), NASTY)
def test_a_name_depends_on_those_before_it_only(paths: list[str], more: str) -> None:
    assert safe_item_names([*paths, more])[: len(paths)] == safe_item_names(paths)


def test_hostile_names_make_files_inside_their_folder_only(tmp_path: Path) -> None:
    with tarfile.open(fixture("hostile/names.tar")) as archive:
        members = [member.name for member in archive.getmembers() if member.isfile()]
    for name in safe_item_names(members):
        assert_safe(name)
        (tmp_path / f"{name}.jpg").write_bytes(b"")
    assert len(list(tmp_path.iterdir())) == len(members) == 3
