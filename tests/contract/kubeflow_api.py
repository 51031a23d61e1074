"""A simulated Kubeflow Pipelines API: it records requests and returns the responses it is given."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CLOSED = "http://127.0.0.1:9"  # the discard port; nothing listens on it


class Api(ThreadingHTTPServer):
    """The part of the Kubeflow Pipelines API in use:
    it records requests and returns `responses`.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Responses)
        self.requests: list[tuple[str, str, Any, str | None]] = []
        self.responses: dict[str, list[Any]] = {
            "POST experiments": [{"experiment_id": "e1"}],
            "POST runs": [{"run_id": "r1"}],
            "POST recurringruns": [{"recurring_run_id": "s1"}],
        }

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def sent(self, what: str) -> Any:
        """The body of the one request of this method and path."""
        (body,) = [body for method, path, body, _ in self.requests if f"{method} {path}" == what]
        return body


class Responses(BaseHTTPRequestHandler):
    server: Api

    def _respond(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0].removeprefix("/apis/v2beta1/")
        document = json.loads(body) if body.startswith(b"{") else body.decode()
        self.server.requests.append((method, path, document, self.headers.get("authorization")))
        responses = self.server.responses.get(f"{method} {path}", [{}])
        response = responses.pop(0) if len(responses) > 1 else responses[0]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(response).encode())

    def do_GET(self) -> None:
        self._respond("GET")

    def do_POST(self) -> None:
        self._respond("POST")

    def log_message(self, *_: object) -> None:
        """Print nothing."""
