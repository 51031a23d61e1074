"""The HTML pages: files of this package, complete in themselves."""

import base64
import hashlib
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

_FOLDER = Path(__file__).parent


class Page:
    """A page that may run and show only what it holds, and call this server alone."""

    def __init__(self, name: str) -> None:
        self._text = (_FOLDER / name).read_text(encoding="utf-8")
        self._headers = {"Content-Security-Policy": policy(self._text)}

    async def answer(self, request: Request) -> Response:
        """The page."""
        return HTMLResponse(self._text, headers=self._headers)


def policy(text: str) -> str:
    """The Content-Security-Policy of a page: its own script and style by their hashes."""
    rules = {
        "default-src": "'none'",
        "script-src": _hashes(text, "script"),
        "style-src": _hashes(text, "style"),
        "img-src": "'self' blob: data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _hashes(text: str, tag: str) -> str:
    """The hash of each element of this name; 'none' without one."""
    bodies = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    digests = [hashlib.sha256(body.encode()).digest() for body in bodies]
    hashes = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
    return " ".join(hashes) or "'none'"
