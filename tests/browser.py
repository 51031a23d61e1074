"""A real Chromium, driven by its DevTools protocol."""

import base64
import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3
import websocket

_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
)
_POLL = """new Promise((resolve, reject) => {
  let left = 600;
  const look = () => (%s) ? resolve(true) : left-- ? setTimeout(look, 50) : reject("never: %s");
  look();
})"""


class Page:
    """One tab."""

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(address, timeout=60)
        self._numbers = itertools.count(1)
        self.events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """What a method of the protocol returns; events that come meanwhile are kept."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message: dict[str, Any] = json.loads(self._socket.recv())
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self.events.append(message)

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript; a promise is waited for."""
        done = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until an expression is true."""
        self.run(_POLL % (condition, condition.replace('"', "'")))

    def open(self, url: str) -> None:
        """Go to a page."""
        self.call("Page.navigate", url=url)
        self.until(f'document.readyState === "complete" && location.href.startsWith("{url}")')

    def view(self, width: int, height: int, scheme: str = "light") -> None:
        """The size of the window, and light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press and release a key."""
        about: Mapping[str, object] = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        typed = {"text": text} if text else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **about, **typed)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def picture(self, path: Path) -> None:
        """Save what the whole page shows as a PNG."""
        made = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(made["data"]))

    def requested(self) -> list[str]:
        """The addresses of all requests."""
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def faults(self) -> list[Any]:
        """Errors of scripts, and what a policy or the network refused."""
        return [
            event["params"]
            for event in self.events
            if event["method"] == "Runtime.exceptionThrown"
            or (
                event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error"
            )
        ]


@contextmanager
def chromium(folder: Path) -> Iterator[Page]:
    """A tab of a browser of its own; the test is skipped where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("NOT TESTED, the page in a browser: chromium is not on the PATH")
    command = [program, *_OPTIONS, f"--user-data-dir={folder}", "about:blank"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            page = Page(_address(process))
            yield page
            page.close()
        finally:
            process.terminate()


def _address(process: "subprocess.Popen[str]") -> str:
    """Of the first tab, by the port that the browser names on stderr."""
    assert process.stderr is not None
    for line in process.stderr:
        if match := re.search(r"ws://([\d.]+:\d+)/", line):
            tabs = urllib3.request("GET", f"http://{match[1]}/json/list").json()
            return str(next(tab for tab in tabs if tab["type"] == "page")["webSocketDebuggerUrl"])
    raise AssertionError("the browser ended")
