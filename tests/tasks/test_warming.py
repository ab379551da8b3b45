"""What gates need is loaded beside the work, and a process that ends earlier is neither held up nor brought down."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(code: str) -> "subprocess.CompletedProcess[str]":
    own = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=own, check=False, timeout=120
    )


@pytest.mark.parametrize("seconds", [0, 0.2, 0.8])
def test_a_process_that_ends_meanwhile_does_so_at_once_and_in_silence(seconds: float) -> None:
    done = run(f"""
        import sys, threading, time
        from tasks.warming import warm_up
        begun = time.monotonic()
        warm_up()
        warm_up()
        took = time.monotonic() - begun
        names = [thread.name for thread in threading.enumerate()]
        time.sleep({seconds})
        print(names.count("load-gates"), took < 0.5, "great_expectations.core" in sys.modules and {seconds} == 0)
    """)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["1", "True", "False"], "")


def test_what_cannot_be_loaded_beside_the_work_is_left_to_the_first_gate() -> None:
    done = run("""
        import sys, threading
        from expectations.suites import suite
        from tasks.gate_keeper import GateKeeper
        from tasks.warming import warm_up
        sys.modules["great_expectations"] = None
        warm_up()
        for thread in threading.enumerate():
            if thread.name == "load-gates":
                thread.join()
        del sys.modules["great_expectations"]
        row = {"item": "cup", "short_side": 9, "aspect": 1.0, "luma_mean": 90.0, "luma_std": 9.0, "sharpness": 99.0}
        print(GateKeeper().decide(suite("intake"), row).decision)
    """)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "stop", "")
