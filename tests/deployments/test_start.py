"""How commands start and end, with real processes: what they import, what they share, what a killed one leaves."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from deployments import api_server
from tests.photographs import save_product

ROOT = Path(__file__).parents[2]
RECIPE: list[dict[str, Any]] = [{"stage": "cutout"}, {"stage": "publish", "format": "png"}]
STAGES = 3  # intake and those of the recipe
GATED = [{"stage": "gate", "gate": "intake", "thresholds": {"large_enough": {"min": 8}}}, *RECIPE]
GATES = {"great_expectations", "polars", "pandas"}
HEAVY = {"torch", "kornia", "scipy", "zarr", "dask", "distributed", "alembic", "prefect.server", *GATES}

RUN = """
    import sys
    from deployments.cli.main import entry
    try:
        entry()
    finally:
        print(*sys.modules, file=sys.stderr)
"""
RUN_WITH_AN_IMPATIENT_SERVER = """
    import functools
    from deployments import api_server
    from deployments.cli import main, producing
    producing.attach_or_start = functools.partial(api_server.attach_or_start, idle_s=3)
    main.entry()
"""


def command(
    tmp_path: Path, photo: Path, *, code: str = RUN, stages: Any = RECIPE, **environment: str
) -> "subprocess.Popen[str]":
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(stages))
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), "product", str(photo), "--recipe", str(recipe), "--json",
         "--out", str(tmp_path / "out" / photo.stem)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def finished(process: "subprocess.Popen[str]") -> tuple[dict[str, Any], str]:
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return json.loads(out), err


def recorded(home: Path, query: str) -> list[tuple[Any, ...]]:
    """Rows of the Prefect server's own database."""
    connection = sqlite3.connect(f"file:{home / 'prefect.db'}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def states_of(home: Path, flow_run_id: str) -> tuple[list[str], Counter[str]]:
    """The state of a flow run, and how many of its task runs are in which state."""
    runs = recorded(home, f"SELECT state_name FROM flow_run WHERE id = '{flow_run_id}'")
    tasks = recorded(home, f"SELECT state_name FROM task_run WHERE flow_run_id = '{flow_run_id}'")
    return [str(name) for (name,) in runs], Counter(str(name) for (name,) in tasks)


def wait_for_states(home: Path, flow_run_id: str, flow_run: str, **task_runs: int) -> None:
    """What reached the server is written down a moment later."""
    expected = ([flow_run], Counter(task_runs))
    deadline = time.monotonic() + 15
    while (seen := states_of(home, flow_run_id)) != expected:
        assert time.monotonic() < deadline, seen
        time.sleep(0.02)


def servers(home: Path) -> list[int]:
    folder = str(home / api_server.FOLDER)
    return [
        process.pid
        for process in psutil.process_iter(["cmdline", "status"])
        if folder in (process.info["cmdline"] or []) and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def test_reading_the_command_line_imports_nothing_heavy() -> None:
    code = "import sys, deployments.cli.main; print(*sys.modules)"
    own = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=own)
    loaded = done.stdout.split()
    assert not {"pydantic", "prefect", "sqlalchemy", "numpy", *HEAVY} & set(loaded)


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_a_cached_run_imports_no_library_of_the_stages_it_skips(tmp_path: Path) -> None:
    photo = save_product(tmp_path / "cup.png")
    _, first = finished(command(tmp_path, photo))
    document, second = finished(command(tmp_path, photo))
    assert [stage["cached"] for stage in document["stages"]] == [True] * STAGES
    assert {"torch", "scipy", "zarr"} <= set(first.split())  # or the names below would prove nothing
    assert not GATES & set(first.split())
    assert not HEAVY & set(second.split())
    home = Path(os.environ["PREFECT_HOME"])
    wait_for_states(home, document["run_id"], "Completed", Cached=STAGES)


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_a_run_whose_gates_have_decided_before_does_not_load_what_they_need(tmp_path: Path) -> None:
    photo = save_product(tmp_path / "cup.png")
    _, first = finished(command(tmp_path, photo, stages=GATED))
    document, second = finished(command(tmp_path, photo, stages=GATED))
    assert {stage["cached"] for stage in document["stages"]} == {True}
    assert set(first.split()) >= GATES
    assert not HEAVY & set(second.split())
    assert not [line for line in first.splitlines()[:-1] if "great_expectations" in line]


@pytest.mark.usefixtures("prefect_api")
def test_what_a_killed_command_leaves_open_the_next_one_closes(tmp_path: Path) -> None:
    home = Path(os.environ["PREFECT_HOME"])
    killed = command(tmp_path, save_product(tmp_path / "killed.png", 600, 400))
    assert killed.stderr is not None
    while "intake" not in (line := killed.stderr.readline()):
        assert line or killed.poll() is None
    with sqlite3.connect(tmp_path / "store" / "ledger.db") as ledger:
        ((run_id,),) = ledger.execute("SELECT run_id FROM runs").fetchall()
    wait_for_states(home, run_id, "Running", Completed=1, Running=1)
    assert killed.poll() is None
    killed.send_signal(signal.SIGKILL)
    killed.communicate()

    document, _ = finished(command(tmp_path, save_product(tmp_path / "next.png")))
    with sqlite3.connect(tmp_path / "store" / "ledger.db") as ledger:
        assert ledger.execute(f"SELECT status FROM runs WHERE run_id = '{run_id}'").fetchall() == [("crashed",)]
    wait_for_states(home, run_id, "Crashed", Completed=1, Crashed=1)
    wait_for_states(home, document["run_id"], "Completed", Completed=STAGES)


@pytest.mark.slow
def test_four_commands_at_once_share_a_server_that_ends_although_one_was_killed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    own = {"PREFECT_HOME": str(home), "PREFECT_API_URL": "", "PREFECT_API_AUTH_STRING": ""}
    photos = [save_product(tmp_path / f"{hue}.png", hue=hue) for hue in range(4)]
    commands = [command(tmp_path, photo, code=RUN_WITH_AN_IMPATIENT_SERVER, **own) for photo in photos]
    documents = [finished(process)[0] for process in commands]
    assert len(servers(home)) == 1
    for document in documents:
        assert document["status"] == "delivered"
        wait_for_states(home, document["run_id"], "Completed", Completed=STAGES)
    killed = command(
        tmp_path, save_product(tmp_path / "killed.png", 600, 400), code=RUN_WITH_AN_IMPATIENT_SERVER, **own
    )
    assert killed.stderr is not None
    killed.stderr.readline()
    killed.kill()
    killed.communicate()
    deadline = time.monotonic() + 30
    while servers(home):
        assert time.monotonic() < deadline
        time.sleep(0.1)
