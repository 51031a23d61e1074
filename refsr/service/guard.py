"""What a request must pass before its body is read: token, size, a place, and a time limit."""

import asyncio
import contextlib
import hmac
import logging
import time
from collections.abc import Mapping

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from refsr.service.metrics import Metrics
from refsr.service.settings import Settings
from refsr.service.worker import Place, Worker

_logger = logging.getLogger(__name__)
PLACE = "refsr.place"  # of a request's scope
FIELDS = "refsr.fields"  # of a request's scope: what its log line says beside
_DROPPED = 64 * 2**20  # bytes of a refused body that are read, at most
_LINGER = 2.0  # seconds of that, at most
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Guard:
    """Around the application: it refuses, counts and logs.

    Args:
        app: The application.
        settings: The limits.
        worker: Has the places.
        metrics: Counts every answer.
        paths: Those of the application; others are not logged by name.
        queued: The paths whose requests need a place.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        worker: Worker,
        metrics: Metrics,
        paths: frozenset[str],
        queued: frozenset[str],
    ) -> None:
        self._app, self._settings = app, settings
        self._worker, self._metrics = worker, metrics
        self._paths, self._queued = paths, queued

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, answer = time.monotonic(), _Answer(send)
        scope[FIELDS] = {}
        try:
            await self._checked(scope, receive, answer)
        finally:
            self._record(scope, answer.status, time.monotonic() - began)

    async def _checked(self, scope: Scope, receive: Receive, send: "_Answer") -> None:
        headers, path = Headers(scope=scope), scope["path"]
        if self._is_closed(path) and not self._is_allowed(headers):
            detail = "send the header `Authorization: Bearer TOKEN` with the token of this server"
            await _refuse(send, scope, 401, detail, {"WWW-Authenticate": "Bearer"})
            return
        if _length(headers) > self._settings.max_bytes:
            detail = _too_large(self._settings.max_bytes)
            await _refuse_body(receive, send, scope, 413, detail, {})
            return
        if path in self._queued and scope["method"] == "POST":
            await self._in_turn(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _in_turn(self, scope: Scope, receive: Receive, send: "_Answer") -> None:
        place = self._worker.enter()
        if place is None:
            detail = "the server is busy: try again after the seconds of the header Retry-After"
            await _refuse(send, scope, 429, detail, self._later())
            return
        scope[PLACE] = place
        try:
            await self._in_time(scope, receive, send)
        finally:
            place.leave()

    async def _in_time(self, scope: Scope, receive: Receive, send: "_Answer") -> None:
        seconds, most = self._settings.timeout, self._settings.max_bytes
        body = _Body(receive, most)
        try:
            async with asyncio.timeout(seconds):
                await self._app(scope, body, send)
        except TimeoutError:
            if send.status is None:
                detail = f"there was no result within {seconds:g} s: try again later"
                await _refuse_body(receive, send, scope, 503, detail, self._later())

    def _later(self) -> dict[str, str]:
        return {"Retry-After": str(self._worker.wait)}

    def _is_closed(self, path: str) -> bool:
        return path in self._queued or path.startswith("/v1/") or path == "/metrics"

    def _is_allowed(self, headers: Headers) -> bool:
        """Whether the token is right; compared in a time that says nothing of it."""
        token = self._settings.token
        if not token:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(given.strip().encode(), token.encode())
        return same and scheme.lower() == "bearer"

    def _record(self, scope: Scope, status: int | None, seconds: float) -> None:
        path = scope["path"] if scope["path"] in self._paths else "other"
        code = status or 499  # the client went before the answer
        self._metrics.answered(path, code, seconds)
        fields = {"method": scope["method"], "path": path, "status": code}
        fields |= {"seconds": round(seconds, 3), **scope[FIELDS]}
        level = logging.INFO if path in self._queued else logging.DEBUG
        _logger.log(level, "answered", extra={"fields": fields})


class _Answer:
    """Sends, and knows the status; every answer gets the headers of all."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)


class _Body:
    """Receives at most so many bytes, whatever length was announced."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._most = receive, most
        self._read = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._read += len(message.get("body", b""))
        if self._read > self._most:
            await _drop_rest(self._receive)
            raise HTTPException(413, _too_large(self._most), {"Connection": "close"})
        return message


def place_of(scope: Scope) -> Place:
    """The place of a request that has one."""
    place: Place = scope[PLACE]
    return place


def problem(scope: Scope, detail: str) -> dict[str, str]:
    """The body of an error; the Open Inference Protocol has a name of its own for it."""
    return {"error" if scope["path"].startswith("/v2") else "detail": detail}


def _length(headers: Headers) -> int:
    """The announced length of the body; h11 has refused what is no number."""
    return int(headers.get("content-length", "0"))


def _too_large(most: int) -> str:
    return f"the request is too large: at most {most:,} bytes are read"


async def _refuse(
    send: Send, scope: Scope, status: int, detail: str, headers: Mapping[str, str]
) -> None:
    response = JSONResponse(problem(scope, detail), status, headers)
    await response(scope, _nothing, send)


async def _refuse_body(
    receive: Receive, send: Send, scope: Scope, status: int, detail: str, headers: Mapping[str, str]
) -> None:
    """Answer before the body was read, and end the connection."""
    response = JSONResponse(problem(scope, detail), status, {**headers, "Connection": "close"})
    start = {"type": "http.response.start", "status": status, "headers": response.raw_headers}
    await send(start)
    await send({"type": "http.response.body", "body": bytes(response.body), "more_body": True})
    await _drop_rest(receive)
    await send({"type": "http.response.body", "body": b""})


async def _drop_rest(receive: Receive) -> None:
    """Read some of the rest of a body.

    A client that is still sending would be cut off before it reads the answer.
    """
    read, more = 0, True
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER):
            while more and read < _DROPPED:
                message = await receive()
                read += len(message.get("body", b""))
                more = message.get("more_body", False)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
