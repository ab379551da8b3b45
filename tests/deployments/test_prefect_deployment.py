"""The deployment file against a real Prefect API: it registers, and its parameters make a form."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.states import Crashed

from datasets.ledger import open_ledger
from datasets.settings import read_settings
from flows.bookkeeping import begin_run, close_crashed
from flows.opening import open_run
from flows.order import ProductOrder
from flows.product import product
from flows.recipes import parse_recipe
from tasks.progress import Silent

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_prefect_deploy_registers_the_product_deployment() -> None:
    with get_client(sync_client=True) as client:
        with contextlib.suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name="stillmotion", type="process"))
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
            cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        deployment = client.read_deployment_by_name("product/product")
    assert deployment.entrypoint == "flows/product.py:product"
    assert ProductOrder.model_validate(deployment.parameters["order"]).recipe == "packshot"


def test_the_parameters_make_a_form_with_descriptions_and_bounds() -> None:
    schema = product.parameters.model_dump()
    order = schema["definitions"]["ProductOrder"]["properties"]
    assert all(field.get("description") for field in order.values())
    assert order["purpose"]["enum"] == ["commercial", "research", "personal"]
    assert schema["definitions"]["RecipeName"]["enum"] == [
        "cutout",
        "packshot",
        "enlarge",
        "thumbnails",
        "complete",
        "hero",
        "restyle",
    ]


class FlowRun:
    def __init__(self, run_id: str) -> None:
        self.id = run_id


def test_a_run_that_crashes_is_closed_in_the_ledger_by_its_hook(tmp_path: Path) -> None:
    order = ProductOrder(photos=("a.png",))
    recipe = parse_recipe("cutout")
    run_id = str(uuid4())
    with open_run(run_id, read_settings(), order, recipe, Silent()) as run:
        begin_run(run, "product", order, recipe, ["a"])
    close_crashed(None, FlowRun(run_id), Crashed(message="the pod went away"))
    close_crashed(None, FlowRun(str(uuid4())), Crashed(message="never began"))
    with open_ledger(read_settings().ledger).session("default") as session:
        record = session.find_run(run_id)
    assert (record.status, record.summary) == ("crashed", {"message": "the pod went away"})
