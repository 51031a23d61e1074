"""The Makefile: each target is there once, and every target that the documents name exists."""

import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Makefile").read_text()
TARGETS = re.findall(r"^([a-z0-9-]+):.*##", TEXT, re.MULTILINE)
PHONY = re.search(r"^\.PHONY:((?:.*\\\n)*.*)", TEXT, re.MULTILINE)
# What a recipe is known by; a target that got the recipe of another is noticed.
RECIPES = {
    "demo": "dvc repro register",
    "pipeline-local": "pipelines.local",
    "pipeline-docker": "tools.docker",
    "k8s-check": "tools.manifests",
    "test": "-m pytest",
    "fuzz": "-m fuzzing",
    "api-fuzz": "schemathesis",
    "drills": "tests/kill_drills.py",
    "check": "lint-imports",
    "format": "ruff check --fix",
}


def test_each_target_is_defined_once_and_declared() -> None:
    assert PHONY
    assert [name for name, count in Counter(TARGETS).items() if count > 1] == []
    assert set(TARGETS) == set(PHONY[1].replace("\\", " ").split())


@pytest.mark.parametrize("target", RECIPES)
def test_a_target_runs_its_own_recipe(target: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "overriding" not in done.stderr
    assert RECIPES[target] in done.stdout


def test_every_target_that_the_documents_name_exists() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    named = {
        name
        for page in pages
        for name in re.findall(r"(?:^|`)make ([a-z0-9-]+)", page.read_text(), re.MULTILINE)
    }
    assert {"demo", "test", "k8s-check"} <= named <= set(TARGETS)


# Every variable a user may set, and a target whose recipe uses it.
VARIABLES = {
    "PYTHON": "setup",
    "TARGET": "images",
    "BASE": "pipeline-docker",
    "REGISTRY": "push",
    "MIRROR": "image-base",
    "CONTAINER_ENGINE": "image-base",
    "TORCH": "lock",
    "LOCK_UPGRADE": "lock",
    "SECONDS": "fuzz",
    "SEED": "fuzz",
    "URL": "api-fuzz",
    "KILLS": "drills",
}
MORE = [
    ("BASE", "images"),
    ("BASE", "push"),
    ("TARGET", "push"),
    ("TARGET", "audit"),
    ("SEED", "drills"),
]
HOSTILE = [
    "a b",
    'it\'s "x"',
    "x;touch X",
    "$(touch X)",
    "$$(touch X)",
    "`touch X`",
    "$(shell touch X)",
    "x\ntouch X",
]
WORDS = ("TORCH", "LOCK_UPGRADE")  # several options in one variable, parted at spaces


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """The Makefile among programs that only write down what they are given."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "constraints.txt", "weights.txt"):
        (tmp_path / name).write_text("torch==1\n")
    (tmp_path / "containers").mkdir()
    for name in ("build", "cpu", "gpu"):
        (tmp_path / f"containers/{name}.lock").write_text("a==1\n")
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    (tmp_path / ".venv/ready").touch()
    for name in ("python", "uv", "debootstrap", "podman"):
        (programs / name).write_text(f'#!/bin/sh\nprintf \'%s\\0\' "$0" "$@" >> {tmp_path}/given\n')
        (programs / name).chmod(0o755)
    return tmp_path


def test_every_variable_of_a_user_is_tested() -> None:
    named = set(re.findall(r"^override export \w+ := \$\(value (\w+)\)", TEXT, re.MULTILINE))
    assert named == set(VARIABLES)
    assert not re.findall(
        rf"^\t.*\$\(?(?:{'|'.join(VARIABLES)})\b", TEXT.replace("$$", ""), re.MULTILINE
    )


@pytest.mark.parametrize("way", ["command line", "environment"])
@pytest.mark.parametrize(("name", "target"), [*VARIABLES.items(), *MORE])
def test_no_value_of_a_user_is_run(
    scratch: Path,
    name: str,
    target: str,
    way: str,
) -> None:
    for value in HOSTILE:
        if target == "setup":
            (scratch / ".venv/ready").unlink(missing_ok=True)
        (scratch / "given").write_text("")
        given = {"REGISTRY": "r.example"} | {name: value}
        words = [f"{key}={text}" for key, text in given.items()] if way == "command line" else []
        subprocess.run(
            ["make", target, *words], cwd=scratch, capture_output=True, env=os.environ | given
        )
        seen = (scratch / "given").read_text()
        assert not list(scratch.rglob("X")), value
        if name not in (*WORDS, "PYTHON", "CONTAINER_ENGINE") and target != "audit":
            assert value in seen.split("\0"), (value, seen)
