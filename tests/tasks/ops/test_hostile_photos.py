"""Files that mean harm or are broken: each is read as it should be, or refused for the right reason, quickly."""

import json
import subprocess
import sys
import tarfile
import textwrap
import time
from pathlib import Path

import pytest
from PIL import Image

from tasks.ops.photo import read_photo
from tasks.ops.photo_errors import IntakeError
from tests.shared_data import SHARED, fixture

VIDEO = "unsupported_format"

# name: the code of the refusal, or (width, height, channels, depth, notices)
EXPECTED: dict[str, str | tuple[int, int, int, int, tuple[str, ...]]] = {
    "animated.gif": (200, 150, 3, 8, ("animation_first_frame",)),
    "animated.webp": (200, 150, 3, 8, ("animation_first_frame",)),
    "audio_only.mp4": VIDEO,
    "bitrot_mdat.mp4": VIDEO,
    "bomb_50000x50000_1bit.png": "too_many_pixels",
    "catalogue_bad.csv": "not_an_image",
    "catalogue_latin1.csv": "not_an_image",
    "cmyk.jpg": (600, 400, 3, 8, ()),
    "cut_middle_moov_end.mp4": VIDEO,
    "cut_middle_moov_front.mp4": VIDEO,
    "exif_orient6.jpg": (640, 480, 3, 8, ()),
    "gray.png": (600, 400, 3, 8, ()),
    "gray16.png": (600, 400, 3, 16, ()),
    "header_lies_50000.png": "too_many_pixels",
    "icc_display_p3.jpg": (600, 400, 3, 8, ()),
    "jpeg_named.png": (480, 640, 3, 8, ()),
    "login_page.jpg": "not_an_image",
    "moov_missing.mp4": VIDEO,
    "names.tar": "not_an_image",
    "one_pixel.png": (1, 1, 3, 8, ()),
    "palette_trns.png": (600, 400, 4, 8, ()),
    "playlist.m3u8": "unsupported_format",
    "png_named.jpg": (600, 400, 3, 8, ()),
    "polyglot_zip.jpg": (480, 640, 3, 8, ()),
    "real_corrupted.mp4": VIDEO,
    "real_truncated.jpg": "truncated",
    "script.svg": "unsupported_format",
    "text_named.mp4": "not_an_image",
    "truncated_half.jpg": "truncated",
    "wide_4000x1.png": (4000, 1, 3, 8, ()),
    "zero.jpg": "empty_file",
    "zero_frames.mp4": VIDEO,
    "zip_slip.zip": "not_an_image",
}


def outcome(data: bytes) -> object:
    try:
        photo = read_photo(data)
    except IntakeError as error:
        return error.code
    height, width, channels = photo.pixels.shape
    return width, height, channels, photo.pixels.itemsize * 8, tuple(notice.code for notice in photo.notices)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_each_file_is_read_or_refused_as_expected_within_seconds(name: str) -> None:
    data = fixture(f"hostile/{name}").read_bytes()
    started = time.monotonic()
    assert outcome(data) == EXPECTED[name]
    assert time.monotonic() - started < 5


def test_the_table_names_every_file() -> None:
    fixture("hostile")
    assert {path.name for path in (SHARED / "fixtures" / "hostile").iterdir()} == set(EXPECTED)


def test_files_under_strange_names_are_ordinary_photographs() -> None:
    with tarfile.open(fixture("hostile/names.tar")) as archive:
        streams = [archive.extractfile(member) for member in archive.getmembers() if member.isfile()]
        outcomes = [outcome(stream.read()) for stream in streams if stream]
    assert outcomes == [(480, 640, 3, 8, ())] * 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("login_page.jpg", "not an image (HTML)"),
        ("zip_slip.zip", "not an image (ZIP)"),
        ("script.svg", "SVG"),
        ("playlist.m3u8", "playlist"),
        ("zero.jpg", "empty"),
        ("bomb_50000x50000_1bit.png", "50000×50000 = 2500 megapixels and 120 are allowed"),
        ("truncated_half.jpg", "ends before the picture"),
    ],
)
def test_refusals_say_what_came_and_what_to_do(name: str, words: str) -> None:
    with pytest.raises(IntakeError) as error:
        read_photo(fixture(f"hostile/{name}").read_bytes())
    assert words in error.value.message
    assert any(
        remedy in error.value.message for remedy in ("give a", "export it", "send the file again", "raise the limit")
    )
    json.dumps(error.value.facts)


def run(script: str, *arguments: object) -> str:
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize(
    "name", ["bomb_50000x50000_1bit.png", "header_lies_50000.png", "truncated_half.jpg", "animated.gif", "gray16.png"]
)
def test_bombs_take_no_memory(name: str) -> None:
    assert peak_growth_kb(fixture(f"hostile/{name}")) < 100_000  # the announced pixels would be 2.5 GB


def peak_growth_kb(path: Path) -> int:
    """How much reading a photograph adds to the peak of a fresh process."""
    script = """
        import resource, sys
        from pathlib import Path
        from tasks.ops.photo import read_photo
        from tasks.ops.photo_errors import IntakeError
        data = Path(sys.argv[1]).read_bytes()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            read_photo(data)
        except IntakeError:
            pass
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    return int(run(script, path))


def test_no_file_and_no_connection_is_opened_whatever_a_file_says() -> None:
    script = """
        import sys
        from pathlib import Path
        from tasks.ops.photo import read_photo
        from tasks.ops.photo_errors import IntakeError
        files = [(path.name, path.read_bytes()) for path in sorted(Path(sys.argv[1]).rglob("*")) if path.is_file()]
        warm = {name: data for name, data in files}
        for name in ("icc_display_p3.jpg", "one_pixel.png", "animated.gif", "animated.webp"):
            read_photo(warm[name])
        events = []
        watched = ("open", "os.", "socket.", "subprocess.", "shutil.", "urllib.", "ctypes.", "import", "tempfile.")
        def hook(event, arguments):
            if event.startswith(watched):
                events.append((event, str(arguments)))
        sys.addaudithook(hook)
        for name, data in files:
            try:
                read_photo(data)
            except IntakeError:
                pass
        seen = list(events)
        open(sys.executable, "rb").close()
        assert len(events) > len(seen), "the hook must be listening"
        print(len(files), seen)
    """
    fixture("hostile")
    count, seen = run(script, SHARED / "fixtures" / "hostile").split(maxsplit=1)
    assert int(count) == len(EXPECTED)
    assert seen.strip() == "[]"


def test_a_large_photograph_stays_within_its_memory(tmp_path: Path) -> None:
    """The pixels, Pillow's four bytes a pixel, and at most one copy more."""
    path = tmp_path / "large.jpg"
    Image.effect_noise((600, 500), 90).convert("RGB").resize((6000, 5000)).save(path, "JPEG", quality=60)
    assert peak_growth_kb(path) * 1024 < 30e6 * (3 + 4 + 3 + 1)
