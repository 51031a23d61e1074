"""The types of a cluster file: values that Kubernetes would refuse are refused here, by name."""

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from refsr.io.servers import is_http
from refsr.parameter_types import Whole

YEARS = 10 * 365 * 24 * 60  # minutes; Argo counts the seconds in 32 bits
LARGEST_USER = 2**31 - 1
# Folders of the image and of Kubeflow's launcher: a volume there would hide what a task needs.
TAKEN = [
    "bin",
    "dev",
    "etc",
    "gcs",
    "kfp-launcher",
    "lib",
    "lib64",
    "minio",
    "opt",
    "proc",
    "run",
    "s3",
    "sbin",
    "sys",
    "tmp",
    "usr",
    "var",
]

_LABEL = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_WORD = "[A-Za-z0-9](?:[-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?"
OBJECT_NAME = rf"^{_LABEL}$"  # of a namespace


def _number_as_text(value: object) -> object:
    """`cpu: 4` of a YAML file is a number."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:g}" if is_number else value


def _not_zero(text: str) -> str:
    if not re.search("[1-9]", text):
        raise ValueError("more than 0")
    return text


def _matching(pattern: str, expected: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise ValueError(expected)
        return text

    return check


def _mount(path: str) -> str:
    if not re.fullmatch(r"(?:/\w[\w.-]*)+", path, re.ASCII):
        raise ValueError("an absolute path such as /state, of letters, digits, _, - and .")
    first = path.split("/")[1]
    if first in TAKEN:
        raise ValueError(f"a path outside /{first}, which the pod has already, as /state")
    return path


def _page(url: str) -> str:
    if not is_http(url) or not re.fullmatch(r"[^\s@]+[^/\s@]", url):
        raise ValueError("an http(s):// URL without a password and without a slash at the end")
    return url


def _text(pattern: str, expected: str) -> AfterValidator:
    return AfterValidator(_matching(pattern, expected))


_CORES = r"\d{1,6}(?:\.\d{1,3}|m)?"
Cpu = Annotated[
    str,
    BeforeValidator(_number_as_text),
    _text(_CORES, 'cores as "4" or "0.5", or thousandths as "500m"'),
    AfterValidator(_not_zero),
]
Bytes = Annotated[
    str,
    _text(r"\d{1,6}(?:Mi|Gi|Ti)", "a size as 512Mi, 16Gi or 1Ti"),
    AfterValidator(_not_zero),
]
Name = Annotated[  # of a Secret or a claim
    str,
    Field(max_length=253),
    _text(_SUBDOMAIN, "a Kubernetes name: a-z, 0-9, - and ."),
]
Variable = Annotated[str, _text("[A-Za-z_][A-Za-z0-9_]*", "an environment variable: A-Z, 0-9, _")]
SecretKey = Annotated[str, _text("[-._A-Za-z0-9]{1,253}", "a key of a Secret: A-Z, a-z, 0-9, -_.")]
LabelKey = Annotated[
    str,
    _text(rf"(?:{_SUBDOMAIN}/)?{_WORD}", "a key such as pool or example.com/pool"),
]
LabelValue = Annotated[
    str,
    _text(f"(?:{_WORD})?", "at most 63 of A-Z, a-z, 0-9 and, between them, -_."),
]
Resource = Annotated[
    str,
    _text(rf"{_SUBDOMAIN}/{_WORD}", "an extended resource such as nvidia.com/gpu"),
]
MountPath = Annotated[str, AfterValidator(_mount)]
Page = Annotated[str, AfterValidator(_page)]
Gpus = Annotated[Whole, Field(ge=0, le=1024)]
Retries = Annotated[Whole, Field(ge=0, le=100)]
Minutes = Annotated[Whole, Field(ge=1, le=YEARS)]
UserId = Annotated[Whole, Field(ge=1, le=LARGEST_USER)]
Shards = Annotated[Whole, Field(ge=1, le=1000)]
