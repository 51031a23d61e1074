"""The page of the service, in a real browser."""

import re
from pathlib import Path

import numpy as np
from browser import Page, chromium
from PIL import Image
from service_client import Client, serving

from refsr.models.checkpoint import save_model
from refsr.models.compact import CompactRefsr
from refsr.service.following import Following
from refsr.service.pages import policy
from refsr.service.settings import Settings

TOKEN = "0123456789abcdef"  # noqa: S105
RESULT = "document.getElementById('status').textContent === 'Done.'"


def test_the_page_enlarges_the_example_by_the_keyboard_alone(tmp_path: Path) -> None:
    save_model(tmp_path / "model", CompactRefsr(hr_size=32, scale=4, width=16, blocks=1))
    following = Following(Settings(model=str(tmp_path / "model")), lambda _: None)
    Image.fromarray(np.full((9, 12, 3), 90, np.uint8)).save(tmp_path / "own.png")
    with (
        serving(following, token=TOKEN) as client,
        chromium(tmp_path / "profile") as page,
    ):
        page.view(1200, 900)
        page.open(f"{client.url}/")
        _use_the_example(page)
        _compare(page)
        _use_own_photo(page, tmp_path / "own.png")
        _draw_others(page)
        _look(page, tmp_path)
        assert all(url.startswith((client.url, f"blob:{client.url}")) for url in page.requested())
        refused = [each for each in page.faults() if "401" not in str(each)]
        assert refused == []
        _keeps_to_its_policy(page, client)


def _use_the_example(page: Page) -> None:
    """Tab to the button, press it, write the token that is asked for, and go on."""
    page.press("Tab", 9)
    assert page.run("document.activeElement.id") == "example"
    page.press("Enter", 13, "\r")
    page.until("!at('token-row').hidden && document.activeElement.id === 'token'")
    assert "rendered" in page.run("at('rendered').innerText")
    page.call("Input.insertText", text=TOKEN)
    page.press("Enter", 13, "\r")
    page.until(RESULT)
    assert "a guess" in page.run("at('guess').innerText")
    assert page.run("document.querySelectorAll('.box').length") == 1
    assert "was restored" in page.run("at('facts').innerText")
    page.until("at('after').naturalWidth > at('before').naturalWidth")
    assert page.run("at('save').href").startswith("blob:")


def _compare(page: Page) -> None:
    page.run("at('slider').focus()")
    page.press("Home", 36)
    assert page.run("at('before').style.clipPath") == "inset(0px 100% 0px 0px)"
    page.press("End", 35)
    assert page.run("at('before').style.clipPath") == "inset(0px 0% 0px 0px)"


def _use_own_photo(page: Page, path: Path) -> None:
    """Choose a file, without references."""
    page.run(
        "[...document.querySelectorAll('#reference-thumbs button')].map(() => "
        "document.querySelector('#reference-thumbs button').click()).length"
    )
    document = page.call("DOM.getDocument")["root"]["nodeId"]
    chosen = page.call("DOM.querySelector", nodeId=document, selector="#photo")["nodeId"]
    page.call("DOM.setFileInputFiles", nodeId=chosen, files=[str(path)])
    page.until("chosen.photo[0].name === 'own.png' && at('rendered').hidden")
    page.run("at('crop').click(); at('go').click()")
    page.until("at('before').naturalWidth === 12")
    page.until(RESULT)


def _draw_others(page: Page) -> None:
    """Each request asks for a face of its own."""
    asked = "[...form().entries()].slice(-2).join(' ')"
    page.run("at('sample').click()")
    assert [page.run(asked) for _ in "12"] == ["temperature,1 seed,1", "temperature,1 seed,2"]
    page.run("at('sample').click()")
    assert "temperature" not in page.run(asked)


def _look(page: Page, folder: Path) -> None:
    """In a dark room and on a phone nothing is cut, and the colours change."""
    colours = set()
    for scheme in ("light", "dark"):
        page.view(360, 800, scheme)
        assert page.run("document.documentElement.scrollWidth") <= 360
        page.picture(folder / f"{scheme}.png")
        with Image.open(folder / f"{scheme}.png") as image:
            colours.add(image.convert("RGB").getpixel((2, 2)))
    assert len(colours) == 2


def _keeps_to_its_policy(page: Page, client: Client) -> None:
    """A script that is not the page's own does not run."""
    page.run(
        "document.body.append(Object.assign(document.createElement('script'), "
        "{textContent: 'window.strange = 1'}))"
    )
    assert page.run("window.strange") is None
    served = client.get("/").headers["content-security-policy"]
    assert "'unsafe" not in served and "http" not in served
    assert re.findall(r"default-src ('\w+')", served) == ["'none'"]


def test_a_policy_allows_what_a_page_holds_and_no_more() -> None:
    with_script = policy("<script>1</script><style>a</style>")
    assert with_script.count("'sha256-") == 2
    assert "script-src 'none'" in policy("<p>")
