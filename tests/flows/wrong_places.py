"""A process that is given secrets where none belongs, and says all it can of what came of it.

Standard input: a JSON list of cases, each with ``environment``, and ``service`` for a paid service's description.
Standard output: the list of codes with which they were refused; "" for one that was not.
"""

import json
import logging
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from datasets import redaction
from datasets.errors import PipelineError
from datasets.known_secrets import remember_environment
from datasets.ledger import open_ledger
from datasets.settings import Settings, read_settings
from expectations.suites import suite
from model_blocks.services import find_facts, make_service


def settled(case: dict[str, Any], folder: Path) -> None:
    """Use what the case says as a run would."""
    settings = read_settings()
    logging.info("the settings are %r and %s", settings, settings)
    if "service" in case:
        path = folder / "service.json"
        path.write_text(case["service"] if isinstance(case["service"], str) else json.dumps(case["service"]))
        settings = Settings(place_service=str(path))
    if settings.place_service:
        logging.info("the service is %r", make_service(find_facts(settings.place_service), lambda _: None))  # type: ignore[arg-type, return-value]
    suite("spend", settings.gates, {})
    open_ledger(settings.ledger, owner_url=settings.ledger_owner_url)


def code_of(case: dict[str, Any], folder: Path) -> str:
    """The code with which a case was refused, everything about it having been written down."""
    os.environ.update(case.get("environment", {}))
    try:
        settled(case, folder)
    except PipelineError as error:
        logging.exception("refused with %r", error)
        traceback.print_exc()
        sys.stderr.write(f"{error.message} {error.facts}\n")
        return error.code
    finally:
        for name in case.get("environment", {}):
            del os.environ[name]
    return ""


def main() -> None:
    folder = Path(sys.argv[1])
    redaction.install()
    remember_environment(os.environ)
    logging.basicConfig(filename=folder / "all.log", level=logging.DEBUG, force=True)
    given = folder / "given"  # the description itself holds the secret; it is taken away again
    given.mkdir()
    codes = [code_of(case, given) for case in json.load(sys.stdin)]
    (given / "service.json").unlink()
    sys.stdout.write(json.dumps(codes))


if __name__ == "__main__":
    main()
