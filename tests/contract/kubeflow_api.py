"""A simulated Kubeflow Pipelines API: it records requests and returns the responses it is given."""

import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CLOSED = "http://127.0.0.1:9"  # the discard port; nothing listens on it
# Statuses of gRPC by the HTTP status in which the server's gateway sends them.
GRPC_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6}
NEVER = "1970-01-01T00:00:00Z"  # `finished_at` of a run that has not ended, at a server of 2.17


def refusal(status: int, message: str) -> tuple[int, dict[str, Any]]:
    """An error as the server's gRPC gateway sends it (backend/src/common/util/error.go)."""
    code = GRPC_CODES[status]
    details = [{"@type": "type.googleapis.com/google.rpc.Status", "code": code, "message": message}]
    return status, {"error": message, "code": code, "message": message, "details": details}


def run_of(state: str, *tasks: tuple[str, str, int], error: str = "") -> dict[str, Any]:
    """A run as the API returns it; each task is (name, state, minutes)."""
    started = "2026-01-01T10:00:00Z"
    details = [
        {
            "display_name": name,
            "state": state,
            "start_time": started,
            "end_time": f"2026-01-01T10:{minutes:02}:00Z",
        }
        for name, state, minutes in tasks
    ]
    run = {
        "run_id": "r1",
        "display_name": "tiny",
        "state": state,
        "created_at": started,
        "finished_at": NEVER,
        "run_details": {"task_details": details},
    }
    return run | ({"error": {"code": 13, "message": error}} if error else {})


class Api(ThreadingHTTPServer):
    """The part of the Kubeflow Pipelines API in use:
    it records requests and returns `responses`; a pair is an HTTP status and a body, a text is a
    page, and after None the connection ends.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Responses)
        self.requests: list[tuple[str, str, Any, str | None]] = []
        self.responses: dict[str, list[Any]] = {
            "GET healthz": [{"commit_sha": "c0ffee", "multi_user": True}],
            "POST experiments": [{"experiment_id": "e1"}],
            "POST runs": [{"run_id": "r1"}],
            "POST recurringruns": [{"recurring_run_id": "s1"}],
            "POST pipelines": [{"pipeline_id": "p1"}],
            "POST pipelines/upload_version": [{"pipeline_id": "p1", "pipeline_version_id": "v1"}],
        }

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def sent(self, what: str) -> Any:
        """The body of the one request of this method and path."""
        (body,) = [body for method, path, body, _ in self.requests if f"{method} {path}" == what]
        return body

    def respond(self, what: str) -> tuple[int, Any]:
        """HTTP status and body of the next response; the last one repeats."""
        if what not in self.responses and (match := re.fullmatch(r"GET runs/(.+)", what)):
            missing = f"Failed to get a run: ResourceNotFoundError: Run {match[1]} not found"
            return refusal(404, missing)
        responses = self.responses.get(what, [{}])
        response = responses.pop(0) if len(responses) > 1 else responses[0]
        return response if isinstance(response, tuple) else (200, response)


class Responses(BaseHTTPRequestHandler):
    server: Api

    def _respond(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0].removeprefix("/apis/v2beta1/")
        document = json.loads(body) if body.startswith(b"{") else body.decode()
        self.server.requests.append((method, path, document, self.headers.get("authorization")))
        status, response = self.server.respond(f"{method} {path}")
        if response is None:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        text = response if isinstance(response, str) else json.dumps(response)
        self.wfile.write(text.encode())

    def do_GET(self) -> None:
        self._respond("GET")

    def do_POST(self) -> None:
        self._respond("POST")

    def log_message(self, *_: object) -> None:
        """Print nothing."""
