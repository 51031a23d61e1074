"""Every benchmark says what it does when asked for help, and does nothing then; some run."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import make_curated

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


@pytest.mark.parametrize(
    ("name", "chosen", "lines"),
    [
        (
            "peers.py",
            ["--models", "edsr", "sisr_equal", "masa"],
            {"bicubic", "edsr", "sisr_equal", "masa"},
        ),
        ("ablations.py", ["--cases", "no latent variable"], {"compact", "no latent variable"}),
    ],
)
def test_networks_are_trained_and_measured_alike(
    tmp_path: Path,
    name: str,
    chosen: list[str],
    lines: set[str],
) -> None:
    curated = make_curated(tmp_path / "curated", identities=8, images=2, train=6, validation=2)
    options = ["--curated", str(curated), "--output", str(tmp_path / "out"), "--steps", "2"]
    command = [sys.executable, str(FOLDER / name), *options, *chosen]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    measured = json.loads(result.stdout.splitlines()[-1])
    assert measured.keys() == lines
    assert "edsr" not in lines or measured["masa"]["macs"] > measured["edsr"]["macs"]
