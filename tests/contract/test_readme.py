"""What the README and the how-to pages tell a reader to type exists."""

import re
import subprocess
from pathlib import Path

import pytest

from pipelines.cli import main as pipelines
from refsr.__main__ import main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _code(page: Path) -> str:
    return "\n".join(re.findall(r"^```.*?$(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    subcommands = set(re.findall(r"^    ([\w-]+)", capsys.readouterr().out, re.MULTILINE))
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    code = _code(page)
    called = re.findall(r"^(?:python -m )?refsr (?:-\S+ )*([a-z][\w-]*)", code, re.MULTILINE)
    called += re.findall(r"python -m refsr ([a-z][\w-]*)", code)
    added = {"census"} if page.name == "extend.md" else set()  # the stage that this page adds
    assert set(called) <= subcommands | added
    with pytest.raises(SystemExit):
        pipelines(["--help"])
    verbs = set(re.findall(r"^    ([\w-]+)", capsys.readouterr().out, re.MULTILINE))
    assert set(re.findall(r"python -m pipelines ([a-z]+)", code)) <= verbs
    assert set(re.findall(r"^make ([a-z0-9-]+)", code, re.MULTILINE)) <= targets
    for name in re.findall(r"\bparams/\w+\.yaml\b", code):
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_annotated_tree_names_what_is_there() -> None:
    tree = re.search(
        r"## Where things are\s+```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    assert tree is not None
    for line in tree[1].splitlines():
        name = line.split()[0]
        assert (ROOT / ("refsr" if line.startswith("  ") else "") / name).exists(), name


def test_help_of_every_make_target() -> None:
    done = subprocess.run(["make", "help"], capture_output=True, text=True, check=True, cwd=ROOT)
    for target in ("setup", "demo", "test", "check"):
        assert re.search(rf"^{target}\b", done.stdout, re.MULTILINE), target
