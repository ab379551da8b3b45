"""A command that restyles: pixels become areas of few colours. Needs NumPy and OpenCV, nothing of Stillmotion.

Its declaration, as ``paint.json`` beside it::

    {"kind": "subprocess", "name": "paint", "version": "1", "command": ["python", "./paint.py"]}

    stillmotion video clip.mp4 --recipe restyle --adapter paint.json --prompt "few colours" --style poster --seed 3
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

LEVELS = {"poster": 4, "soft": 8}


def paint(image: Any, levels: int, shift: int) -> Any:
    """Round every value to one of a few; the seed moves them a little."""
    top = np.iinfo(image.dtype).max
    step = top / (levels - 1)
    offset = step * (shift % 16) / 64
    return np.clip(np.rint((image + offset) / step) * step - offset, 0, top).astype(image.dtype)


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("--input", "--prompt", "--style", "--output-dir"):
        parser.add_argument(name, required=True)
    parser.add_argument("--seed", type=int, required=True)
    told = parser.parse_args()
    source, target = Path(told.input), Path(told.output_dir)
    files = sorted(source.glob("*.png")) if source.is_dir() else [source]
    for number, file in enumerate(files):
        image = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(target / f"{number:06d}.png"), paint(image, LEVELS.get(told.style, 6), told.seed))
        print(f"progress: {100 * (number + 1) // len(files)}", flush=True)  # noqa: T201 - what the adapter listens to
    print(f"frames_path: {target}", flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
