"""What every official model takes of memory: to be loaded, when it is there, and at work on two sizes of picture.

Each runs in a process of its own. ``fixed`` and ``factor`` are what the registry says: bytes whatever the picture,
and bytes per value of the larger of what goes in and what comes out.
"""

import json
import subprocess
import sys
from pathlib import Path

from tests.model_blocks.driving import official_models, open_model, weights_of, work_for

SMALL, LARGE = (96, 128), (384, 512)
HEADING = (
    f"{'model':<28}{'loading':>9}{'loaded':>9}{'96x128':>9}{'384x512':>10}{'fixed':>9}{'factor':>8}"
    f"{'registry':>17}   MiB, bytes per value"
)


def run(names: tuple[str, ...] = ()) -> list[str]:
    """Print, and return, a line per model."""
    print(HEADING)
    lines = []
    for name in names or official_models():
        facts = _apart(name)
        lines.append(_line(name, facts))
        print(lines[-1], flush=True)
    return lines


def _line(name: str, facts: dict[str, float]) -> str:
    from model_blocks.registry import find_model

    known = find_model(name)
    scale = (known.scale or 1) ** 2
    values = [height * width * 3 * scale for height, width in (SMALL, LARGE)]
    factor = max(0.0, (facts["large"] - facts["small"]) / (values[1] - values[0]))
    fixed = max(facts["loading"], facts["small"] - factor * values[0])
    figures = f"{facts['loading'] / 2**20:>9.0f}{facts['loaded'] / 2**20:>9.0f}{facts['small'] / 2**20:>9.0f}"
    figures += f"{facts['large'] / 2**20:>10.0f}{fixed / 2**20:>9.0f}{factor:>8.0f}"
    return f"{name:<28}{figures}{known.fixed_bytes / 2**20:>9.0f}{known.memory_factor:>8.0f}"


def _apart(name: str) -> dict[str, float]:
    weights = weights_of(name)
    command = [sys.executable, "-m", "tests.benchmarks.bench_model_memory", "--measure", name, str(weights)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(name: str, weights: str) -> dict[str, float]:
    """Bytes above the process with its libraries."""
    import torch

    from model_blocks.registry import find_model
    from model_blocks.torch_libraries import prepare

    torch.set_num_threads(2)
    prepare()
    import cv2  # noqa: F401 - what any worker has
    import spandrel  # noqa: F401
    import transformers.modeling_utils  # noqa: F401

    facts = find_model(name)
    empty = _resident("VmRSS")
    _begin_peak()
    model = open_model(facts, Path(weights))
    loading, loaded = _resident("VmHWM"), _resident("VmRSS")
    peaks = []
    for height, width in (SMALL, LARGE):
        _begin_peak()
        with torch.inference_mode():
            work = work_for(name, model, height, width)
            work()
        peaks.append(_resident("VmHWM"))
    found = {"loading": loading, "loaded": loaded, "small": peaks[0], "large": max(peaks)}
    return {key: value - empty for key, value in found.items()}


def _resident(field: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def _begin_peak() -> None:
    """Forget the highest resident memory so far (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(*sys.argv[2:4])))
    else:
        run(tuple(sys.argv[1:]))
