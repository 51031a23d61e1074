"""A stand-in for the API of a cluster with Kubeflow Trainer: TrainJobs over HTTP, which end as a test says."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

PLACE = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/faces/trainjobs"


def condition(kind: str, reason: str = "", message: str = "") -> dict[str, Any]:
    """A status with this one condition."""
    return {"conditions": [{"type": kind, "status": "True", "reason": reason, "message": message}]}


def jobs(active: int, ready: int) -> dict[str, Any]:
    """A status that tells of the one Job a TrainJob is made of."""
    counts = {"active": active, "ready": ready, "succeeded": 0, "failed": 0, "suspended": 0}
    return {"jobsStatus": [{"name": "node"} | counts]}


class TrainerApi(ThreadingHTTPServer):
    """It keeps the jobs it is sent. Looked at, one tells the next of `statuses`, and the last of them for ever.

    A status that is a number is the API's own: no job is told of then. `train` is what a job does, once, when it is
    first told of with a condition. What the API was asked stands in `seen`.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.jobs: dict[str, dict[str, Any]] = {}
        self.statuses: list[dict[str, Any] | int] = [{}]
        self.refusal: tuple[int, str] | None = None  # of whoever wants to make a job
        self.train: Callable[[dict[str, Any]], object] = lambda job: None
        self.made: list[dict[str, Any]] = []
        self.seen: list[str] = []

    def kubeconfig(self, path: Path) -> Path:
        """Write how to reach it."""
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.server_port}"}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        user = {"name": "u", "user": {"token": "t"}}
        document = {"apiVersion": "v1", "kind": "Config", "current-context": "c"}
        path.write_text(yaml.safe_dump(document | {"clusters": [cluster], "contexts": [context], "users": [user]}))
        return path

    def look(self, name: str) -> tuple[int, Any]:
        """The answer to GET."""
        if name not in self.jobs:
            return 404, _refused(404, "not found")
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if isinstance(status, int):
            return status, _refused(status, "come again")
        job = self.jobs[name]
        if "conditions" in status:
            self.train(job)
            self.train = lambda job: None
        return 200, job | {"status": status}

    def make(self, job: dict[str, Any]) -> tuple[int, Any]:
        """The answer to POST."""
        if self.refusal:
            return self.refusal[0], _refused(*self.refusal)
        self.made.append(job)
        self.jobs[job["metadata"]["name"]] = job
        return 201, job

    def delete(self, name: str) -> tuple[int, Any]:
        """The answer to DELETE."""
        return (200, self.jobs.pop(name)) if name in self.jobs else (404, _refused(404, "not found"))


def _refused(code: int, message: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}


class Answers(BaseHTTPRequestHandler):
    server: TrainerApi

    def _answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        name = url.path.removeprefix(PLACE).strip("/")
        self.server.seen.append(f"{method} {name}?{url.query}")
        if not url.path.startswith(PLACE):
            code, answer = 404, _refused(404, "the server could not find the requested resource")
        elif method == "POST":
            code, answer = self.server.make(json.loads(body))
        else:
            code, answer = self.server.look(name) if method == "GET" else self.server.delete(name)
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[TrainerApi]:
    """The stand-in, while the block runs."""
    with TrainerApi() as api:
        threading.Thread(target=api.serve_forever, daemon=True).start()
        yield api
        api.shutdown()
