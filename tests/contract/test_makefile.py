"""The Makefile: each target is there once, and every target that the documents name exists."""

import re
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
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "overriding" not in done.stderr
    assert RECIPES[target] in done.stdout


def test_every_target_that_the_documents_name_exists() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    named = {name for page in pages for name in re.findall(r"(?:^|`)make ([a-z0-9-]+)", page.read_text(), re.MULTILINE)}
    assert {"demo", "test", "k8s-check"} <= named <= set(TARGETS)
