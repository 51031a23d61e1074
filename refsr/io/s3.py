"""Read S3 objects by ranges through boto3; requests have timeouts and retries.

The configuration is boto3's own: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_PROFILE and its files.
"""

import itertools
import os
import random
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
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
ATTEMPTS = 7  # of a request, before its error is raised
PATIENCE = 120.0  # least seconds of attempts at a server that answered before
TIMEOUT = 30.0  # seconds a server may be silent
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0  # seconds between attempts; doubled each time
_KEYS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE)"
_NO_OBJECT = "there is no such object; look for it with `aws s3 ls`"
_HINTS = {
    "NoSuchBucket": "there is no such bucket; name another, or set AWS_ENDPOINT_URL to its server",
    "NoSuchKey": _NO_OBJECT,
    "404": _NO_OBJECT,
    "403": f"the server denies access; {_KEYS} to keys that may read it",
    "416": "it is shorter than when it was listed; run again",
}

_TRANSIENT = (
    HTTPClientError,
    IncompleteReadError,
    ClientError,
    EndpointConnectionError,
    ConnectTimeoutError,
)
ERRORS = (BotoCoreError, ClientError, ValueError)  # raised by a client
ANSWERED = "REFSR_S3_ANSWERED"  # an environment variable, which worker processes inherit

T = TypeVar("T")


class Object(NamedTuple):
    """An object of a bucket: its key relative to the listed prefix, its size in bytes, its ETag."""

    key: str
    size: int
    etag: str


def head(uri: str) -> Object:
    """Size and ETag of an object. Raises RefsrError where it is missing or cannot be read."""
    bucket, key = _split(uri)
    facts = _request(uri, lambda client: client.head_object(Bucket=bucket, Key=key))
    return Object("", int(facts["ContentLength"]), str(facts["ETag"]))


def listing(uri: str) -> Iterator[Object]:
    """All objects under a prefix, sorted by key; `uri` ends in a slash."""
    bucket, prefix = _split(uri)
    where = {"Bucket": bucket, "Prefix": prefix}
    while True:
        page = _request(uri, partial(_list, where))
        for entry in page.get("Contents", []):
            key = entry["Key"].removeprefix(prefix)
            yield Object(key, int(entry["Size"]), str(entry["ETag"]))
        if not page.get("IsTruncated"):
            return
        where["ContinuationToken"] = page["NextContinuationToken"]


def _list(where: dict[str, str], client: Any) -> Any:
    return client.list_objects_v2(**where)


def read_range(uri: str, start: int, length: int) -> bytes:
    """`length` bytes of an object from `start` on. Raises RefsrError where it has fewer."""
    bucket, key = _split(uri)
    span = f"bytes={start}-{start + length - 1}"

    def get(client: Any) -> bytes:
        reply = client.get_object(Bucket=bucket, Key=key, Range=span)
        data: bytes = reply["Body"].read(length)  # a server without ranges sends the whole object
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
    return new_client(timeout=TIMEOUT)


def _request(uri: str, ask: Callable[[Any], T]) -> T:
    """Send a request; transient errors (5xx, timeouts, broken connections) are retried.

    There are ATTEMPTS at least, with growing pauses. A server that answered before is retried for
    PATIENCE seconds, also while it refuses connections. One that refuses the first connection is
    reported at once.
    """
    start = time.monotonic()
    for attempt in itertools.count(1):
        try:
            answer = ask(_client())
        except _TRANSIENT as error:
            patient = ANSWERED in os.environ and time.monotonic() - start < PATIENCE
            if not _is_transient(error) or (attempt >= ATTEMPTS and not patient):
                raise RefsrError(_explain(uri, error)) from error
        except (BotoCoreError, ValueError) as error:
            raise RefsrError(_explain(uri, error)) from error
        else:
            os.environ[ANSWERED] = "1"
            return answer
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (attempt - 1))
        time.sleep(pause * random.uniform(0.5, 1))
    raise AssertionError("an attempt returns or raises")


def _is_transient(error: Exception) -> bool:
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
        answer = f"the server answers {error}; run again when it works"
        return f"{uri}: {_HINTS.get(code) or _HINTS.get(status) or answer}"
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return f"{uri}: no S3 keys; {_KEYS}"
    if isinstance(error, _TRANSIENT):
        check = "check that the server is up and AWS_ENDPOINT_URL names it"
        return f"{uri}: {error}; {check}, then run again: extracted features are kept"
    return f"{uri}: {error}; check AWS_ENDPOINT_URL and the AWS configuration"
