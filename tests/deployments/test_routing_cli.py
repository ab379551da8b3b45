"""The options that choose models, from the command line to the run's record and ``stillmotion show``."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from deployments.cli.inspecting import show
from deployments.cli.main import stillmotion
from deployments.cli.options import OPTIONS, read_common
from flows.order import ProductOrder
from flows.product import product
from tests.photographs import save_product

RECIPE = ({"stage": "upscale", "factor": 2}, {"stage": "publish", "format": "png"})


def test_options_are_read() -> None:
    import click

    command = click.Command("x", params=[], callback=lambda **values: None)
    for option in OPTIONS:
        option(command)
    context = command.make_context(
        "x", ["--quality", "economy", "--max-cost", "0.02", "--max-latency", "3.5", "--prefer", "official"]
    )
    common = read_common(context.params)
    assert (common.quality, common.max_cost_usd, common.max_latency_s, common.prefer) == (
        "economy", 0.02, 3.5, "official",
    )  # fmt: skip


@pytest.mark.usefixtures("prefect_api")
def test_show_says_what_was_chosen_and_why(tmp_path: Path) -> None:
    photo = save_product(tmp_path / "cup.png")
    product(ProductOrder(photos=(str(photo),), recipe=RECIPE, out=str(tmp_path / "out")), return_state=True)
    words = CliRunner().invoke(show, [], standalone_mode=False)
    assert "upscale" in words.output
    assert "the only one that can be used" in words.output
    shown = CliRunner().invoke(show, ["--json"], standalone_mode=False)
    (model,) = json.loads(shown.output)["models"]
    assert (model["model"], model["capability"], model["item"]) == ("embedded-upscaler", "upscale", None)
    assert {each["name"] for each in model["decision"]["candidates"]} >= {"embedded-upscaler", "realesr-general-x4v3"}


def test_help_names_the_levels() -> None:
    said = CliRunner().invoke(stillmotion, ["product", "--help"]).output
    assert "economy|balanced|premium" in said
    assert "--max-latency" in said
