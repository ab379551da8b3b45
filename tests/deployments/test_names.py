"""The folder ``datasets`` shares its name with a well-known package: whoever has that one is told so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_another_package_of_the_same_name_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").write_text("")
    (tmp_path / "deployments").symlink_to(ROOT / "deployments")
    done = subprocess.run(
        [sys.executable, "-c", "import deployments"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "environment of its own" in done.stderr


@pytest.mark.slow
def test_libraries_that_ask_for_the_other_package_find_ours_and_can_be_imported() -> None:
    program = (
        "from model_blocks.torch_libraries import prepare; prepare();"
        "import datasets;"
        "from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoModel;"
        "from transformers.models.depth_anything.modeling_depth_anything import DepthAnythingForDepthEstimation;"
        "from spandrel import ModelLoader;"
        "print(datasets.__file__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(ROOT)
