"""Parts of ``stillmotion serve`` with small real processes: they end with their parent, come back, and give up."""

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from deployments import serve_parts
from deployments.serve_parts import Part, bound_log

Make = Callable[..., Part]

OBEYS = "import time; time.sleep(60)"
STUBBORN = """
    import signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, lambda *_: None)
    print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid, flush=True)
    time.sleep(60)
"""
WATCHES_PARENT = """
    from deployments.serve_child import end_with_parent
    end_with_parent()
    print("here", flush=True)
    import time; time.sleep(60)
"""


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made = list[Part]()

    def part(code: str, *, end_s: float = 5.0) -> Part:
        (tmp_path / "the_part.py").write_text(textwrap.dedent(code))
        path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
        environment = {**os.environ, "PYTHONPATH": path}
        made.append(Part("part", "the_part", [], environment, tmp_path / "log", lambda: True, end_s=end_s))
        return made[-1]

    yield part
    for one in made:
        one.kill()


def _eventually(look: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not look():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def test_a_part_ends_when_it_is_told_to(make: Make) -> None:
    part = make(OBEYS)
    part.start()
    assert part.status is None
    assert part.end()
    assert part.status == -15


def test_one_that_does_not_end_is_killed_with_its_children(make: Make) -> None:
    part = make(STUBBORN, end_s=0.3)
    part.start()
    _eventually(lambda: part.log.read_text().strip())
    child = int(part.log.read_text())
    assert not part.end()
    _eventually(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)


def test_a_part_ends_with_its_parent_however_that_went(make: Make, tmp_path: Path) -> None:
    make(WATCHES_PARENT)
    code = f"""
        import os
        from pathlib import Path
        from deployments.serve_parts import Part
        part = Part("part", "the_part", [], dict(os.environ), Path({str(tmp_path / "log")!r}), lambda: True)
        part.start()
        while "here" not in part.log.read_text(): pass
        print(part.process.pid, flush=True)
        os.kill(os.getpid(), 9)
    """
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    parent = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert parent.returncode == -9
    child = int(parent.stdout)
    _eventually(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)


def test_pauses_grow_while_it_dies_at_once_and_then_it_is_given_up(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    part = make("raise SystemExit(7)")
    pauses = list[float]()
    while not part.is_hopeless:
        part.start()
        _eventually(lambda: part.status is not None)
        assert part.status == 7
        pauses.append(part.note_death())
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert not part.is_due


def test_one_that_had_lived_is_started_again_at_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_parts, "QUICK_S", 0.0)
    part = make(OBEYS)
    part.start()
    part.kill()
    assert part.note_death() == 0.0
    assert part.is_due


def test_a_log_that_grew_too_long_keeps_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_parts, "LOG_LIMIT_BYTES", 100)
    monkeypatch.setattr(serve_parts, "LOG_KEPT_BYTES", 6)
    log = tmp_path / "log"
    log.write_text("x" * 100)
    bound_log(log)
    assert log.stat().st_size == 100
    log.write_text("x" * 100 + "\nlast\n")
    bound_log(log)
    assert log.read_text() == "\nlast\n"
