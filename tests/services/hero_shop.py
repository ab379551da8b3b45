"""A small shop whose photographs go through ``hero``: pictures, recipe, charging service, and the command itself."""

import colorsys
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.services.paid_adapters import JSON_REPLY, LOOK_UP, facts
from tests.services.paid_process import serve_apart
from tests.services.paid_service import API_KEY, KEY_HEADER, Rules, Service

ROOT = Path(__file__).parents[2]
WIDTH, HEIGHT = 200, 160  # px; small, so that the time goes into the purchases
CREDENTIAL = "paid-key"
DEADLINE_S = 3.0  # of a call; after a kill, "none" is an answer only when that is over
SLACK_S = 2.0  # that a service on a busy machine may need before it begins
GOLDEN = 0.618  # of the circle of hues: neighbours differ much
RECIPE = [
    {"stage": "gate", "gate": "intake"},
    {"stage": "cutout"},
    {"stage": "gate", "gate": "spend", "thresholds": {"large_enough": {"min": 64}}},
    {"stage": "place", "width": 256, "height": 256},
    # the service scales nothing, so what it sends is sharper than a small cutout
    {"stage": "gate", "gate": "delivery", "thresholds": {"detail_kept": None}},
    {"stage": "publish", "format": "jpeg"},
]


@dataclass(frozen=True)
class Shop:
    """Everything that a command needs, in one folder.

    Attributes:
        tenant: Its own: shops may share a Prefect server, which keeps their vaults apart.
        photos: One product each, no two alike.
        rules: What the service promises.
    """

    folder: Path
    tenant: str
    photos: tuple[Path, ...]
    rules: Rules
    service: Service
    environment: Mapping[str, str] = field(repr=False)

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def ledger(self) -> Path:
        return self.store / "ledger.db"

    @property
    def ledger_url(self) -> str:
        """Where the command keeps its ledger: a file of the shop, if it is told nothing else."""
        return self.environment.get("STILLMOTION_LEDGER_URL", f"sqlite:///{self.ledger}")

    @property
    def books(self) -> Path:
        """The service's own, which nobody but the service writes."""
        return self.folder / "service" / "paid_service.db"

    def start(self) -> "subprocess.Popen[bytes]":
        """The command, as a process group of its own. Always the same one."""
        command = ["product", *map(str, self.photos), "--recipe", str(self.folder / "recipe.json")]
        with (self.folder / "document.json").open("wb") as document, (self.folder / "said.txt").open("wb") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "deployments.cli", *command, "--out", str(self.out), "--json", "--workers", "1"],
                env=dict(self.environment),
                cwd=self.folder,
                stdout=document,
                stderr=said,
                start_new_session=True,
            )

    def run(self) -> dict[str, str]:
        """The command to its end: what became of each item."""
        self.check(self.start().wait(timeout=1800))
        document = json.loads((self.folder / "document.json").read_text())
        return {item["item"]: item["status"] for item in document["items"]}

    def check(self, status: int) -> None:
        """A run that was not killed ends as it should: everything is delivered, stopped on purpose, or held."""
        assert status in (0, 3), (self.folder / "said.txt").read_text()[-3000:]


@contextmanager
def open_shop(folder: Path, items: int, rules: Rules, environment: Mapping[str, str] | None = None) -> Iterator[Shop]:
    """A shop with a service in a process of its own, and with the service's key in the vault.

    Args:
        folder: Of the shop alone.
        environment: On top of this process's, as for a Prefect server.
    """
    photos = save_products(folder / "in", items)
    (folder / "recipe.json").write_text(json.dumps(RECIPE))
    tenant = f"shop-{uuid.uuid4().hex[:12]}"
    given = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "STILLMOTION_TENANT": tenant,
        "STILLMOTION_STORAGE_ROOT": str(folder / "store"),
        "STILLMOTION_MASTER_KEY_FILE": str(folder / "master.key"),
        "STILLMOTION_PLACE_SERVICE": str(folder / "service.json"),
        "STILLMOTION_PAID_CALLS": "4",
        **(environment or {}),
    }
    with serve_apart(folder / "service", rules) as service:
        (folder / "service.json").write_text(json.dumps(_described(service.url, rules)))
        command = [sys.executable, "-m", "deployments.cli", "secrets", "set", CREDENTIAL]
        subprocess.run(command, input=API_KEY, text=True, env=given, cwd=folder, check=True, capture_output=True)
        yield Shop(folder, tenant, photos, rules, service, given)


def _described(url: str, rules: Rules) -> dict[str, Any]:
    """The service as users write it down. What it still works on counts as settling."""
    settles_s = rules.settle_s + rules.work_s + SLACK_S
    declaration = facts(url, rules, deadline_s=DEADLINE_S, settle_time_s=settles_s)
    form = {"path": "/v1/images", "body": "json", "key_header": KEY_HEADER, "reply": JSON_REPLY}
    look_up = {"look_up": LOOK_UP} if rules.look_up else {}
    return {"kind": "generic_http", "credential": CREDENTIAL, "declaration": declaration, "form": form | look_up}


def save_products(folder: Path, items: int) -> tuple[Path, ...]:
    """Photographs of so many products."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = tuple(folder / f"item{number:03}.png" for number in range(items))
    for number, path in enumerate(paths):
        Image.fromarray(draw_product(number)).save(path)
    return paths


def draw_product(number: int) -> NDArray[np.uint8]:
    """A striped thing on a light ground (160, 200, 3): another shape, pattern and colour for every number."""
    chance = np.random.default_rng(number)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    image = np.repeat((236 - 10 * y / HEIGHT)[..., None], 3, axis=2)
    across = (x - WIDTH / 2) / (WIDTH * chance.uniform(0.2, 0.32))
    down = (y - HEIGHT / 2) / (HEIGHT * chance.uniform(0.28, 0.38))
    power = chance.uniform(2, 6)  # from an ellipse to a box with round corners
    inside = np.abs(across) ** power + np.abs(down) ** power < 1
    wave = np.sin(down * chance.uniform(4, 14) + across * chance.uniform(-4, 4) + chance.uniform(0, 6))
    hue = number * GOLDEN % 1
    image[inside] = 255 * np.array(colorsys.hsv_to_rgb(hue, 0.85, 0.75))
    second = (hue + chance.uniform(0.2, 0.8)) % 1
    image[inside & (wave > chance.uniform(0, 0.6))] = 255 * np.array(colorsys.hsv_to_rgb(second, 0.6, 0.5))
    noise = chance.normal(0, 1.5, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)
