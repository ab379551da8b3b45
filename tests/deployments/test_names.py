"""The folder ``datasets`` shares its name with a well-known package: whoever has that one is told so."""

import os
import subprocess
import sys
from pathlib import Path

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


def test_transformers_would_find_ours_and_that_is_known() -> None:
    """Libraries that ask whether ``datasets`` is there find this one; none of the dependencies does today."""
    import datasets

    assert Path(datasets.__file__).is_relative_to(ROOT)
