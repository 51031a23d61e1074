"""What `refsr serve` is set to."""

from dataclasses import dataclass, field

LOOPBACK = ("127.0.0.1", "::1", "localhost")
MAX_REFERENCES = 4


@dataclass(frozen=True)
class Settings:
    """Limits and addresses of one server.

    Attributes:
        model: A file, a folder, models:/NAME@ALIAS or models:/NAME/VERSION.
        host: The address that is listened on.
        port: Its port; 0 is a free one.
        token: What clients of /v1 and /metrics send as bearer token; empty: nothing.
        queue: Requests that wait or run; one more is answered with 429.
        threads: Requests that run at once; on a GPU their faces go through the network together.
        timeout: Seconds for a request, from its first byte to its answer.
        max_bytes: Of the body of a request.
        max_pixels: Of each photo in it; checked before a pixel is decoded.
        poll: Seconds between two looks at the alias.
        device: See `refsr.load`.
        realism: Likewise.
    """

    model: str
    host: str = LOOPBACK[0]
    port: int = 8000
    token: str = field(default="", repr=False)
    queue: int = 8
    threads: int = 1
    timeout: float = 60.0
    max_bytes: int = 32 * 2**20
    max_pixels: int = 25_000_000
    poll: float = 10.0
    device: str = "cpu"
    realism: float = 0.0
