"""S3 through s3fs with one layer of patience, which covers every request and the bodies of its answers.

botocore's retries stop at the head of an answer, s3fs's leave out most server errors, and one around the other
multiplies. Both are off; this layer stands in their place. Imported where it is used: s3fs is heavy.
"""

import asyncio
import atexit
import os
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http.client import IncompleteRead
from typing import Any, TypeVar

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnectionError
from botocore.parsers import ResponseParserError
from s3fs import S3FileSystem  # type: ignore[import-untyped]

Answer = TypeVar("Answer")

ATTEMPTS = 10
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 10.0  # doubled from the first to the longest, by jitter halved at most
FAILURES = (OSError, BotoCoreError, ClientError, aiohttp.ClientError, IncompleteRead)
BROKEN = (
    HTTPClientError, NoConnectionError, ResponseParserError, aiohttp.ClientError, IncompleteRead, ConnectionError,
    TimeoutError,
)  # fmt: skip
SERVER_ERRORS = (500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524, 529)  # 501 and 505 stay as they are
PASSING = (
    "SlowDown", "SlowDownRead", "SlowDownWrite", "InternalError", "ServiceUnavailable", "RequestTimeout", "Throttling",
    "ThrottlingException", "RequestLimitExceeded", "BandwidthLimitExceeded", "OperationAborted",
    "ConditionalRequestConflict",
)  # fmt: skip
ALREADY_THERE = 412


class ObjectsLeftError(OSError):
    """The service removed some of the objects and says of others that it could not.

    Args:
        code: What it says of the first.
        count: How many are left.
    """

    def __init__(self, code: str, count: int) -> None:
        super().__init__(f"{count} objects were not removed ({code})")
        self.code = code


class SilentError(OSError):
    """The service gave no good answer in time. (fsspec would replace a ``TimeoutError`` by one without words.)"""


class PatientS3(S3FileSystem):  # type: ignore[misc]  # s3fs has no types
    """S3 whose requests are repeated while that may help.

    Args:
        attempts: How often a request is tried.
        limit_s: Longest time for a request with its repetitions, in seconds; None without limit.
    """

    retries = 1  # of s3fs's own layer

    def __init__(self, *args: Any, attempts: int = ATTEMPTS, limit_s: float | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.attempts, self.limit_s = attempts, limit_s
        self._home: asyncio.AbstractEventLoop | None = None  # where the client lives
        if self.asynchronous:  # s3fs closes the others
            atexit.register(self._close, os.getpid())

    def _close(self, pid: int) -> None:
        """End the connections, or aiohttp complains on the user's terminal."""
        if self._home is not None and self._home.is_running() and pid == os.getpid():
            closing = self._s3creator.__aexit__(None, None, None)
            with suppress(TimeoutError, AttributeError):  # without an answer in time, or never connected
                asyncio.run_coroutine_threadsafe(closing, self._home).result(timeout=2)

    async def _call_s3(self, method: str, *akwarglist: Any, **kwargs: Any) -> Any:
        try:
            return await self._patiently(lambda: S3FileSystem._call_s3(self, method, *akwarglist, **kwargs))
        except OSError as error:
            if "IfNoneMatch" in kwargs and status_of(error) == ALREADY_THERE:
                raise FileExistsError(str(error)) from error  # s3fs asks for an element that not all services send
            raise

    async def _cat_file(
        self, path: str, version_id: str | None = None, start: int | None = None, end: int | None = None, **_: Any
    ) -> bytes:
        """One request, where s3fs asks for the size first."""
        bucket, key, _version = self.split_path(path)
        part = {} if start is None and end is None else {"Range": await self._process_limits(path, start, end)}

        async def whole() -> bytes:
            answer = await S3FileSystem._call_s3(self, "get_object", Bucket=bucket, Key=key, **part)
            try:
                return bytes(await answer["Body"].read())
            finally:
                answer["Body"].close()

        return await self._patiently(whole)

    async def _bulk_delete(self, pathlist: list[str], **_: Any) -> list[str]:
        """Remove objects of one bucket, at most 1000; s3fs takes those that the service kept for removed."""
        if not pathlist:
            return []
        bucket = self.split_path(pathlist[0])[0]
        left = [self.split_path(path)[1] for path in pathlist]

        async def remove() -> None:
            wanted = {"Objects": [{"Key": key} for key in left], "Quiet": True}
            answer = await S3FileSystem._call_s3(self, "delete_objects", Bucket=bucket, Delete=wanted)
            if errors := answer.get("Errors"):
                left[:] = [error["Key"] for error in errors]
                raise ObjectsLeftError(errors[0].get("Code", ""), len(left))

        await self._patiently(remove)
        return list(pathlist)

    async def _patiently(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        try:
            async with asyncio.timeout(self.limit_s) as limit:
                return await self._again_and_again(call)
        except TimeoutError as error:
            if limit.expired():
                raise SilentError(f"no good answer within {self.limit_s:g} s") from error
            raise

    async def _again_and_again(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        self._home = asyncio.get_running_loop()
        wait_s = FIRST_WAIT_S
        for _ in range(self.attempts - 1):
            try:
                return await call()
            except FAILURES as error:
                if not may_pass(error):
                    raise
            await asyncio.sleep(wait_s * random.uniform(0.5, 1))  # noqa: S311 - spreads requests, hides nothing
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        return await call()


def may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, ObjectsLeftError):
        return error.code in PASSING
    answered = _answer(error)
    if answered is None:
        return isinstance(error, BROKEN)
    return status_of(error) in SERVER_ERRORS or answered.get("Error", {}).get("Code") in PASSING


def status_of(error: BaseException) -> int | None:
    """HTTP status of the answer that an error stands for, None if there was none."""
    answered = _answer(error)
    return None if answered is None else answered.get("ResponseMetadata", {}).get("HTTPStatusCode")


def _answer(error: BaseException) -> dict[str, Any] | None:
    source = error if isinstance(error, ClientError) else error.__cause__
    return dict(source.response) if isinstance(source, ClientError) else None
