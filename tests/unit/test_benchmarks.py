"""Every benchmark says what it does when asked for help, and does nothing then."""

import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py") if "__main__" in path.read_text())


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize(("option", "status"), [("--help", 0), ("--no-such-option", 2)])
def test_options_are_read_before_anything_is_measured(
    name: str,
    option: str,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setattr(sys, "argv", [name, option])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(FOLDER / name), run_name="__main__")
    assert caught.value.code == status
    said = capsys.readouterr()
    assert (said.out + said.err).startswith(f"usage: {name}")
