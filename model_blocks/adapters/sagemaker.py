"""A SageMaker endpoint as an adapter: one frame a request, JSON with base64 in it, both ways.

``{"image": PNG in base64, "prompt", "style", "seed", further parameters}`` → ``{"output": PNG in base64}``. Further
parameters, such as ``mask`` or ``targetFps``, are sent as the declaration has them; a frame stays one frame.
Source: Amazon SageMaker API, InvokeEndpoint and DescribeEndpoint.
"""

import base64
import binascii
import json
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field

from model_blocks.adapters.declaration import Endpoint
from model_blocks.adapters.frames_adapter import AdapterDeclaration, Frames, FramesRequest, Report, unheard
from model_blocks.adapters.frames_errors import (
    AdapterAwayError,
    AdapterError,
    AdapterOutputError,
    AdapterRefusedError,
    AdapterTimeoutError,
)
from model_blocks.adapters.frames_files import decode_frames, png_bytes

PASSING = (
    "ThrottlingException",
    "ServiceUnavailable",
    "InternalDependencyException",
    "ModelNotReadyException",
)
WARM_LOOK_S = 5.0
READY = "InService"


class SageMakerDeclaration(AdapterDeclaration):
    """An endpoint in a region. Credentials come from the AWS environment, or from a saved block."""

    kind: Literal["sagemaker"] = "sagemaker"
    endpoint_name: str = Field(pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$", description="Name of the endpoint.")
    region: str = Field(pattern=r"^[a-z0-9-]{1,32}$", description="Where it is.")
    endpoint_url: Endpoint | None = Field(default=None, description="Address of a service that is not Amazon's.")
    credentials_block: str | None = Field(
        default=None, description="A block of type stillmotion-object-store, whose keys are used."
    )
    parameters: dict[str, Any] = Field(default_factory=dict, description="Sent with every frame as they are.")
    image_field: str = Field(default="image", description="Field of the frame in the request.")
    output_field: str = Field(default="output", description="Field of the frame in the answer.")
    tries: int = Field(default=4, ge=1, le=20, description="Tries of one request.")
    attempt_s: float = Field(default=60, gt=0, le=3600, description="Longest wait for an answer, in seconds.")

    def deciding(self) -> dict[str, object]:
        return {
            "endpoint_name": self.endpoint_name,
            "region": self.region,
            "parameters": self.parameters,
            "fields": [self.image_field, self.output_field],
        }


@dataclass(frozen=True)
class SageMakerAdapter:
    """Calls the endpoint."""

    declaration: SageMakerDeclaration

    def restyle(self, frames: Frames, request: FramesRequest, report: Report = unheard) -> Frames:
        until, made = time.monotonic() + self.declaration.deadline_s, list[bytes]()
        for number, frame in enumerate(frames):
            if time.monotonic() > until:
                raise self._error(AdapterTimeoutError, f"was not done after {self.declaration.deadline_s:g} s")
            made.append(self._invoked(frame, request))
            report(100 * (number + 1) // len(frames))
        return decode_frames(made, max_megapixels=self.declaration.max_megapixels)

    def ping(self) -> str:
        status = self._status()
        return "ready" if status == READY else status

    def warm(self, timeout_s: float = 900) -> None:
        """Wait until the endpoint is in service.

        Raises:
            AdapterAwayError: It is not, after that time, or has failed.
        """
        until = time.monotonic() + timeout_s
        while (status := self._status()) != READY:
            if status in ("Failed", "Deleting", "OutOfService") or time.monotonic() > until:
                raise self._error(AdapterAwayError, f"is not in service but {status}", status=status)
            time.sleep(WARM_LOOK_S)

    def _status(self) -> str:
        found = self._called("sagemaker", "describe_endpoint", EndpointName=self.declaration.endpoint_name)
        return str(found["EndpointStatus"])

    def _invoked(self, frame: Frames, request: FramesRequest) -> bytes:
        told = self.declaration
        image = base64.b64encode(png_bytes(frame)).decode()
        body = json.dumps({**told.parameters, **request.texts, told.image_field: image}).encode()
        reply = self._called(
            "sagemaker-runtime",
            "invoke_endpoint",
            EndpointName=told.endpoint_name,
            ContentType="application/json",
            Accept="application/json",
            Body=body,
        )
        try:
            return base64.b64decode(json.loads(reply["Body"].read())[told.output_field], validate=True)
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            raise self._error(
                AdapterOutputError, f"did not answer with JSON that holds a frame in base64 as {told.output_field!r}"
            ) from error

    def _called(self, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return dict(getattr(_client(service, self.declaration.model_dump_json()), operation)(**arguments))
        except ClientError as error:
            said, status = error.response["Error"], error.response["ResponseMetadata"].get("HTTPStatusCode", 500)
            away = status >= 500 or said.get("Code") in PASSING
            kind = AdapterAwayError if away else AdapterRefusedError
            told = f"said {said.get('Code')}: {str(said.get('Message'))[:300]}"
            raise self._error(kind, told, status=status, error=said.get("Code")) from error
        except BotoCoreError as error:
            raise self._error(AdapterAwayError, f"cannot be asked: {error}") from error

    def _error(self, kind: type[AdapterError], what: str, **facts: object) -> AdapterError:
        name = self.declaration.name
        return kind(f"the endpoint of the adapter {name!r} {what}", adapter=name, **facts)


@lru_cache(maxsize=8)
def _client(service: str, declaration: str) -> Any:
    """A client for a declaration; made once, which takes half a second."""
    from botocore.config import Config
    from botocore.session import Session

    told = SageMakerDeclaration.model_validate_json(declaration)
    return Session().create_client(
        service,
        region_name=told.region,
        endpoint_url=told.endpoint_url,
        config=Config(
            retries={"mode": "standard", "total_max_attempts": told.tries},
            connect_timeout=min(10.0, told.attempt_s),
            read_timeout=told.attempt_s,
        ),
        **_credentials(told.credentials_block),
    )


def _credentials(block: str | None) -> dict[str, str | None]:
    if block is None:
        return {}
    from model_blocks.blocks import load_object_store  # imports Prefect

    kept = load_object_store(block)
    return {
        "aws_access_key_id": kept.get("key"),
        "aws_secret_access_key": kept.get("secret"),
        "aws_session_token": kept.get("token"),
    }
