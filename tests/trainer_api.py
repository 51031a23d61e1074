"""A simulated API of a cluster with Kubeflow Trainer: a test sets how TrainJobs end."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

PATH = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/faces/trainjobs"


def condition(kind: str, reason: str = "", message: str = "") -> dict[str, Any]:
    """A status with this one condition."""
    return {"conditions": [{"type": kind, "status": "True", "reason": reason, "message": message}]}


def jobs(active: int, ready: int) -> dict[str, Any]:
    """A status with the counts of the one Job of a TrainJob."""
    counts = {"active": active, "ready": ready, "succeeded": 0, "failed": 0, "suspended": 0}
    return {"jobsStatus": [{"name": "node"} | counts]}


def write_kubeconfig(path: Path, server: str) -> Path:
    """Write a kubeconfig whose current context is this server."""
    cluster = {"name": "c", "cluster": {"server": server}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    user = {"name": "u", "user": {"token": "t"}}
    document = {"apiVersion": "v1", "kind": "Config", "current-context": "c"}
    parts = {"clusters": [cluster], "contexts": [context], "users": [user]}
    path.write_text(yaml.safe_dump(document | parts))
    return path


class TrainerApi(ThreadingHTTPServer):
    """It stores the jobs that it receives, and records each request in `requests`.

    A request for a job returns the next of `statuses`; the last one repeats. A number is an HTTP
    status without a job. `train` runs once, when a status first has a condition.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Responses)
        self.jobs: dict[str, dict[str, Any]] = {}
        self.statuses: list[dict[str, Any] | int] = [{}]
        self.refusal: tuple[int, str] | None = None  # of a POST
        self.train: Callable[[dict[str, Any]], object] = lambda job: None
        self.created: list[dict[str, Any]] = []
        self.requests: list[str] = []

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig of this API."""
        return write_kubeconfig(path, f"http://127.0.0.1:{self.server_port}")

    def get(self, name: str) -> tuple[int, Any]:
        """The response to GET."""
        if name not in self.jobs:
            return 404, _refused(404, "not found")
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if isinstance(status, int):
            return status, _refused(status, "try again")
        job = self.jobs[name]
        if "conditions" in status:
            self.train(job)
            self.train = lambda job: None
        return 200, job | {"status": status}

    def create(self, job: dict[str, Any]) -> tuple[int, Any]:
        """The response to POST."""
        if self.refusal:
            return self.refusal[0], _refused(*self.refusal)
        self.created.append(job)
        self.jobs[job["metadata"]["name"]] = job
        return 201, job

    def delete(self, name: str) -> tuple[int, Any]:
        """The response to DELETE."""
        return (
            (200, self.jobs.pop(name)) if name in self.jobs else (404, _refused(404, "not found"))
        )


def _refused(code: int, message: str) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "message": message,
    }


class Responses(BaseHTTPRequestHandler):
    server: TrainerApi

    def _respond(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        name = url.path.removeprefix(PATH).strip("/")
        self.server.requests.append(f"{method} {name}?{url.query}")
        if not url.path.startswith(PATH):
            code, document = 404, _refused(404, "the server could not find the requested resource")
        elif method == "POST":
            code, document = self.server.create(json.loads(body))
        else:
            code, document = self.server.get(name) if method == "GET" else self.server.delete(name)
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())

    def do_GET(self) -> None:
        self._respond("GET")

    def do_POST(self) -> None:
        self._respond("POST")

    def do_DELETE(self) -> None:
        self._respond("DELETE")

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def serving() -> Iterator[TrainerApi]:
    """The API, while the block runs."""
    with TrainerApi() as api:
        threading.Thread(target=api.serve_forever, daemon=True).start()
        yield api
        api.shutdown()
