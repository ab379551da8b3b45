"""Models and stages of other packages: found by their entry points, run as any other, and an error when broken."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PACKAGE = """
from typing import ClassVar, Literal
import numpy as np
import torch
from pydantic import Field
from model_blocks.facts import ModelFacts
from tasks.own_stage import OwnStageConfig

class NegativeConfig(OwnStageConfig):
    stage: Literal["negative"] = "negative"
    strength: float = Field(default=1.0, ge=0, le=1)

    def work(self, frames):
        top = np.iinfo(frames.dtype).max
        return np.rint(frames * (1 - self.strength) + (top - frames) * self.strength).astype(frames.dtype)

class DoubleConfig(OwnStageConfig):
    stage: Literal["double"] = "double"
    scale: ClassVar[int] = 2
    halo_pixels: ClassVar[int] = 1

    def work(self, frames):
        return frames.repeat(2, axis=1).repeat(2, axis=2)

class Mirror:
    halo = 0
    def __init__(self, scale):
        self.scale = scale
    def upscale(self, images):
        return 1 - images.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)

MIRROR = ModelFacts(
    name="mirror", capability="upscale", architecture="none", factory="tiny_package:Mirror", version=1, embedded=True,
    licence="MIT", conventions="0..1", memory_factor=16.0, halo_pixels=0,
)
"""
POINTS = """
[stillmotion.models]
mirror = tiny_package:MIRROR
gone = no_such_module:FACTS
misnamed = tiny_package:MIRROR

[stillmotion.stages]
negative = tiny_package:NegativeConfig
double = tiny_package:DoubleConfig
raising = tiny_package:nothing_of_that_name
no_stage = tiny_package:Mirror
grade = no_such_module:Grade
"""
RUN = """
import json, sys
from datasets.errors import PipelineError
from datasets.settings import read_settings
from flows.order import ProductOrder
from flows.product import plan_product, run_product
order = ProductOrder.model_validate(json.loads(sys.argv[1]))
try:
    summary = run_product(order, read_settings(storage_root=sys.argv[2]))
    print(json.dumps({"items": summary.to_json()["items"], "stages": summary.to_json()["stages"]}))
except PipelineError as error:
    print(json.dumps({"code": error.code, "message": error.message}))
"""
READ = """
from datasets.errors import PipelineError
from flows.recipes import parse_recipe
stages = ({"stage": "negative", "strength": 3}, {"stage": "raising"}, {"stage": "no_stage"}, {"stage": "nobodys"})
for stage in stages:
    try:
        parse_recipe([{"stage": "negative"}, stage, {"stage": "publish"}])
    except PipelineError as error:
        print(error.code, error.message)
print(type(parse_recipe([{"stage": "grade"}, {"stage": "publish"}]).steps[0].config).__module__)
"""
LOOK = """
from datasets.errors import PipelineError
from model_blocks.registry import find_model, known_models
print([facts.name for facts in known_models("upscale")])
print(find_model("mirror").factory, find_model("mirror", "upscale").name)
for name, capability in (("gone", None), ("misnamed", None), ("mirror", "matte"), ("nobody", None)):
    try:
        find_model(name, capability)
    except PipelineError as error:
        print(error.code, error.message)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    about = folder / "tiny_package-1.2.dist-info"
    about.mkdir(parents=True)
    (folder / "tiny_package.py").write_text(PACKAGE)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-package\nVersion: 1.2\n")
    (about / "entry_points.txt").write_text(POINTS)
    return folder


def program(code: str, package: Path, *arguments: str) -> str:
    import os

    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{package}"}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(package: Path, *stages: dict[str, Any], **more: Any) -> Any:
    folder = package.parent
    values = np.random.default_rng(1).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(values).save(folder / "cup.png")
    order = {"photos": [str(folder / "cup.png")], "recipe": [*stages, {"stage": "publish", "format": "png"}], **more}
    order["out"] = str(folder / "out")
    return json.loads(program(RUN, package, json.dumps(order), str(folder / "store")).splitlines()[-1])


@pytest.mark.usefixtures("prefect_api")
def test_a_recipe_runs_with_a_stage_and_a_model_of_another_package(package: Path) -> None:
    done = run(
        package, {"stage": "negative"}, {"stage": "double"}, {"stage": "upscale", "factor": 2},
        models={"upscale": "mirror"},
    )  # fmt: skip
    (item,) = done["items"]
    assert item["status"] == "delivered", item
    made = np.asarray(Image.open(item["outputs"][0]["path"]))
    source = np.asarray(Image.open(package.parent / "cup.png"))
    np.testing.assert_array_equal(made, source.repeat(4, axis=0).repeat(4, axis=1))  # turned round twice
    assert "negative+double+upscale" in [stage["stage"] for stage in done["stages"]]


def test_what_does_not_hold_is_said_and_a_broken_package_is_no_matter_to_others(package: Path) -> None:
    negative, raising, no_stage, nobodys, house = program(READ, package).splitlines()
    assert negative.startswith("recipe the recipe does not hold at 1.strength: Input should be less than or equal to 1")
    assert raising.startswith("own_broken the package tiny-package 1.2 brings 'raising' (stillmotion.stages: tiny_pack")
    assert no_stage.startswith("own_broken")
    assert "expected a subclass of OwnStageConfig" in no_stage
    assert nobodys.startswith("recipe the recipe does not hold at 1: ")
    assert house == "tasks.grade"  # a name of the house is nobody else's


def test_models_of_other_packages_come_last_and_are_looked_up_by_name(package: Path) -> None:
    names, found, gone, misnamed, capability, nobody = program(LOOK, package).splitlines()
    assert names.endswith("'mirror']")
    assert found == "tiny_package:Mirror mirror"
    assert gone.startswith("own_broken the package tiny-package 1.2 brings 'gone' (stillmotion.models: no_such_module")
    assert misnamed.startswith("own_broken")
    assert capability.startswith("model_unknown")
    assert nobody.startswith("model_unknown unknown model 'nobody'; registered:")
