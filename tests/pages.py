"""What must hold of an HTML page that is one file."""

import re
from html.parser import HTMLParser


class _Addresses(HTMLParser):
    """Everything a page points at, and the tags left open."""

    VOID = ("meta", "img", "br", "input")

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def pictures(text: str) -> list[str]:
    """The pictures of a page, as `data:` addresses;
    the page is well-formed and loads nothing from elsewhere.
    """
    page = _Addresses()
    page.feed(text)
    assert page.open == []
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert not re.search(r"<script[^>]*src=|<link|@import|url\(|https?://", text)
    return page.addresses
