"""Container files: what they say is known to whoever reads it, fits together, and holds no secret."""

import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from prefect.settings import Settings as PrefectSettings

from datasets.known_secrets import SECRET_FIELD
from datasets.settings import Settings
from datasets.vault_keys import KeySettings
from tasks.cluster import refuse_unshared
from tests.deployments.manifest_schemas import schema_of

ROOT = Path(__file__).parents[2]
CONTAINERS = ROOT / "deployments" / "containers"
MANIFESTS = CONTAINERS / "kubernetes"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
FROM_OUTSIDE = re.compile(r"\$\{(\w+):\?[^}]+\}")  # of the environment, and refused if it is not there
OTHERS = {  # of libraries and images, that no settings of ours know
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "OMP_NUM_THREADS"),
    *("POSTGRES_PASSWORD", "POSTGRES_USER", "MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"),
    *("PREFECT_DATABASE_PASSWORD", "LEDGER_OWNER_PASSWORD", "LEDGER_PASSWORD"),  # of databases.sh
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES",
}
Document = dict[str, Any]


def compose() -> Document:
    found: Document = yaml.safe_load((CONTAINERS / "compose.yaml").read_text())
    return found


def manifests() -> list[Document]:
    names = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["resources"]
    return [document for name in names for document in yaml.safe_load_all((MANIFESTS / name).read_text())]


def pods() -> Iterator[tuple[str, Document]]:
    for document in manifests():
        if document["kind"] in ("Deployment", "Job"):
            yield document["metadata"]["name"], document["spec"]["template"]


def containers() -> dict[str, Document]:
    return {name: template["spec"]["containers"][0] for name, template in pods()}


def known_names() -> set[str]:
    """Environment variables that ours, Prefect's or others' programs read."""
    ours = {f"STILLMOTION_{name.upper()}" for name in (*Settings.model_fields, *KeySettings.model_fields)}
    return ours | prefect_names(PrefectSettings) | OTHERS


def prefect_names(model: Any) -> set[str]:
    from prefect.settings import get_current_settings

    return set(get_current_settings().to_environment_variables(exclude_unset=False, include_secrets=True)) | _aliases(
        model
    )


def _aliases(model: Any) -> set[str]:
    names: set[str] = set()
    prefix = str(model.model_config.get("env_prefix", ""))
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and hasattr(inner, "model_fields"):
            names |= _aliases(inner)
        names.add(f"{prefix}{name}".upper())
        choices = getattr(field.validation_alias, "choices", [])
        names |= {str(choice).upper() for choice in choices if isinstance(choice, str)}
    return names


@pytest.mark.parametrize("document", manifests(), ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
def test_a_manifest_has_known_kinds_and_fields(document: Document) -> None:
    schema = schema_of(document["apiVersion"], document["kind"])
    assert [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(document)] == []


def test_every_manifest_is_listed_and_named_once() -> None:
    listed = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())
    assert set(listed) == {"apiVersion", "kind", "namespace", "resources", "images"}
    assert {*listed["resources"], "kustomization.yaml"} == {path.name for path in MANIFESTS.glob("*.yaml")}
    names = [(each["kind"], each["metadata"]["name"]) for each in manifests()]
    assert len(names) == len(set(names))
    assert {("Namespace", listed["namespace"])} <= set(names)
    assert listed["images"] == [{"name": "stillmotion", "newTag": VERSION}]


def test_manifests_fit_together() -> None:
    documents = manifests()
    by_kind = {
        kind: {each["metadata"]["name"] for each in documents if each["kind"] == kind}
        for kind in ("ConfigMap", "PersistentVolumeClaim")
    }
    for name, template in pods():
        spec, container = template["spec"], template["spec"]["containers"][0]
        assert {each["name"] for each in container.get("volumeMounts", [])} == {
            each["name"] for each in spec.get("volumes", [])
        }, name
        claims = {
            each["persistentVolumeClaim"]["claimName"]
            for each in spec.get("volumes", [])
            if "persistentVolumeClaim" in each
        }
        assert claims <= by_kind["PersistentVolumeClaim"]
        assert {each["configMapRef"]["name"] for each in container.get("envFrom", [])} <= by_kind["ConfigMap"]
        ports = {each["name"] for each in container.get("ports", [])}
        assert {container[each]["httpGet"]["port"] for each in container if each.endswith("Probe")} <= ports
    for document in documents:
        spec = document.get("spec", {})
        if document["kind"] == "Deployment":
            assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(spec["template"]["spec"]["containers"][0])
        if document["kind"] == "Service":
            (target,) = (t for _, t in pods() if spec["selector"].items() <= t["metadata"]["labels"].items())
            offered = {each["name"] for each in target["spec"]["containers"][0]["ports"]}
            assert {each["targetPort"] for each in spec["ports"]} <= offered


