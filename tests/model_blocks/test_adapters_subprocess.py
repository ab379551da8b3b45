"""Commands as adapters, with real processes: what they are given, what is believed, and that nothing outlives them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from datasets.errors import SettingsError
from model_blocks.adapters import launcher
from model_blocks.adapters.finding import declare_adapter
from model_blocks.adapters.frames_adapter import FramesRequest
from model_blocks.adapters.frames_errors import (
    AdapterError,
    AdapterExitError,
    AdapterFloodError,
    AdapterMemoryError,
    AdapterOutputError,
    AdapterProcessesError,
    AdapterTimeoutError,
)
from model_blocks.adapters.subprocess_adapter import SubprocessDeclaration
from tests.flows.commands import ROOT
from tests.model_blocks.adapter_calls import command, left_of, noise

REQUEST = FramesRequest("a prompt; with 'signs' $HOME", "poster", 7)
SPARE_S = 2.0


@pytest.fixture(params=["apart", "swept"])
def isolation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """With namespaces, and as on a system that allows none."""
    if request.param == "swept":
        source = Path(launcher.__file__).read_text()
        assert "if ctypes.CDLL(None, use_errno=True).unshare(flags) == 0:" in source
        path = tmp_path / "launcher.py"
        path.write_text(source.replace("if ctypes.CDLL(None, use_errno=True).unshare(flags) == 0:", "if False:"))
        monkeypatch.setattr(launcher, "__file__", str(path))
    return str(request.param)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_frames_come_back_bit_by_bit(tmp_path: Path, dtype: type) -> None:
    adapter = command(tmp_path, "give(); print('progress: 40'); print('progress: 100')")
    frames, heard = noise(dtype=dtype), list[int]()
    made = adapter.restyle(frames, REQUEST, heard.append)
    np.testing.assert_array_equal(made, frames)
    assert made.dtype == np.dtype(dtype)
    assert heard == [40, 100]


def test_the_command_is_told_what_was_asked_for_and_sees_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    said = tmp_path / "said"
    adapter = command(
        tmp_path,
        f"""
        give()
        said = [told.prompt, told.style, told.seed, str(source.is_dir()), str("AWS_SECRET_ACCESS_KEY" in os.environ)]
        said += [str(pathlib.Path.cwd() == source.parent), str(pathlib.Path(os.environ["TMPDIR"]).is_dir())]
        said += [os.getcwd()]
        pathlib.Path({str(said)!r}).write_text("\\n".join(said))
        """,
    )
    adapter.restyle(noise(), REQUEST)
    *words, folder = said.read_text().splitlines()
    assert words == ["a prompt; with 'signs' $HOME", "poster", "7", "True", "False", "True", "True"]
    assert not Path(folder).exists()


def test_a_photograph_is_given_as_a_file(tmp_path: Path) -> None:
    adapter = command(tmp_path, "assert source.is_file(); give(); print(f'frames_path: {target}')")
    frames = noise(1)
    np.testing.assert_array_equal(adapter.restyle(frames, FramesRequest(still=True)), frames)


FAILURES: dict[str, tuple[str, type[AdapterError], str, dict[str, object]]] = {
    "hang": ("time.sleep(60)", AdapterTimeoutError, "not done after 1 s", {"deadline_s": 1}),
    "deaf": (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.close(1); os.close(2); time.sleep(60)",
        AdapterTimeoutError,
        "not done after 1 s",
        {"deadline_s": 1},
    ),
    "children in other sessions": (
        """
        for _ in range(3):
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    time.sleep(60)
                os._exit(0)
        time.sleep(60)
        """,
        AdapterTimeoutError,
        "not done after 1 s",
        {"deadline_s": 1},
    ),
    "crash": (
        "print('progress: 60', flush=True); sys.stderr.write('no such style'); sys.stderr.flush(); os.abort()",
        AdapterExitError,
        "signal 6; it said last: no such style (at 60 %)",
        {},
    ),
    "status": ("give(); sys.exit(3)", AdapterExitError, "status 3", {}),
    "flood": ("\nwhile True: print('x' * 100_000)", AdapterFloodError, "more than 1 MiB", {"output_mb": 1}),
    "silent line": ("\nwhile True: sys.stderr.write('y' * 100_000)", AdapterFloodError, "1 MiB", {"output_mb": 1}),
    "memory": (
        "held = bytearray(300 << 20); time.sleep(60)",
        AdapterMemoryError,
        "may use 100 MiB",
        {"memory_mb": 100},
    ),
    "disk": (
        "\nfor n in range(8): (target / f'{n}.bin').write_bytes(bytes(1 << 20))\ntime.sleep(60)",
        AdapterFloodError,
        "to its folder",
        {"disk_mb": 4},
    ),
    "one file": ("(target / 'big').write_bytes(bytes(1 << 23))", AdapterError, "", {"disk_mb": 4}),
    "processor": ("\nwhile True: pass", AdapterTimeoutError, "1 s of processor time", {"cpu_s": 1}),
    "missing": ("give(2)", AdapterOutputError, "expected 3 frames, and the adapter left 2", {}),
    "none": ("", AdapterOutputError, "the adapter left 0", {}),
    "too many": ("give(); shutil.copy(files[0], target / '000003.png')", AdapterOutputError, "left 4", {}),
    "a gap": ("give(); (target / '000001.png').rename(target / '000003.png')", AdapterOutputError, "missing", {}),
    "elsewhere": ("print('frames_path: /etc')", AdapterOutputError, "no folder below", {}),
    "outside": ("print('frames_path: ..')", AdapterOutputError, "no folder below", {}),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures_are_clear_and_leave_nothing(tmp_path: Path, isolation: str, name: str) -> None:
    body, kind, words, limits = FAILURES[name]
    adapter = command(tmp_path, body, **limits)
    begun = time.monotonic()
    with pytest.raises(kind) as caught:
        adapter.restyle(noise(), REQUEST)
    assert time.monotonic() - begun < adapter.declaration.deadline_s + SPARE_S
    assert words in caught.value.message
    assert left_of(adapter) == []


def test_a_fork_bomb_is_bounded(tmp_path: Path, isolation: str) -> None:
    """It bounds itself, too, should the watch fail: at 7 generations of doubling."""
    body = """
    os.nice(19)
    for _ in range(7):
        time.sleep(0.1)
        if os.fork() == 0:
            os.setsid()
    time.sleep(30)
    """
    adapter = command(tmp_path, body, max_processes=20, deadline_s=10)
    begun = time.monotonic()
    with pytest.raises(AdapterProcessesError, match="more than 20 processes"):
        adapter.restyle(noise(), REQUEST)
    assert time.monotonic() - begun < 10 + SPARE_S
    assert left_of(adapter) == []


def test_what_a_command_leaves_running_ends_with_it(tmp_path: Path, isolation: str) -> None:
    body = """
    give()
    if os.fork() == 0:
        os.setsid(); os.close(1); os.close(2); time.sleep(60)
    """
    adapter = command(tmp_path, body)
    assert len(adapter.restyle(noise(), REQUEST)) == 3
    assert left_of(adapter) == []


def test_a_command_ends_with_a_killed_caller_and_its_folder_goes(tmp_path: Path, isolation: str) -> None:
    adapter = command(tmp_path, f"pathlib.Path({str(tmp_path / 'at')!r}).write_text(os.getcwd()); time.sleep(60)")
    program = (
        "import sys, pickle; from model_blocks.adapters import launcher\n"
        f"launcher.__file__ = {launcher.__file__!r}\n"
        "from tests.model_blocks.adapter_calls import noise\n"
        "from model_blocks.adapters.frames_adapter import FramesRequest\n"
        "pickle.load(sys.stdin.buffer).restyle(noise(), FramesRequest())"
    )
    import pickle

    calling = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert calling.stdin is not None
    calling.stdin.write(pickle.dumps(adapter))
    calling.stdin.close()
    _until(lambda: (tmp_path / "at").exists() and (tmp_path / "at").read_text() != "")
    os.kill(calling.pid, signal.SIGKILL)
    calling.wait()
    _until(lambda: left_of(adapter) == [] and not Path((tmp_path / "at").read_text()).exists())


def test_no_network_is_reached_unless_it_is_declared(tmp_path: Path) -> None:
    body = """
    import socket
    server = socket.create_server(("127.0.0.1", 0)) if told.style == "own" else None
    port = server.getsockname()[1] if server else int(told.prompt)
    socket.create_connection(("127.0.0.1", port), timeout=2)
    give()
    """
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        request = FramesRequest(str(server.getsockname()[1]))
        assert len(command(tmp_path, body, network=True).restyle(noise(), request)) == 3
        with pytest.raises(AdapterExitError, match=r"Network is unreachable|Connection refused"):
            command(tmp_path, body).restyle(noise(), request)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("give(); (target / '000001.png').unlink(); (target / '000001.png').symlink_to('/etc/passwd')", "link"),
        ("give(); (target / '000001.png').unlink(); os.mkfifo(target / '000001.png')", "no file"),
        ("target.rmdir(); target.symlink_to('/etc')", "no folder below"),
        ("give(); (target / '000001.png').write_bytes(b'GIF89a' * 20)", "no PNG"),
        ("give(); p = target / '000001.png'; p.write_bytes(p.read_bytes()[:-40])", "damaged"),
        (
            """
            give()
            path = target / '000001.png'
            data = bytearray(path.read_bytes())
            data[16:20] = bytes([127, 255, 255, 255])
            path.write_bytes(data)
            """,
            "megapixels",
        ),
    ],
)
def test_what_is_no_frame_is_refused(tmp_path: Path, body: str, words: str) -> None:
    with pytest.raises(AdapterOutputError, match=words):
        command(tmp_path, body).restyle(noise(), REQUEST)


def test_frames_of_two_sizes_are_refused(tmp_path: Path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "other.png"), noise(1, 9, 9)[0])
    adapter = command(tmp_path, f"give(); shutil.copy({str(tmp_path / 'other.png')!r}, target / '000001.png')")
    with pytest.raises(AdapterOutputError, match="9×9 and 16×12"):
        adapter.restyle(noise(), REQUEST)


def test_a_command_that_is_not_there() -> None:
    facts = {"kind": "subprocess", "name": "a", "version": "1", "command": ["no-such-program-here"]}
    from model_blocks.adapters.finding import make_adapter

    adapter = make_adapter(declare_adapter(facts))
    with pytest.raises(AdapterExitError, match="No such file"):
        adapter.restyle(noise(), REQUEST)
    with pytest.raises(AdapterExitError, match="not there"):
        adapter.ping()


def test_the_identity_is_what_a_script_says_and_not_where_it_lies(tmp_path: Path) -> None:
    def identity(name: str, text: str, **more: object) -> object:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "a.py").write_text(text)
        command = ("python", str(tmp_path / name / "a.py"))
        return SubprocessDeclaration.model_validate({"name": "a", "version": "1", "command": command, **more}).identity

    same = identity("here", "print(1)")
    assert identity("there", "print(1)", memory_mb=99, deadline_s=4) == same
    assert identity("there", "print(2)") != same
    assert identity("there", "print(1)", frames_per_call=4) != same


@pytest.mark.parametrize("name", ["MY_API_KEY", "STILLMOTION_MASTER_KEY_FILE", "HF_TOKEN"])
def test_secrets_are_not_handed_on(name: str) -> None:
    facts = {"kind": "subprocess", "name": "a", "version": "1", "command": ["a"], "pass_environment": [name]}
    with pytest.raises(SettingsError, match="may hold a secret"):
        declare_adapter(facts)


def _until(holds: "object") -> None:
    assert callable(holds)
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
