"""The command line as its users meet it: exit statuses, one JSON document, sentences instead of tracebacks."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployments.cli.main import entry
from tests.photographs import save_product

ROOT = Path(__file__).parents[2]
RECIPE = [{"stage": "cutout"}, {"stage": "publish", "format": "png"}]


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "small.json"
    path.write_text(json.dumps(RECIPE))
    return str(path)


def stillmotion(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The command in this process: exit status, standard output, standard error."""
    before = sys.argv
    sys.argv = ["stillmotion", *arguments]
    try:
        with pytest.raises(SystemExit) as left:
            entry()
    finally:
        sys.argv = before
    captured = capsys.readouterr()
    return int(str(left.value.code or 0)), captured.out, captured.err


def spawn(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "deployments.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.usefixtures("prefect_api")
def test_json_is_the_only_thing_on_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], recipe: str
) -> None:
    photo = save_product(tmp_path / "cup.png")
    status, out, err = stillmotion(capsys, "product", str(photo), "--recipe", recipe, "--json")
    document = json.loads(out)
    assert status == 0
    assert document["status"] == "delivered"
    assert [output["role"] for output in document["items"][0]["outputs"]] == ["cutout"]
    assert Path(document["items"][0]["outputs"][0]["path"]).is_file()
    assert "100 %" in err
    status, out, _ = stillmotion(capsys, "product", str(photo), "--recipe", recipe, "--json")
    assert all(stage["cached"] for stage in json.loads(out)["stages"])

    status, out, _ = stillmotion(capsys, "runs", "--json")
    runs = json.loads(out)
    assert [run["status"] for run in runs] == ["delivered", "delivered"]
    assert runs[0]["run_id"] == document["run_id"] or runs[1]["run_id"] == document["run_id"]
    status, out, _ = stillmotion(capsys, "show", document["run_id"][:8], "--json")
    shown = json.loads(out)
    assert [stage["stage"] for stage in shown["stages"]] == ["intake", "cutout", "publish"]
    assert shown["items"][0]["outputs"][0]["sha256"] == document["items"][0]["outputs"][0]["sha256"]
    assert stillmotion(capsys, "show")[1].startswith("run ")
    status, out, _ = stillmotion(capsys, "report", document["run_id"], "--out", "again.html")
    assert status == 0
    assert "cup" in Path("again.html").read_text()


@pytest.mark.usefixtures("prefect_api")
def test_one_bad_picture_among_good_ones_is_exit_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], recipe: str
) -> None:
    photo = save_product(tmp_path / "cup.png")
    bad = tmp_path / "page.jpg"
    bad.write_text("<!doctype html><title>log in</title>")
    status, out, err = stillmotion(capsys, "product", str(photo), str(bad), "--recipe", recipe)
    assert status == 1
    assert "cup: delivered" in out
    assert "not an image (HTML)" in out
    assert "[not_an_image]" in out
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Usage"),
        (("product",), "PHOTO"),
        (("product", "a.png", "--recipe", "packshit"), "packshot"),
        (("product", "a.png", "--tenant", "../up"), "TENANT"),
        (("product", "a.png", "--workers", "0"), "--workers"),
        (("product", "a.png", "--models", "segment=nonsense"), "embedded-segmenter"),
        (("product", "a.png", "--models", "official"), "official"),
        (("product", "a.png", "--models", "auto", "--models", "embedded"), "--models"),
        (("product", "a.png", "--weights", "embedded-upscaler=x.pth"), "needs no weights"),
        (("product", "a.png", "--weights", "embedded-upscaler"), "NAME=PATH"),
        (("product", "a.png", "--device", "tpu"), "--device"),
        (("product", "a.png", "--budget", "-1"), "--budget"),
        (("nonsense",), "nonsense"),
    ],
)
@pytest.mark.usefixtures("prefect_api")
def test_bad_usage_is_exit_status_2_and_a_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    save_product(tmp_path / "a.png")
    status, out, err = stillmotion(capsys, *arguments)
    assert (status, words in out + err, "Traceback" in err) == (2, True, False)


