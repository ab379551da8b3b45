"""Adapters over the network, with real HTTP on loopback and a SageMaker service, and the one that tints."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from datasets.errors import PipelineError, SettingsError
from model_blocks.adapters.examples.server import Handler
from model_blocks.adapters.finding import declare_adapter, find_adapter, make_adapter
from model_blocks.adapters.frames_adapter import FramesAdapter, FramesRequest
from model_blocks.adapters.frames_errors import (
    AdapterAwayError,
    AdapterMissingError,
    AdapterOutputError,
    AdapterRefusedError,
    AdapterTimeoutError,
)
from model_blocks.adapters.frames_files import png_bytes, save_frames
from model_blocks.adapters.frames_http import HttpAdapter, HttpDeclaration
from model_blocks.adapters.mock import tint
from model_blocks.adapters.waiting import Clock
from tests.model_blocks.adapter_calls import noise
from tests.s3_server import S3Server, serve

Answer = tuple[int, dict[str, str], bytes]
REQUEST = FramesRequest('blue; "quoted" ünïcode', "poster", 7)


@dataclass
class Service:
    """A server that gives the answers it was told, the last one for ever."""

    url: str = ""
    answers: list[Answer | Callable[[], Answer]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)

    def adapter(self, **more: Any) -> HttpAdapter:
        facts = {"name": "test", "version": "1", "endpoint": self.url, "loopback": True, "deadline_s": 30, **more}
        return HttpAdapter(HttpDeclaration.model_validate(facts), Clock(sleep=self.waited.append, chance=lambda: 0.5))


@pytest.fixture
def service() -> Iterator[Service]:
    told = Service()

    class Told(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            told.headers.append(dict(self.headers))
            answer = told.answers.pop(0) if len(told.answers) > 1 else told.answers[0]
            status, headers, body = answer() if callable(answer) else answer
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    yield from _served(Told, told)


def _served(handler: type[BaseHTTPRequestHandler], told: Service) -> Iterator[Service]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        told.url = f"http://127.0.0.1:{server.server_port}/restyle"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield told
        server.shutdown()
        thread.join()


def said(status: int = 200, headers: dict[str, str] | None = None, **document: Any) -> Answer:
    return status, headers or {}, json.dumps(document).encode()


def inline(frames: Any) -> list[str]:
    return [base64.b64encode(png_bytes(frame)).decode() for frame in frames]


def test_the_example_server_gives_what_arithmetic_says() -> None:
    told = Service()
    for each in _served(Handler, told):
        frames = noise(2, dtype=np.uint16)
        adapter = each.adapter(health=each.url.replace("restyle", "health"))
        made = adapter.restyle(frames, FramesRequest(seed=0))
        grey = frames.astype(np.float32).mean(-1, keepdims=True)
        assert np.abs(made - np.clip(2 * frames.astype(np.float32) - grey, 0, 65535)).max() <= 1
        assert adapter.ping() == "ready"


def test_every_frame_and_the_words_are_in_the_form(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    from email.parser import BytesParser
    from email.policy import HTTP

    monkeypatch.setenv("STYLIST_TOKEN", "a-long-secret-token")
    frames = noise(3)
    service.answers = [said(success=True, frames=inline(255 - frames))]
    made = service.adapter(token_variable="STYLIST_TOKEN").restyle(frames, REQUEST)
    np.testing.assert_array_equal(made, 255 - frames)
    head = b"Content-Type: " + service.headers[0]["Content-Type"].encode() + b"\r\n\r\n"
    form: Any = BytesParser(policy=HTTP).parsebytes(head + service.bodies[0])
    parts = [(p.get_param("name", header="content-disposition"), p.get_payload(decode=True)) for p in form.iter_parts()]
    assert parts == [
        ("prompt", REQUEST.prompt.encode()),
        ("style", b"poster"),
        ("seed", b"7"),
        *(("input_file", png_bytes(frame)) for frame in frames),
    ]
    assert service.headers[0]["Authorization"] == "Bearer a-long-secret-token"


def test_a_folder_is_read_only_below_the_one_that_is_allowed(service: Service, tmp_path: Path) -> None:
    (tmp_path / "shared" / "job").mkdir(parents=True)
    frames = noise()
    save_frames(frames, tmp_path / "shared" / "job")
    service.answers = [said(success=True, frames_path="job")]
    adapter = service.adapter(frames_folder=str(tmp_path / "shared"))
    np.testing.assert_array_equal(adapter.restyle(frames, REQUEST), frames)
    (tmp_path / "shared" / "link").symlink_to(tmp_path)
    for path in ("..", str(tmp_path), "link", "/etc", "nowhere", "job/000000.png"):
        service.answers = [said(success=True, frames_path=path)]
        with pytest.raises(AdapterOutputError, match="says its frames are in"):
            adapter.restyle(frames, REQUEST)
    with pytest.raises(AdapterOutputError, match="allows none"):
        service.adapter().restyle(frames, REQUEST)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_what_may_pass_is_asked_again_after_what_it_asks_for(service: Service, status: int) -> None:
    frames = noise()
    service.answers = [said(status, {"Retry-After": "3"}), said(status), said(success=True, frames=inline(frames))]
    np.testing.assert_array_equal(service.adapter().restyle(frames, REQUEST), frames)
    assert service.waited == [0.25 + 3, 0.5]
    assert len(set(service.bodies)) == 1


@pytest.mark.parametrize(
    ("answers", "kind", "words", "tries"),
    [
        ([said(400, error="no such style")], AdapterRefusedError, "status 400: .*no such style", 1),
        ([said(404)], AdapterRefusedError, "status 404", 1),
        ([said(302, {"Location": "http://127.0.0.1:1/"})], AdapterRefusedError, "status 302", 1),
        ([said(success=False, error="no prompt")], AdapterRefusedError, "did not succeed: no prompt", 1),
        ([said(success=True)], AdapterOutputError, "neither is there", 1),
        ([said(success=True, frames=inline(noise(2)))], AdapterOutputError, "expected 3 frames.* sent 2", 1),
        ([said(success=True, frames=["%%", "", ""])], AdapterOutputError, "not in base64", 1),
        ([said(success=True, frames=["AAAA"] * 3)], AdapterOutputError, "is no PNG", 1),
        ([(200, {}, b"<html>")], AdapterOutputError, "did not answer in JSON", 1),
        ([said(503)], AdapterAwayError, "4 tries: status 503", 4),
        ([said(503, {"Retry-After": "3600"})], AdapterTimeoutError, "within 30 s: status 503", 1),
    ],
)
def test_what_it_does_not_give(
    service: Service, answers: list[Answer | Callable[[], Answer]], kind: type[PipelineError], words: str, tries: int
) -> None:
    service.answers = answers
    with pytest.raises(kind, match=words):
        service.adapter().restyle(noise(), REQUEST)
    assert len(service.bodies) == tries


def test_a_reply_that_is_too_large_is_not_read(service: Service) -> None:
    service.answers = [(200, {}, b"x" * (2 << 20))]
    with pytest.raises(AdapterOutputError, match="more than 1 MiB"):
        service.adapter(max_reply_mb=1).restyle(noise(), REQUEST)


def test_a_service_that_hangs_is_left_at_the_deadline(service: Service) -> None:
    over = threading.Event()

    def hang() -> Answer:
        over.wait(20)
        return said()

    service.answers = [hang]
    try:
        with pytest.raises((AdapterTimeoutError, AdapterAwayError), match="no answer"):
            service.adapter(deadline_s=0.5).restyle(noise(), REQUEST)
    finally:
        over.set()


def test_this_machine_is_not_called_unless_that_is_declared(service: Service) -> None:
    port = service.url.rpartition(":")[2]
    for host in ("127.0.0.1", "localhost", "[::1]"):
        with pytest.raises(SettingsError, match="this machine's own"):
            service.adapter(endpoint=f"http://{host}:{port}", loopback=False).restyle(noise(), REQUEST)
    with pytest.raises(SettingsError, match="none that a service has"):
        service.adapter(endpoint="http://169.254.169.254/latest").restyle(noise(), REQUEST)
    assert service.bodies == []


def test_nobody_at_the_address(service: Service) -> None:
    with pytest.raises(AdapterAwayError, match="0 bytes of the request"):
        service.adapter(endpoint="http://127.0.0.1:1", tries=2).restyle(noise(), REQUEST)
    assert len(service.waited) == 1


@pytest.fixture(scope="module")
def aws() -> Iterator[S3Server]:
    with serve() as server:
        yield server


@pytest.fixture
def endpoint(aws: S3Server, monkeypatch: pytest.MonkeyPatch) -> FramesAdapter:
    """An endpoint ``stylist`` that is in service, with credentials in the environment."""
    from botocore.session import Session

    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)
    httpx.post(f"{aws.endpoint}/moto-api/reset")
    client = Session().create_client("sagemaker", region_name="eu-central-1", endpoint_url=aws.endpoint)
    client.create_model(ModelName="m", ExecutionRoleArn="arn:aws:iam::123456789012:role/r")
    variant = {"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    client.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    client.create_endpoint(EndpointName="stylist", EndpointConfigName="c")
    return sagemaker(aws)


def sagemaker(aws: S3Server, **more: Any) -> FramesAdapter:
    facts = {"kind": "sagemaker", "name": "stylist", "version": "1", "endpoint_name": "stylist", "tries": 1}
    return make_adapter(declare_adapter({**facts, "region": "eu-central-1", "endpoint_url": aws.endpoint, **more}))


def results(aws: S3Server, *bodies: str) -> None:
    made = [{"Body": body, "ContentType": "application/json"} for body in bodies]
    answer = httpx.post(
        f"{aws.endpoint}/moto-api/static/sagemaker/endpoint-results",
        json={"account_id": "123456789012", "region": "eu-central-1", "results": made},
    )
    assert answer.status_code == 201, answer.text


def test_a_sagemaker_endpoint_makes_frame_by_frame(aws: S3Server, endpoint: FramesAdapter) -> None:
    frames, heard = noise(2), list[int]()
    results(aws, *(json.dumps({"output": text}) for text in inline(255 - frames)))
    np.testing.assert_array_equal(endpoint.restyle(frames, REQUEST, heard.append), 255 - frames)
    assert heard == [50, 100]
    assert endpoint.ping() == "ready"


def test_a_sagemaker_endpoint_is_told_everything(aws: S3Server, endpoint: FramesAdapter) -> None:
    bodies: list[Any] = []

    def look(environ: dict[str, Any]) -> None:
        if environ["PATH_INFO"].endswith("/invocations"):
            from io import BytesIO

            data = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            bodies.append(json.loads(data))
            environ["wsgi.input"] = BytesIO(data)

    results(aws, json.dumps({"made": inline(noise(1))[0]}))
    aws.instead = look
    try:
        adapter = sagemaker(aws, parameters={"mask": "bWFzaw==", "targetFps": 24}, output_field="made")
        adapter.restyle(noise(1), REQUEST)
    finally:
        aws.instead = lambda _: None
    (body,) = bodies
    assert body == {"mask": "bWFzaw==", "targetFps": 24, **REQUEST.texts, "image": inline(noise(1))[0]}


@pytest.mark.parametrize("body", ['{"output": "%%"}', "{}", "no JSON", '{"output": "AAAA"}', "[1]"])
def test_what_an_endpoint_answers_instead_of_a_frame(aws: S3Server, endpoint: FramesAdapter, body: str) -> None:
    results(aws, body)
    with pytest.raises(AdapterOutputError):
        endpoint.restyle(noise(1), REQUEST)


def test_endpoints_that_do_not_answer(aws: S3Server, endpoint: FramesAdapter) -> None:
    with pytest.raises(AdapterRefusedError, match="nobody"):
        sagemaker(aws, endpoint_name="nobody").ping()
    with pytest.raises(AdapterAwayError, match="cannot be asked"):
        sagemaker(aws, endpoint_url="http://127.0.0.1:1").ping()
    aws.instead = lambda _: ("503 Service Unavailable", b'{"Code": "ServiceUnavailable"}', 30)
    try:
        with pytest.raises(AdapterAwayError):
            endpoint.restyle(noise(1), REQUEST)
    finally:
        aws.instead = lambda _: None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_mock_tints_by_words_style_and_seed(dtype: type) -> None:
    frames, mock = noise(dtype=dtype), make_adapter(find_adapter("mock"))
    made = mock.restyle(frames, REQUEST)
    colour = np.array(tint(REQUEST)) * np.iinfo(dtype).max
    assert np.abs(made - (frames * 0.6 + colour * 0.4)).max() < 0.51 + np.iinfo(dtype).max / 2**20
    assert (mock.restyle(frames, REQUEST) == made).all()
    for other in (
        FramesRequest("red", "poster", 7),
        FramesRequest(REQUEST.prompt, "", 7),
        FramesRequest(REQUEST.prompt, "poster", 8),
    ):
        assert tint(other) != tint(REQUEST)


def test_declarations_are_found_in_files(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"kind": "subprocess", "name": "a", "version": "1", "command": ["python", "./a.py"]}')
    assert find_adapter(str(path)).command[1] == str(tmp_path / "a.py")  # type: ignore[union-attr]
    for text, words in (
        ("{", "as JSON"),
        ("[]", "no JSON object"),
        ('{"kind": "x"}', "no known kind"),
        ('{"kind": "http", "name": "a", "version": "1", "endpoint": "ftp://x"}', "endpoint: use an address"),
    ):
        path.write_text(text)
        with pytest.raises(SettingsError, match=words):
            find_adapter(str(path))
    for name in ("", str(tmp_path / "nothing.json")):
        with pytest.raises(AdapterMissingError, match="--adapter mock"):
            find_adapter(name)


@pytest.mark.usefixtures("prefect_api")
def test_declarations_are_found_in_blocks() -> None:
    from model_blocks.adapters.blocks import FramesAdapterBlock

    facts = {"kind": "http", "name": "a", "version": "1", "endpoint": "http://stylist.example"}
    FramesAdapterBlock(facts=facts).save("stylist", overwrite=True)
    assert find_adapter("stylist").identity == declare_adapter(facts).identity
    with pytest.raises(AdapterMissingError, match="no saved adapter"):
        find_adapter("nobody")
