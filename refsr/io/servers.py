"""Whether a server answers at all, before a client that retries for minutes is asked."""

from http.client import HTTPException
from urllib.error import HTTPError
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
