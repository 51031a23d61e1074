"""S3 objects read by ranges through boto3: every request is timed out and tried again, and every refusal explained.

The configuration is boto3's own: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE and its files.
"""

import itertools
import os
import random
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
)

from refsr.errors import RefsrError

SCHEME = "s3://"
ATTEMPTS = 7  # of a request before its fault is told
PATIENCE = 120.0  # seconds a server that answered before is waited for, whatever the attempts
TIMEOUT = 30.0  # seconds a server may be silent
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0  # seconds between attempts; doubled each time
_HINTS = {
    "NoSuchBucket": "there is no such bucket; name another, or set AWS_ENDPOINT_URL to the server that has it",
    "NoSuchKey": "there is no such object; look for it with `aws s3 ls`",
    "404": "there is no such object; look for it with `aws s3 ls`",
    "403": "the server denies access; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE) to keys that "
    "may read it",
    "416": "it is shorter than it was when it was listed; run again",
}

_PASSING = (HTTPClientError, IncompleteReadError, ClientError, EndpointConnectionError, ConnectTimeoutError)
ERRORS = (BotoCoreError, ClientError, ValueError)  # that a client raises
ANSWERED = "REFSR_S3_ANSWERED"  # a variable, so that worker processes started later know it too

T = TypeVar("T")


class Object(NamedTuple):
    """An object of a bucket: its key relative to what was listed, its size in bytes, and its ETag."""

    key: str
    size: int
    etag: str


def head(uri: str) -> Object:
    """Size and ETag of an object. Raises RefsrError where there is none or it may not be read."""
    bucket, key = _split(uri)
    facts = _request(uri, lambda client: client.head_object(Bucket=bucket, Key=key))
    return Object("", int(facts["ContentLength"]), str(facts["ETag"]))


def listing(uri: str) -> Iterator[Object]:
    """All objects under a prefix, `uri` ending in a slash, in the order of their keys."""
    bucket, prefix = _split(uri)
    token: dict[str, str] = {}
    while True:
        page = _request(uri, lambda client: client.list_objects_v2(Bucket=bucket, Prefix=prefix, **token))  # noqa: B023
        for found in page.get("Contents", []):
            yield Object(found["Key"].removeprefix(prefix), int(found["Size"]), str(found["ETag"]))
        if not page.get("IsTruncated"):
            return
        token = {"ContinuationToken": page["NextContinuationToken"]}


def read_range(uri: str, start: int, length: int) -> bytes:
    """`length` bytes of an object from `start` on, all of them."""
    bucket, key = _split(uri)

    def get(client: Any) -> bytes:
        reply = client.get_object(Bucket=bucket, Key=key, Range=f"bytes={start}-{start + length - 1}")
        data: bytes = reply["Body"].read(length)  # a server that knows no ranges sends all of it
        if len(data) < length:
            raise IncompleteReadError(actual_bytes=len(data), expected_bytes=length)
        return data[:length]

    return _request(uri, get) if length else b""


def _split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix(SCHEME).partition("/")
    if not bucket:
        raise RefsrError(f"{uri}: no bucket in it; s3://bucket/key is expected")
    return bucket, key


def new_client(
    endpoint: str | None = None,
    *,
    timeout: float = TIMEOUT,
    attempts: int = 1,
    **session: str,
) -> Any:
    """A client of S3; buckets are part of the path unless the server is Amazon's.

    Args:
        endpoint: URL of the server (default: as boto3 is configured).
        timeout: seconds to connect, and to wait for data.
        attempts: of a request, the first one included.
        session: arguments of boto3.Session, such as keys (default: as boto3 is configured).
    """
    config = Config(
        connect_timeout=timeout,
        read_timeout=timeout,
        retries={"total_max_attempts": attempts},
    )
    create = boto3.Session(**session).client
    client = create("s3", endpoint_url=endpoint, config=config)
    if "amazonaws.com" in client.meta.endpoint_url:
        return client
    config = config.merge(Config(s3={"addressing_style": "path"}))
    return create("s3", endpoint_url=endpoint, config=config)


@cache
def _client() -> Any:
    """The one client of this process."""
    return new_client()


def _request(uri: str, ask: Callable[[Any], T]) -> T:
    """The answer; what may pass (a 5xx, a stall, a broken connection) is tried ATTEMPTS times, ever more slowly.

    A server that has answered before is waited for PATIENCE seconds, also while it refuses connections. One that
    refuses the first connection of all is reported at once.
    """
    start = time.monotonic()
    for attempt in itertools.count(1):
        try:
            answer = ask(_client())
        except _PASSING as error:
            patient = ANSWERED in os.environ and time.monotonic() - start < PATIENCE
            if not _may_pass(error) or (attempt >= ATTEMPTS and not patient):
                raise RefsrError(_explain(uri, error)) from error
        except (BotoCoreError, ValueError) as error:
            raise RefsrError(_explain(uri, error)) from error
        else:
            os.environ[ANSWERED] = "1"
            return answer
        time.sleep(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (attempt - 1)) * random.uniform(0.5, 1))
    raise AssertionError("an attempt returns or raises")


def _may_pass(error: Exception) -> bool:
    if isinstance(error, EndpointConnectionError):
        return ANSWERED in os.environ
    if not isinstance(error, ClientError):
        return True
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return bool(status >= 500 or status == 429)


def _explain(uri: str, error: Exception) -> str:
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
        hint = _HINTS.get(code) or _HINTS.get(status) or f"the server answers {error}; run again once it is well"
        return f"{uri}: {hint}"
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return f"{uri}: no S3 keys; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE)"
    if isinstance(error, HTTPClientError | IncompleteReadError | EndpointConnectionError | ConnectTimeoutError):
        return (
            f"{uri}: {error}; see that the server is up and AWS_ENDPOINT_URL names it, then run "
            "again: what was measured is kept"
        )
    return f"{uri}: {error}; see AWS_ENDPOINT_URL and the AWS configuration"
