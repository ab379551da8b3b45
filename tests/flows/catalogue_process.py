"""A catalogue run in a process of its own that may be killed: reads an order, prints the summary and the peak memory.

python -m tests.flows.catalogue_process ORDER.json
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def start(order: dict[str, Any], place: Path, **environment: str) -> "subprocess.Popen[str]":
    """Begin a run in a session of its own."""
    place.mkdir(parents=True, exist_ok=True)
    file = place / "order.json"
    file.write_text(json.dumps(order), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-m", "tests.flows.catalogue_process", str(file)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def result(running: "subprocess.Popen[str]", timeout_s: float = 900) -> dict[str, Any]:
    """What a run came to, once it is through."""
    out, said = running.communicate(timeout=timeout_s)
    assert running.returncode == 0, said
    document: dict[str, Any] = json.loads(out)
    return document


def main() -> None:
    import resource

    from datasets.settings import read_settings
    from flows.catalogue import CatalogueOrder, run_catalogue

    order = CatalogueOrder.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    summary = run_catalogue(order, read_settings())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**summary.to_json(), "peak_mib": peak}, default=str))  # noqa: T201 - for whoever started it


if __name__ == "__main__":
    main()
