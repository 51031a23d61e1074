"""HTML pages that are one file: a template beside this module, its pictures inside the page."""

import base64
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from refsr.errors import RefsrError
from refsr.io.atomic import write_file
from refsr.io.output import check_file

_JPEG_QUALITY = 92
_FACTS = "<!-- facts -->"  # where a page takes what is known only after it was written


def render(template: str, **values: object) -> str:
    """A template of this folder, filled in; it may call `png_uri` and `jpeg_uri`.

    What it prints is escaped.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.globals |= {"png_uri": png_uri, "jpeg_uri": jpeg_uri}
    return environment.get_template(template).render(**values)


def check(output: Path, inputs: Iterable[tuple[str, Path]]) -> None:
    """Check that a page may be written there: only another page of refsr is replaced."""
    check_file(output, inputs, _is_page)


def _is_page(path: Path) -> bool:
    """Whether a file is a page of refsr, by its title."""
    with path.open("rb") as file:
        return b"<title>refsr: " in file.read(1000)


def save(page: str, output: Path) -> None:
    """Write a page. Raises RefsrError where it cannot be written."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_file(output, lambda partial: partial.write_text(page, encoding="utf-8"))
    except OSError as error:
        raise RefsrError(
            f"{output}: cannot be written: {error.strerror}; name another file with -o"
        ) from error


def with_facts(page: str, facts: Mapping[str, str]) -> str:
    """A finished page with facts below its title; one without a place for them stays as it is."""
    rows = "".join(f"<dt>{escape(key)}</dt><dd>{escape(text)}</dd>" for key, text in facts.items())
    return page.replace(_FACTS, f'<dl class="facts">{rows}</dl>', 1)


def png(picture: np.ndarray) -> bytes:
    """An RGB picture as a PNG file."""
    return bytes(cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))[1])


def png_uri(picture: np.ndarray) -> str:
    """An RGB picture as a PNG inside a `data:` address."""
    return "data:image/png;base64," + base64.b64encode(png(picture)).decode()


def jpeg_uri(picture: np.ndarray) -> str:
    """An RGB picture as a JPEG in a `data:` address: a fifth of the size of the PNG."""
    data = cv2.imencode(
        ".jpg",
        np.ascontiguousarray(picture[..., ::-1]),
        [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY],
    )[1]
    return "data:image/jpeg;base64," + base64.b64encode(bytes(data)).decode()
