"""Secrets in every place where one can stand, real commands that go well and badly, and the search for them after."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import pytest

from datasets.object_store import open_filesystem, s3_options
from tests.canaries import Flock, found_in
from tests.conftest import HOME
from tests.datasets.vaults import new_tenant, server_environment
from tests.flows.house import House
from tests.photographs import save_product
from tests.s3_server import S3Server
from tests.services.gossip import serve_gossip
from tests.services.paid_adapters import JSON_REPLY, LOOK_UP, facts
from tests.services.paid_process import serve_apart
from tests.services.paid_service import KEY_HEADER, Rules, Service

RULES = Rules(keys=True, look_up=True)
NOBODY = "127.0.0.1:9"  # the port of a service that is not there
BROKEN = """
from model_blocks.adapters import calling
def broken(request, credential, secret, **more):
    raise LookupError(f"no route for {credential.on_the_wire(secret)!r}")
calling.exchange = broken
from deployments.cli.main import entry
entry()
"""
RUN_WRONG_PLACES = "from tests.flows.wrong_places import main; main()"
BROKEN_FLOW = """
import flows.working
from datasets.settings import read_settings
def broken(*_):
    raise LookupError(f"cannot count {read_settings().lineage_url} {read_settings()!r}")
flows.working.money_of_run = broken
from deployments.cli.main import entry
entry()
"""
SAVE_BLOCK = """
import json, os, sys
from pathlib import Path
from deployments.api_server import attach_or_start, environment, wait_until_ready
server = attach_or_start(Path(os.environ["PREFECT_HOME"]))
wait_until_ready(server)
os.environ.update(environment(server))
from model_blocks.blocks import ObjectStore
ObjectStore(**json.loads(sys.stdin.read())).save("bucket")
"""
FOR_GOOD = ("echo", "bad_request", "not_an_image", "withheld", "garbage", "redirect")
PASSING = ("error_before", "reset_after", "too_many")
LOUD = {
    "PREFECT_LOGGING_LEVEL": "DEBUG",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "stillmotion,httpx,httpcore,botocore",
    "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.1",
}


def program(code: str) -> Sequence[str]:
    return (sys.executable, "-c", code)


@pytest.fixture
def flock() -> Flock:
    return Flock()


@pytest.fixture
def house(tmp_path: Path, flock: Flock) -> Iterator[House]:
    made = House(tmp_path / "inside", tmp_path / "given")
    made.environment = {"STILLMOTION_MASTER_KEY": flock.new_master_key(), **LOUD}
    yield made
    made.close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with serve_apart(tmp_path / "books", RULES) as serving:
        yield serving


def described(service: Service, *, name: str = "paid-test", deadline_s: float = 30.0) -> dict[str, object]:
    """The service as an operator writes it down."""
    form = {"path": "/v1/images", "body": "json", "key_header": KEY_HEADER, "reply": JSON_REPLY, "look_up": LOOK_UP}
    declaration = facts(service.url, RULES, name=name, deadline_s=deadline_s)
    return {"kind": "generic_http", "credential": "paid-key", "form": form, "declaration": declaration}


def move_in(house: House, service: Service, *keys: str) -> None:
    """The house buys from the service; the last of the keys is the current one."""
    service.accept(keys[-1])
    house.environment["STILLMOTION_PLACE_SERVICE"] = house.write("service.json", described(service))
    assert house.run("secrets", "set", "paid-key", stdin=keys[0]).returncode == 0
    for key in keys[1:]:
        assert house.run("secrets", "rotate", "paid-key", stdin=key).returncode == 0


def order(house: House, variation: int) -> tuple[str, ...]:
    """A command with a paid stage; each variation is bought anew."""
    photo = house.given / "cup.png"
    stages = [
        {"stage": "cutout"},
        {"stage": "gate", "gate": "spend"},
        {"stage": "place", "width": 128, "height": 128, "variation": variation},
        {"stage": "publish", "format": "png"},
    ]
    photo = photo if photo.exists() else save_product(photo, 320, 280)
    recipe = house.write(f"recipe-{variation}.json", stages)
    return ("product", str(photo), "--recipe", recipe, "--out", str(house.out))


def buy(house: House, variation: int, **more: str) -> str:
    """How the only item of a run ended, or the code of what refused the run."""
    found = house.document(*order(house, variation), more=more)
    return str(found["items"][0]["status"] if found["items"] else found["reasons"][0]["code"])


def read_everything(house: House) -> None:
    """What can be read of the runs afterwards, by the commands for that."""
    for command in (
        ("runs", "--json"),
        ("show", "latest", "--json"),
        ("show", "latest"),
        ("report", "latest", "--out", str(house.out / "later.html")),
        ("secrets", "list"),
        ("secrets", "audit", "--json"),
        *(("lineage", str(path), "--json") for path in sorted(house.out.glob("*.png"))[:1]),
    ):
        house.run(*command)


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_a_service_that_repeats_its_key_in_every_spelling(house: House, flock: Flock, service: Service) -> None:
    """The small form, on the server of all tests: one key, the worst of replies, an unexpected error."""
    house.environment |= server_environment() | {"STILLMOTION_TENANT": new_tenant()}
    move_in(house, service, flock.new("paid key"))
    service.order("error_before", "echo")
    assert buy(house, 1) == "failed"
    assert service.totals["faults"] == ["error_before", "echo"]
    assert house.run(*order(house, 2), program=program(BROKEN)).returncode == 1
    assert found_in([house.inside, HOME / "prefect"], flock.needles) == []


def test_secrets_in_wrong_places_are_refused_and_not_repeated(house: House, flock: Flock) -> None:
    wrong_places(house, flock)
    assert found_in([house.inside], flock.needles) == []


@pytest.mark.slow
def test_forty_canaries_are_found_nowhere(
    house: House, flock: Flock, service: Service, s3: S3Server, tmp_path: Path
) -> None:
    with serve_gossip() as gossip:
        house.environment |= environment_of(flock, gossip)
        house.open()
        move_in(house, service, flock.new("paid key"), flock.new("paid key, second version"))
        house.run("secrets", "set", "paid-key", flock.new("on the command line"))
        bought_and_failed(house, service)
        crashed(house)
        away(house, flock)
        wrong_places(house, flock)
        on_s3(house, flock, s3)
        assert house.run("models", "pull", "--all", "--json").returncode == 1
    read_everything(house)
    assert len(flock.names) >= 40, flock.names
    assert found_in([house.inside], flock.needles) == []
    looked_at = {path.name for path in house.inside.rglob("*") if path.is_file()}
    assert looked_at >= {"prefect.db", "ledger.db", "report.html", "later.html"}


def environment_of(flock: Flock, gossip: str) -> dict[str, str]:
    """Secrets that stand in the environment for good reasons."""
    return {
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": flock.new("AWS secret"),
        "AWS_SESSION_TOKEN": flock.new("AWS token", odd="/+="),
        "HTTP_PROXY": f"http://anna:{quote(flock.new('proxy'), safe='')}@{gossip}",
        "HTTPS_PROXY": f"http://anna:{quote(flock.new('TLS proxy'), safe='')}@{gossip}",
        "NO_PROXY": "127.0.0.1,localhost",
        "PREFECT_API_KEY": flock.new("Prefect key"),
        "STILLMOTION_LINEAGE_URL": f"http://anna:{quote(flock.new('lineage'), safe='')}@{gossip}/api"
        f"?api_key={quote(flock.new('lineage query'), safe='')}",
        "STILLMOTION_WEIGHTS_MIRROR": f"http://anna:{quote(flock.new('mirror'), safe='')}@{gossip}/weights",
    }


def bought_and_failed(house: House, service: Service) -> None:
    """A hero run that goes well, then items that meet the ways in which a service misbehaves."""
    photo = order(house, 0)[1]
    found = house.document("product", photo, "--recipe", "hero", "--out", str(house.out))
    assert found["items"][0]["status"] == "delivered", found
    photos = [str(save_product(house.given / f"{hue}.png", 320, 280, hue)) for hue in range(3)]
    for number, faults in enumerate((FOR_GOOD[:3], FOR_GOOD[3:], PASSING), start=1):
        service.order(*faults)
        house.write("service.json", described(service, name=f"paid-{number}", deadline_s=15.0))
        command, _, *options = order(house, number)
        house.document(command, *photos, *options)
    assert {*FOR_GOOD, *PASSING} <= set(service.totals["faults"])
    service.accept("another-key-alone")
    house.write("service.json", described(service, name="paid-9"))
    assert buy(house, 9) == "failed"  # the service says whom it does not know


def crashed(house: House) -> None:
    """Errors that nobody foresaw, in a stage and in a flow, with the traceback shown."""
    for number, code in enumerate((BROKEN, BROKEN_FLOW), start=30):
        done = house.run(*order(house, number), program=program(code), more={"STILLMOTION_DEBUG": "1"})
        assert done.returncode == 1
        assert "LookupError" in done.stdout + done.stderr


def away(house: House, flock: Flock) -> None:
    """A database and a Prefect server that are not there."""
    ledger, owner = (quote(flock.new(name), safe="") for name in ("ledger", "owner"))
    books = {
        "STILLMOTION_LEDGER_URL": f"postgresql://app:{ledger}@{NOBODY}/books",
        "STILLMOTION_LEDGER_OWNER_URL": f"postgresql://owner:{owner}@{NOBODY}/books",
    }
    assert house.run(*order(house, 40), more=books).returncode != 0
    server = {
        "PREFECT_API_URL": f"http://anna:{quote(flock.new('Prefect login'), safe='')}@{NOBODY}/api",
        "PREFECT_API_AUTH_STRING": f"anna:{flock.new('Prefect auth')}",
    }
    assert house.run(*order(house, 41), "--json", more=server).returncode != 0
    assert buy(house, 42, STILLMOTION_PLACE_SERVICE=flock.new("service")) == "service_missing"


def wrong_places(house: House, flock: Flock) -> None:
    """Secrets where none belongs: all refused, and none repeated."""
    cases = [*wrong_settings(flock), *wrong_services(flock)]
    done = house.run(str(house.inside / "work"), stdin=json.dumps(cases), program=program(RUN_WRONG_PLACES))
    assert done.returncode == 0, done.stderr
    accepted = [case for case, code in zip(cases, json.loads(done.stdout), strict=True) if not code]
    assert accepted == []


def wrong_settings(flock: Flock) -> list[dict[str, object]]:
    def web(name: str) -> str:
        return quote(flock.new(name), safe="")

    def ledger(url: str) -> dict[str, str]:
        return {"LEDGER_URL": url}

    gates = json.dumps({"spend": {"sharp": {"min": flock.new("gates")}}})
    return [
        {"environment": {f"STILLMOTION_{name}": value for name, value in settings.items()}}
        for settings in (
            {"WORKERS": flock.new("workers")},
            {"DEVICE": flock.new("device")},
            {"TENANT": flock.new("tenant")},
            {"LEASE_S": flock.new("lease")},
            {"GATES": gates},
            {"GATES": gates[:-3]},
            {"STORAGE_ROOT": f"s3://anna:{web('root')}@bucket/shop"},
            {"S3_ENDPOINT": f"http://anna:{web('endpoint')}@{NOBODY}"},
            {"DASK_ADDRESS": f"tcp://anna:{web('dask')}@{NOBODY}"},
            {"LINEAGE_URL": f"ftp://anna:{web('sink')}@{NOBODY}/"},
            ledger(f"postgresql://app@{NOBODY}/books?password={web('ledger query')}"),
            ledger(f"postgresql://app:{web('ledger port')}@{NOBODY}:{web('port')}/books"),
            ledger(f"postgresql+asyncpg://app:{web('driver')}@{NOBODY}/books"),
            ledger(f"nothing://app:{web('scheme')}@{NOBODY}/books"),
            ledger(flock.new("no address")),
        )
    ]


def wrong_services(flock: Flock) -> list[dict[str, object]]:
    """Descriptions that hold a secret where its name belongs, or anywhere else."""
    right = described(Service("http://127.0.0.1:9"))
    declaration, form = facts("http://127.0.0.1:9", RULES), dict(right["form"])  # type: ignore[call-overload]
    changes: list[dict[str, object]] = [
        {"api_key": flock.new("field")},
        {"credential": flock.new("credential")},
        {"kind": flock.new("kind")},
        {"declaration": declaration | {"endpoint": f"http://anna:{flock.new('userinfo', odd='')}@{NOBODY}"}},
        {"declaration": declaration | {"endpoint": f"http://{NOBODY}?key={flock.new('query', odd='')}"}},
        {"declaration": declaration | {"name": flock.new("name")}},
        {"form": form | {"key_header": flock.new("header")}},
        {"form": form | {"headers": {"Authorization": flock.new("headers")}}},
        {"form": form | {"path": f"v1?key={flock.new('path', odd='')}"}},
    ]
    torn = '{"credential": "' + flock.new("torn", odd="")
    return [{"service": each} for each in (torn, *(right | change for change in changes))]


def on_s3(house: House, flock: Flock, s3: S3Server) -> None:
    """Results on an object store, credentials from environment and block, and a service that repeats them."""
    names = ("access_key_id", "secret_access_key", "session_token")
    block = {name: flock.new(name, odd="" if name == "access_key_id" else "/+=") for name in names}
    given = {"endpoint": s3.endpoint, "region": "eu-central-1", "path_style": True, **block}
    done = house.run(stdin=json.dumps(given), program=program(SAVE_BLOCK))
    assert done.returncode == 0, done.stderr
    ledger = {"STILLMOTION_LEDGER_URL": f"sqlite:///{house.inside / 's3-ledger.db'}"}
    kept = {name: s3.environment[f"STILLMOTION_S3_{name}"] for name in ("ENDPOINT", "REGION", "PATH_STYLE")}
    by_settings = {f"STILLMOTION_S3_{name}": value for name, value in kept.items()}
    command = ("product", order(house, 0)[1], "--recipe", "cutout", "--out", str(house.out / "s3"), "--json")
    for number, more in enumerate((by_settings, {"STILLMOTION_STORAGE_BLOCK": "bucket"})):
        s3.instead = lambda _: None
        root = {"STILLMOTION_STORAGE_ROOT": f"{s3.url}/{number}"}
        done = house.run(*command, more=ledger | root | more)
        assert done.returncode == 0, done.stdout + done.stderr
        s3.instead = _repeat_token
        assert house.run(*command, more=ledger | root | more).returncode != 0
    s3.instead = lambda _: None
    _fetch(s3, house.inside / "objects")


def _repeat_token(environ: dict[str, object]) -> tuple[str, bytes, int]:
    told = f"<Error><Code>InvalidToken</Code><Message>{environ.get('HTTP_X_AMZ_SECURITY_TOKEN')} "
    told += f"{environ.get('HTTP_AUTHORIZATION')} is not yours</Message></Error>"
    return "400 Bad Request", told.encode(), len(told)


def _fetch(s3: S3Server, folder: Path) -> None:
    """All objects, so that they can be searched."""
    options = s3_options(endpoint=s3.endpoint, region="eu-central-1", path_style=True, key="somebody", secret="else")
    filesystem, path = open_filesystem(s3.url, options)
    filesystem.get(path, str(folder), recursive=True)
    assert any(folder.rglob("*"))
