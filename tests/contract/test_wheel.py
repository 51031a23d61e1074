"""The wheel, installed where nothing of this checkout is on the path."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from refsr.models.checkpoint import save_model
from refsr.models.compact import CompactRefsr
from refsr.version import __version__

ROOT = Path(__file__).parents[2]
BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE")
LOAD = """
import numpy, refsr
model = refsr.load("model.safetensors")
photo = numpy.full((8, 8, 3), 90, numpy.uint8)
print(model.upscale(photo, photo).shape, refsr.__file__)
"""


@dataclass
class Installed:
    """An environment of its own, and an empty folder to work in."""

    python: Path
    folder: Path

    def run(self, *command: str) -> str:
        """What a command prints."""
        environment = {"PATH": f"{self.python.parent}"}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a build leaves folders beside its source
    source.mkdir()
    for name in BUILT_FROM:
        shutil.copy(ROOT / name, source)
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("refsr", "components", "pipelines", "tools"):
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    _pip("wheel", *options, "--wheel-dir", str(folder), str(source))
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel and, beside it, this interpreter's libraries, but not its own refsr."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv/bin/python"
    _pip("--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel))
    (packages,) = (folder / "venv/lib").glob("python*/site-packages")
    # A path in a .pth is put at the end of sys.path, and .pth files of that folder are not read:
    # an editable install of refsr there stays without effect.
    libraries = sysconfig.get_paths()["purelib"]
    (packages / "libraries.pth").write_text(f"{libraries}\n")
    (folder / "empty").mkdir()
    return Installed(python, folder / "empty")


def _pip(*arguments: str) -> None:
    # With this checkout on PYTHONPATH, pip would take its egg-info for an installed refsr.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-m", "pip", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_wheel_holds_refsr_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name.split("/")[0] for name in archive.namelist()}
    assert names == {"refsr", f"refsr-{__version__}.dist-info"}


def test_templates_and_the_mark_of_types_are_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    files = {path for path in (ROOT / "refsr").rglob("*") if path.suffix in (".html", ".md")}
    files.add(ROOT / "refsr/py.typed")
    assert len(files) > 1
    assert {str(path.relative_to(ROOT)) for path in files} <= inside


def test_the_command_is_installed(installed: Installed) -> None:
    assert installed.run("refsr", "--version") == f"refsr {__version__}\n"
    by_module = installed.run(str(installed.python), "-m", "refsr", "--help")
    assert installed.run("refsr", "--help") == by_module
    assert "MACs" in installed.run("refsr", "describe", "--hr", "32")
    assert list(installed.folder.iterdir()) == []


def test_a_model_is_loaded_from_the_installed_package(installed: Installed) -> None:
    network = CompactRefsr(hr_size=32, scale=4, width=16, blocks=1)
    save_model(installed.folder / "model.safetensors", network)
    printed = installed.run(str(installed.python), "-c", LOAD)
    shape, file = printed.rsplit(" ", 1)
    assert shape == "(32, 32, 3)"
    assert Path(file).is_relative_to(installed.python.parents[1])
