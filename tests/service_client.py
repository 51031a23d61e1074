"""The service on a free port of this machine, in a thread of the test."""

import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import urllib3
from PIL import Image

from refsr.service.following import Following
from refsr.service.server import server_of
from refsr.service.settings import Settings

File = tuple[str, bytes, str]  # name, content, type


class Client:
    """Calls one server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._pool = urllib3.PoolManager(retries=False, timeout=60, maxsize=8)

    def get(self, path: str, **headers: str) -> Any:
        """The answer of a path; `_` in a header's name is a hyphen."""
        return self._pool.request("GET", self.url + path, headers=_named(headers))

    def upscale(self, photo: bytes, *references: bytes, accept: str = "*/*", **options: str) -> Any:
        """The answer to a photo."""
        files = [("photo", file(photo)), *(("references", file(each)) for each in references)]
        fields = [*files, *options.items()]
        return self.post(fields, accept=accept)

    def post(self, fields: list[tuple[str, Any]], **headers: str) -> Any:
        """The answer to a form."""
        url = f"{self.url}/v1/upscale"
        return self._pool.request("POST", url, fields=fields, headers=_named(headers))

    def send(self, body: bytes, path: str = "/v1/upscale", **headers: str) -> Any:
        """The answer to a body of any content."""
        return self._pool.request("POST", self.url + path, body=body, headers=_named(headers))

    def until(self, path: str, condition: Callable[[str], bool], **headers: str) -> str:
        """What a path answers as soon as a condition holds."""
        for _ in range(1200):
            text = str(self.get(path, **headers).data, "utf-8")
            if condition(text):
                return text
            time.sleep(0.05)
        raise AssertionError(f"{path} still answers {text}")

    def half_sent(self, **headers: str) -> socket.socket:
        """A connection on which the first half of a request was sent."""
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        connection = socket.create_connection((host, int(port)), timeout=60)
        head = "POST /v1/upscale HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in _named(headers).items())
        kind = "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        connection.sendall((head + kind).encode())
        return connection


def noise(width: int, height: int) -> bytes:
    """A PNG."""
    rng = np.random.default_rng(0)
    target = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8)).save(target, "PNG")
    return target.getvalue()


SMALL = noise(12, 9)


@contextmanager
def serving(following: Following, **settings: Any) -> Iterator[Client]:
    """A server with these settings."""
    chosen = Settings(model="", poll=0.05, **settings)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = server_of(chosen, following)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}")
            client.until("/healthz", lambda text: "ok" in text)
            yield client
        finally:
            server.should_exit = True
            thread.join()


def file(content: bytes, name: str = "a.png") -> File:
    """A file of a form."""
    return name, content, "application/octet-stream"


def detail(answer: Any) -> str:
    """The sentence of an error."""
    document = json.loads(answer.data)
    assert set(document) == {"detail"}
    return str(document["detail"])


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
