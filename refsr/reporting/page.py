"""HTML pages that are one file: a template beside this module, its pictures inside the page."""

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

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
