"""``make bench-parity``: every model against what its authors' own code made of the same weights, a line per model.

``PARITY=DIR`` names another folder of the same layout: ``recipe.py``, ``manifests/``, ``golden/``.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datasets.errors import PipelineError
from tests.benchmarks.__main__ import machine
from tests.model_blocks.parity import (
    Arrays,
    ParityRun,
    checkpoint,
    compared,
    folder,
    golden,
    manifest,
    recipe,
    runs,
    runs_with_saved_states,
)

HEADINGS = f"{'model':<30}{'container':<28}{'keys':>6}{'largest':>10}{'relative':>10}{'of limit':>10}{'s':>7}  result"


@dataclass(frozen=True)
class Line:
    """What a model's outputs were worth.

    Attributes:
        keys: Tensors of the file, all of which the network took or knows as unused.
        largest: Largest difference of a floating-point output, or of an integer one in steps, over all outputs.
        relative: Largest relative error, norm(a-b)/norm(b), over all outputs.
        used: The largest share of a tolerance that an output uses; at most 1 where all pass.
        failed: Words about outputs that miss.
    """

    model: str
    container: str
    keys: int
    largest: float
    relative: float
    used: float
    seconds: float
    failed: tuple[str, ...]

    def __str__(self) -> str:
        result = "pass" if not self.failed else f"FAIL: {'; '.join(self.failed)}"
        return (
            f"{self.model:<30}{self.container:<28}{self.keys:>6}{self.largest:>10.1e}{self.relative:>10.1e}"
            f"{self.used:>10.2f}{self.seconds:>7.1f}  {result}"
        )


def measure(name: str, run: ParityRun) -> Line:
    """Load the authors' container with recipe-made weights, run end to end, compare."""
    known = manifest(name)
    _, expected = golden(name)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            made: Arrays = run.run(checkpoint(name, Path(scratch) / f"{name}.pth"), golden(name)[0])
        except PipelineError as error:
            return Line(run.model, _container(known), len(known["tensors"]), *(float("nan"),) * 4, (error.message,))
    seconds = time.perf_counter() - begun
    there = [output for output in expected if output in made and made[output].shape == expected[output].shape]
    errors = [_errors(made[output], expected[output], known["tolerance"][output]) for output in there]
    largest, relative, used = (max(column) for column in zip(*errors, strict=True)) if errors else (float("nan"),) * 3
    failed = tuple(each.words for each in compared(name, made) if not each.passed)
    return Line(run.model, _container(known), len(known["tensors"]), largest, relative, used, seconds, failed)


def _container(known: Any) -> str:
    container = known["container"]
    parts = [container.get("top_key"), container.get("key_prefix")]
    return "/".join(part for part in parts if part) or "plain"


def _errors(made: np.ndarray[Any, Any], want: np.ndarray[Any, Any], limits: Any) -> tuple[float, float, float]:
    away = np.abs(made.astype(np.float64) - want.astype(np.float64))
    relative = recipe().rel_err(made, want)
    if "max_step" in limits:
        differing = float((away > 0).mean())
        steps = float(away.max())  # one step on a few bytes is rounding
        return steps, relative, differing / max(limits["frac"], 1e-12) if steps <= limits["max_step"] else steps
    judged = float(np.quantile(away, limits["quantile"])) if "quantile" in limits else float(away.max())
    return float(away.max()), relative, max(relative / limits["rel"], judged / limits["abs"])


def run(only: tuple[str, ...] = ()) -> list[Line]:
    """Print, and return, a line per model with reference data."""
    if not (folder() / "manifests").is_dir():
        print(f"no reference data in {folder()}; name a folder with PARITY=DIR")
        return []
    known, saved = runs(), runs_with_saved_states()
    there = sorted(path.stem for path in (folder() / "golden").glob("*.npz"))
    print(f"{len(there)} models in the reference data\n{HEADINGS}")
    lines = []
    for name in there:
        if only and name not in only:
            continue
        if name not in known:
            print(f"{name:<30}no model of the house is held against it: FAIL")
            lines.append(Line(name, "", 0, *(float("nan"),) * 4, ("not run",)))
            continue
        for run_of in (known[name], *([saved[name]] if name in saved else [])):
            lines.append(measure(name, run_of))
            print(lines[-1], flush=True)
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="names of manifests; all of them without")
    print(machine())
    return int(any(line.failed for line in run(tuple(parser.parse_args().only))))


if __name__ == "__main__":
    sys.exit(main())