def test_bad_usage_with_json_is_a_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = stillmotion(capsys, "product", "a.png", "--tenant", "../up", "--json")
    document = json.loads(out)
    assert status == 2
    assert document["reasons"][0]["code"] == "settings"


def test_an_unknown_run_is_not_found(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = stillmotion(capsys, "show", "nonsense")
    assert status == 1
    assert "[not_found]" in err


def test_the_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = stillmotion(capsys, "models", "list", "--json")
    names = {model["name"] for model in json.loads(out)}
    assert status == 0
    assert names >= {"embedded-segmenter", "embedded-matter", "embedded-upscaler"}
    assert "embedded-segmenter" in stillmotion(capsys, "models", "list")[1]


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_two_commands_at_once_both_deliver_and_compute_each_stage_once(tmp_path: Path) -> None:
    photos = [str(save_product(tmp_path / f"{hue}.png", 300, 200, hue)) for hue in range(3)]
    commands = [spawn("product", *photos, "--recipe", "packshot", "--out", f"out{n}", "--json") for n in (1, 2)]
    documents = []
    for command in commands:
        out, err = command.communicate(timeout=180)
        assert command.returncode == 0, err
        documents.append(json.loads(out))
    digests = [
        {(item["item"], output["sha256"]) for item in document["items"] for output in item["outputs"]}
        for document in documents
    ]
    assert digests[0] == digests[1]
    cached = [[stage["cached"] for stage in document["stages"]] for document in documents]
    assert [one or two for one, two in zip(*cached, strict=True)] == [True] * 18
    assert [one and two for one, two in zip(*cached, strict=True)] == [False] * 18


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_an_interrupt_ends_with_130_and_the_same_command_goes_on(tmp_path: Path) -> None:
    photos = [str(save_product(tmp_path / f"{hue}.png", 900, 700, hue)) for hue in range(3)]
    command = spawn("product", *photos, "--recipe", "packshot")
    assert command.stderr is not None
    while "intake" not in (line := command.stderr.readline()):
        assert line or command.poll() is None
    begun = time.monotonic()
    command.send_signal(signal.SIGINT)
    _, err = command.communicate(timeout=60)
    assert command.returncode == 130
    assert time.monotonic() - begun < 10
    assert "goes on" in err
    assert "Traceback" not in err
    again = spawn("product", *photos, "--recipe", "packshot", "--json")
    out, err = again.communicate(timeout=180)
    assert again.returncode == 0, err
    assert json.loads(out)["stages"][0]["cached"]


@pytest.mark.usefixtures("prefect_api")
def test_weights_that_are_not_there_are_bad_usage(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """By name, and by a recipe that blends."""
    save_product(tmp_path / "a.png")
    (tmp_path / "blend.json").write_text(json.dumps([{"stage": "upscale", "denoise": 0.5}, {"stage": "publish"}]))
    status, _, err = stillmotion(capsys, "product", "a.png", "--models", "upscale=realesrgan-x4plus")
    assert (status, "models pull realesrgan-x4plus" in err) == (2, True)
    status, _, err = stillmotion(capsys, "product", "a.png", "--recipe", "blend.json")
    assert (status, "models pull realesr-general-wdn-x4v3" in err) == (2, True)


def test_missing_weights_end_with_exit_status_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from model_blocks.weight_errors import WeightsDamagedError, WeightsMissingError

    def statuses(error: Exception) -> int:
        def broken(**_: object) -> None:
            raise error

        monkeypatch.setattr("deployments.cli.main.stillmotion", broken)
        return stillmotion(capsys, "product")[0]

    assert statuses(WeightsMissingError("not there")) == 2
    assert statuses(WeightsDamagedError("cut off")) == 1