def test_a_gpu_worker_declares_to_dask_what_it_is_given() -> None:
    worker = containers()["dask-gpu-worker"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "--resources=GPU=1" in worker["command"]
    service = compose()["services"]["dask-gpu-worker"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", 1, ["gpu"])
    assert "--resources=GPU=1" in service["command"]


def commands() -> list[list[str]]:
    found = [container["command"] for container in containers().values()]
    found += [service["command"] for service in compose()["services"].values() if "build" in service]
    return [single for command in found for single in _singles(command)]


def _singles(command: list[str]) -> list[list[str]]:
    """A command, or those that a shell runs one after the other."""
    if command[:2] != ["sh", "-c"]:
        return [command]
    return [shlex.split(single) for single in command[2].split("&&")]


@pytest.mark.parametrize("command", commands(), ids=lambda command: "-".join(command[:3]))
def test_a_command_is_one_that_its_program_takes(command: list[str]) -> None:
    program, *rest = command
    if program == "dask":
        from distributed.cli import dask_scheduler, dask_worker

        main = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}[rest[0]]
        main.make_context(rest[0], list(rest[1:]))  # refuses what it does not know
    elif program == "prefect":
        assert rest[0] in ("server", "worker", "--no-prompt")
    elif program == "stillmotion":
        from deployments.cli.serving import limits

        assert rest[0] == "limits"
        limits.make_context("limits", rest[1:])
    else:
        assert program == "python"
        compile(rest[1], "command", "exec")


def environments() -> list[tuple[str, str, str]]:
    """Who is given which variable and with what value; a reference to a secret is no value."""
    given = [
        (name, variable, str(value))
        for name, service in compose()["services"].items()
        for variable, value in service.get("environment", {}).items()
    ]
    for name, container in containers().items():
        given += [(name, each["name"], each.get("value", "")) for each in container.get("env", [])]
    for document in manifests():
        given += [("ConfigMap", name, value) for name, value in document.get("data", {}).items()]
    return given


def test_every_variable_is_known_to_somebody() -> None:
    known = known_names()
    assert sorted({name for _, name, _ in environments()} - known) == []


def test_no_secret_stands_in_a_file() -> None:
    for where, name, value in environments():
        literal = FROM_OUTSIDE.sub("", value)
        assert not re.search(r"://[^/@\s]*:[^/@\s]+@", literal), (where, name)
        if SECRET_FIELD.search(name) and not name.endswith("_USER") and name != "AWS_ACCESS_KEY_ID":
            assert literal in ("", "stillmotion:"), (where, name)
    secret_keys = set((MANIFESTS / "secret-keys.txt").read_text().split())
    used = {
        each["valueFrom"]["secretKeyRef"]["key"]
        for container in containers().values()
        for each in container.get("env", [])
        if "valueFrom" in each
    }
    assert used == secret_keys


def test_images_are_ours_or_pinned_and_from_no_host_of_anybody() -> None:
    images = {service["image"] for service in compose()["services"].values()}
    assert f"stillmotion:{VERSION}" in images
    for image in images:
        name, _, tag = image.partition(":")
        assert tag not in ("", "latest"), image
        assert "." not in name.partition("/")[0], image
    assert {container["image"] for container in containers().values()} == {"stillmotion"}  # the tag by kustomization


def test_the_settings_of_both_installations_hold_and_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = compose()["services"]["prefect-worker"]["environment"]
    manifest = next(each["data"] for each in manifests() if each["kind"] == "ConfigMap")
    manifest = {**manifest, "STILLMOTION_LEDGER_URL": "postgresql://a@b/c"}  # of the secret
    for given in (worker, manifest):
        with monkeypatch.context() as patch:
            for name, value in given.items():
                patch.setenv(name, FROM_OUTSIDE.sub("x", value))
            settings = Settings()
        assert settings.dask_address == "tcp://dask-scheduler:8786"
        assert settings.storage_root.startswith("s3://")
        refuse_unshared(settings)


def test_services_of_the_compose_file_fit_together() -> None:
    found = compose()
    services, volumes = found["services"], set(found["volumes"])
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in services, name
            assert how["condition"] != "service_healthy" or "healthcheck" in services[other], (name, other)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in volumes or (CONTAINERS / source).exists(), (name, source)
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), (name, port)
    assert {"prefect-server", "prefect-worker", "dask-scheduler", "dask-worker", "postgres", "s3"} <= set(services)


def test_the_image_is_made_of_what_is_there_by_nobody_special() -> None:
    text = re.sub(r"\\\n", " ", (CONTAINERS / "Dockerfile").read_text())
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith(("#", "print"))]
    assert {word for word, _ in lines} <= {"FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "CMD"}
    shown = set((CONTAINERS / "Dockerfile.dockerignore").read_text().split())
    for word, rest in lines:
        if word == "COPY":
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists()
                assert f"!{source}" in shown
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {f"!{name.rstrip('*')}" for name in packages} <= shown
    assert ["USER", "10001"] in lines


def test_kustomize_takes_the_manifests() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl")
    done = subprocess.run([kubectl, "kustomize", str(MANIFESTS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = list(yaml.safe_load_all(done.stdout))
    images = {
        container["image"]
        for each in made
        if each["kind"] in ("Deployment", "Job")
        for container in each["spec"]["template"]["spec"]["containers"]
    }
    assert images == {f"stillmotion:{VERSION}"}
    assert {each["metadata"].get("namespace") for each in made if each["kind"] != "Namespace"} == {"stillmotion"}
