"""Every model by its name through a whole command, on real pictures and frames, with weights by the recipe.

The weights are random, so what is made means nothing; that it is made, in the right number and within memory, does.
"""

import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from model_blocks.registry import find_model
from tests.flows.commands import product_command, video_command
from tests.flows.test_clip_memory import Watch
from tests.model_blocks.driving import official_models, weights_of
from tests.shared_data import fixture

pytestmark = [pytest.mark.usefixtures("prefect_api"), pytest.mark.slow]

BASE_BYTES = 900 << 20  # of a command with the libraries and nothing to do
ROOM_BYTES = 100 << 20  # for what is not the model: a small picture, its encoders
RATE = 25  # frames per second
CAPABILITY = {name: find_model(name).capability for name in official_models()}
ENDS = {
    "product": [{"stage": "publish", "format": "png"}],
    "video": [{"stage": "encode", "codec": "ffv1", "container": "mkv"}],
}
BOX = {"box": [40, 30, 120, 90]}
PHOTOS: dict[str, list[dict[str, Any]]] = {
    "segment": [{"stage": "cutout"}],
    "matte": [{"stage": "cutout"}],
    "inpaint": [{"stage": "inpaint", **BOX}],
    "upscale": [{"stage": "upscale", "factor": 2}],
    "upscale_blend": [{"stage": "upscale", "factor": 2, "denoise": 0.5}],
    "restore_faces": [{"stage": "faces"}],
    "detect_faces": [{"stage": "faces"}],
}
CLIPS: dict[str, list[dict[str, Any]]] = {
    "segment": [{"stage": "propagate"}],
    "propagate": [{"stage": "propagate", **BOX}, {"stage": "matte"}],
    "matte": [{"stage": "matte"}],
    "inpaint": [{"stage": "propagate", **BOX}, {"stage": "inpaint"}],
    "upscale": [{"stage": "upscale", "factor": 2}],
    "upscale_blend": [{"stage": "upscale", "factor": 2, "denoise": 0.5}],
    "interpolate": [{"stage": "interpolate", "factor": 2}],
    "restore_faces": [{"stage": "faces"}],
    "detect_faces": [{"stage": "faces"}],
}
PARTNERS = {"restore_faces": ("yunet",), "detect_faces": ("gfpgan-1.4",), "upscale_blend": ("realesr-general-x4v3",)}


def models_for(name: str) -> list[str]:
    """Options that choose a model, and those without which its stage cannot be."""
    chosen = [name, *PARTNERS.get(CAPABILITY[name], ())]
    options = [option for each in chosen for option in ("--models", f"{CAPABILITY[each]}={each}")]
    return options + [option for each in chosen for option in ("--weights", f"{each}={weights_of(each)}")]


def source_of(name: str) -> Path:
    return fixture("images/astronaut.png" if "faces" in CAPABILITY[name] else "images/coffee.png")


def width_of(name: str) -> int:
    return 96 if name.startswith("realesrgan-") else 240  # those take many seconds per megapixel


def photograph(name: str, path: Path) -> Path:
    with Image.open(source_of(name)) as picture:
        small = picture.convert("RGB")
        small.thumbnail((width_of(name), width_of(name)))
        small.save(path)
    return path


def count_of(name: str) -> int:
    """Frames of its clip; fewer for models that take many seconds for one."""
    slow = name.startswith(("sam2.1-", "realesrgan-")) or "faces" in CAPABILITY[name]
    return 2 if slow else 6


def clip(name: str, path: Path) -> Path:
    """A camera that passes over the photograph."""
    with Image.open(photograph(name, path.with_suffix(".png"))) as picture:
        pixels = np.asarray(picture)
    height, width = pixels.shape[0] // 2 * 2, (pixels.shape[1] - 2 * count_of(name)) // 2 * 2
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for number in range(count_of(name)):
            view = np.ascontiguousarray(pixels[:height, 2 * number : 2 * number + width])
            frame = av.VideoFrame.from_ndarray(view, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def recipe(stages: list[dict[str, Any]], name: str, kind: str, tmp_path: Path) -> Path:
    path = tmp_path / "recipe.json"
    made = [dict(stage) for stage in stages]
    if kind == "product" and find_model(name).needs_background:
        made[0]["background"] = str(photograph(name, tmp_path / "background.png"))
    path.write_text(json.dumps([*made, *ENDS[kind]]))
    return path


def run(kind: str, name: str, tmp_path: Path, source: Path, stages: list[dict[str, Any]]) -> tuple[dict[str, Any], int]:
    """The item of a command's document, and the most memory it took."""
    begin = product_command if kind == "product" else video_command
    running = begin(
        [source], tmp_path / "out", "--recipe", str(recipe(stages, name, kind, tmp_path)), "--json",
        "--purpose", "research", *models_for(name),
        environment={"STILLMOTION_MEMORY_LIMIT_MB": "12000"},
    )  # fmt: skip
    watch = Watch(running.pid, tmp_path / "store")
    out, said = running.communicate(timeout=600)
    watch.stop()
    document = json.loads(out)
    assert running.returncode == 0, (document, said)
    assert any(name in (stage["model"] or "") for stage in document["stages"]), document["stages"]
    announced = [float(each.replace(",", "")) * 2**20 for each in re.findall(r"([\d,]+) MiB", said)[:1]]
    (item,) = document["items"]
    assert item["status"] == "delivered"
    if kind == "video":
        (plan,) = announced
        assert watch.memory <= plan, (watch.memory, plan)
    return item, watch.memory


@pytest.mark.parametrize("name", [name for name in official_models() if CAPABILITY[name] in PHOTOS])
def test_a_photograph_goes_through(name: str, tmp_path: Path) -> None:
    source = photograph(name, tmp_path / "photo.png")
    item, memory = run("product", name, tmp_path, source, PHOTOS[CAPABILITY[name]])
    with Image.open(source) as before, Image.open(item["outputs"][0]["path"]) as after:
        times = 2 if "upscale" in CAPABILITY[name] else 1
        assert after.size == (before.width * times, before.height * times)
        values = before.width * before.height * 3 * (find_model(name).scale or 1) ** 2
    partners = sum(find_model(each).working_bytes(values) for each in PARTNERS.get(CAPABILITY[name], ()))
    assert memory <= BASE_BYTES + ROOM_BYTES + find_model(name).working_bytes(values) + partners


@pytest.mark.parametrize("name", [name for name in official_models() if CAPABILITY[name] in CLIPS])
def test_a_clip_goes_through(name: str, tmp_path: Path) -> None:
    source = clip(name, tmp_path / "clip.mp4")
    item, _ = run("video", name, tmp_path, source, CLIPS[CAPABILITY[name]])
    (made,) = [output["path"] for output in item["outputs"] if output["role"] == "clip"]
    with av.open(str(source)) as before, av.open(made) as after:
        counts = [sum(1 for _ in container.decode(video=0)) for container in (before, after)]
    count = count_of(name)
    assert counts == [count, count * (2 if CAPABILITY[name] == "interpolate" else 1)]
