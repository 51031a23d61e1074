"""Whether a server answers at all, before a client that retries for minutes is asked."""

import re
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen


def no_answer(url: str, timeout: float) -> Exception | None:
    """The error with which a server fails to answer; None where it answers, with any status.

    Args:
        url: http(s)://..., without a password.
        timeout: Seconds to wait.
    """
    try:
        urlopen(url, timeout=timeout).close()  # noqa: S310 - callers check the scheme
    except HTTPError:
        return None  # an error status is an answer
    except (OSError, HTTPException) as error:
        return error
    return None


def is_url(text: str, *schemes: str) -> bool:
    """Whether a text is a URL of one of these schemes with a host; a port must be a number."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:  # "http://[::1", "http://mlflow:port"
        return False
    return parts.scheme in schemes and bool(host) and port != 0 and " " not in parts.netloc


def is_http(text: str) -> bool:
    """Whether a text is an http:// or https:// URL."""
    return is_url(text, "http", "https")


def is_server(text: str) -> bool:
    """Whether a text is the URL of a server, not of a page that a browser shows: http://h/#/runs."""
    return is_http(text) and not re.search(r"[?#\s]", text)
