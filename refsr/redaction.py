"""Replace passwords and tokens by *** in all text that is printed, logged or stored."""

import argparse
import os
import re
import sys
from collections.abc import Iterator
from typing import IO, NoReturn
from urllib.parse import quote, quote_plus, unquote, unquote_plus

MASK = "***"
SHORTEST = 6  # characters of a secret that is also masked outside a URI
_NAMES = (
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "token",
    "secret",
    "api[_-]?key",
    "access[_-]?key",
    "signature",
    "credential",
)
_WORD = f"(?:{'|'.join(_NAMES)})"
_USERINFO = re.compile(r"((?:\b[a-z][a-z0-9+.-]*:)?//)([^\s\"<>]*)@", re.IGNORECASE)
_ASSIGNED = re.compile(rf"(?<![a-z])([\w.%-]*{_WORD}[\w.%-]*=)([^&\s'\"#;,)]+)", re.IGNORECASE)
_BEARER = re.compile(r"\b(bearer|basic)(\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
_SECRET_VARIABLE = re.compile(rf"{_WORD}$", re.IGNORECASE)
_SECRET_KEY = re.compile(_WORD, re.IGNORECASE)  # of a mapping
_FOLDERS = ("PWD", "OLDPWD")  # variables of the shell, not passwords
_HOST_AND_PATH = re.compile(r"[^:/?#]*(?::\d+)?[/?#]")
_LOCAL = ("sqlite://", "file://")
_TOKEN = re.compile(r"gh[a-z]_|github_pat_|glpat-|x-token")
_remembered: set[str] = set()


def hide(text: str) -> str:
    """Mask passwords and tokens in a text.

    Masked are the password in a URI, a user that is a token, values of parameters such as
    `?password=`, and secrets from the environment, the command line and `remember`.
    """
    text = _mask_userinfo(text)
    text = _ASSIGNED.sub(rf"\g<1>{MASK}", text)
    text = _BEARER.sub(rf"\g<1>\g<2>{MASK}", text)
    for secret in sorted(_known(), key=len, reverse=True):
        if secret in text:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", MASK, text)
    return text


def names_secret(text: str) -> bool:
    """Whether a key or a line names a secret: `password`, `api_key`, `secrets`, ..."""
    return _SECRET_KEY.search(text) is not None


def shown(value: object, *keys: object) -> str:
    """A value of a file, for a message: *** if a key above it or in it names a secret."""
    if any(names_secret(str(key)) for key in keys):
        return MASK
    return hide(repr(_without_secrets(value)))


def _without_secrets(value: object) -> object:
    if isinstance(value, list):
        return [_without_secrets(each) for each in value]
    if not isinstance(value, dict):
        return value
    masked = {key: MASK for key in value if names_secret(str(key))}
    return {key: masked.get(key) or _without_secrets(each) for key, each in value.items()}


def holds_secret(uri: str) -> bool:
    """Whether a URI contains a password or a token."""
    return bool(_secrets(uri)) or hide(uri) != uri


def without_userinfo(uri: str) -> str:
    """The URI without user and password, which urllib would read as part of the host name."""
    return re.sub(r"//[^/?#]*@", "//", uri, count=1)


def remember(uri: str) -> None:
    """Mask the password of this URI from now on, also if a driver prints it alone."""
    _remembered.update(_secrets(uri))


class Parser(argparse.ArgumentParser):
    """An argument parser whose messages mask passwords from the command line."""

    def error(self, message: str) -> NoReturn:
        """Print usage and message; exit with status 2."""
        super().error(hide(message))

    def _print_message(self, message: str, file: IO[str] | None = None) -> None:  # type: ignore[override]
        super()._print_message(hide(message), file)


def _mask_userinfo(text: str) -> str:
    return _USERINFO.sub(_masked, text)


def _masked(match: "re.Match[str]") -> str:
    scheme, userinfo = match.groups()
    user, colon, password = userinfo.partition(":")
    web = scheme.lower().endswith(("http://", "https://"))
    if scheme.lower() in _LOCAL or _is_path(scheme, userinfo):
        return f"{scheme}{_mask_userinfo(userinfo + '@')}"
    if web and not colon:
        return f"{scheme}{MASK}@"
    if not colon:
        return match[0]
    token = password in ("", "x-oauth-basic") or _TOKEN.match(user)
    return f"{scheme}{MASK if token else user}:{MASK}@"


def _is_path(scheme: str, userinfo: str) -> bool:
    """Whether the part before an @ is a host and a path: `http://host:80/refsr@champion`.

    In the URI of a database it is a password with a slash, because its path has no @.
    """
    if scheme.lower().startswith(("http", "s3", "//")):
        return _HOST_AND_PATH.match(userinfo) is not None
    return re.match(r"[^:]*/", userinfo) is not None


def _known() -> set[str]:
    secrets = set(_remembered)
    for name, value in os.environ.items():
        if _SECRET_VARIABLE.search(name) and name not in _FOLDERS:
            secrets.update(_spellings(value))
        elif "://" in value:
            secrets.update(_secrets(value))
    for argument in sys.argv[1:]:
        secrets.update(_secrets(argument))
    return {each for each in secrets if len(each) >= SHORTEST and MASK not in each}


def _secrets(text: str) -> set[str]:
    return {spelling for secret in _written(text) for spelling in _spellings(secret)}


def _written(text: str) -> Iterator[str]:
    for scheme, userinfo in _USERINFO.findall(text):
        user, colon, password = userinfo.partition(":")
        if scheme.lower() in _LOCAL or _is_path(scheme, userinfo):
            continue
        if colon and password != user:
            yield password
        if scheme.lower().startswith("http") and (not colon or password in ("", "x-oauth-basic")):
            yield user
    yield from (value for _, value in _ASSIGNED.findall(text))


def _spellings(secret: str) -> set[str]:
    """A secret as written, decoded, and encoded in both ways that drivers use."""
    plain = {secret, unquote(secret), unquote_plus(secret)}
    return plain | {quote(each, safe="") for each in plain} | {quote_plus(each) for each in plain}
