"""A proxy before an S3 server that stalls, refuses and breaks off now and then."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator


class FaultyProxy(socketserver.ThreadingTCPServer):
    """Hands requests on to `port`, and listens on the port `at`, or on a free one.

    Every so many connections one is met with the next of `faults`, in turn: "500" answers with an
    error, "stall" says nothing until the client gives up, "break" ends amid the body.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int, faults: tuple[str, ...], every: int, at: int = 0) -> None:
        super().__init__(("127.0.0.1", at), _Handler)
        self.upstream, self.faults, self.every = port, faults, every
        self.met: list[str] = []
        self._connections = 0
        self._lock = threading.Lock()

    def next_fault(self) -> str:
        with self._lock:
            self._connections += 1
            if self._connections % self.every:
                return ""
            self.met.append(self.faults[len(self.met) % len(self.faults)])
            return self.met[-1]

    @contextlib.contextmanager
    def serving(self) -> Iterator[int]:
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self.server_address[1]
        finally:
            self.shutdown()
            self.server_close()
            thread.join()


class _Handler(socketserver.BaseRequestHandler):
    server: FaultyProxy

    def handle(self) -> None:
        """One request of one connection: the reply says it is the last,
        so that each meets its own fate.
        """
        request = self._request()
        fault = self.server.next_fault() if request else ""
        if not request:
            return
        if fault == "stall":
            self.request.settimeout(10)
            with contextlib.suppress(OSError):
                self.request.recv(1)  # until the client closes
        elif fault == "500":
            self.request.sendall(
                b"HTTP/1.1 500 Internal Server Error\r\n"
                b"Content-Length: 0\r\nConnection: close\r\n\r\n"
            )
        else:
            self._relay(request, fault)

    def _request(self) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self.request.recv(65536)
            if not piece:
                return b""
            data += piece
        return data.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)

    def _relay(self, request: bytes, fault: str) -> None:
        with (
            socket.create_connection(("127.0.0.1", self.server.upstream)) as upstream,
            contextlib.suppress(OSError),
        ):
            upstream.sendall(request)
            sent = 0
            while piece := upstream.recv(65536):
                if fault == "break" and (end := piece.find(b"\r\n\r\n")) >= 0 and not sent:
                    self.request.sendall(piece[: end + 4 + max(0, len(piece) - end - 4) // 2])
                    return
                self.request.sendall(piece)
                sent += len(piece)
