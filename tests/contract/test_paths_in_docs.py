"""Files and functions that the documents name exist."""

import re
from pathlib import Path

import pytest
from compiled import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS = "refsr|components|pipelines|tools|tests|benchmarks|params|containers|k8s|docs"
FILE = re.compile(rf"\b(?:{FOLDERS})/[\w./-]+\.(?:py|yaml|lock|html|md)\b")
CREATED = re.compile(r"^(?:Create|Write) .*$", re.MULTILINE)  # files that a reader is to add


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_files_exist(page: Path) -> None:
    text = CREATED.sub("", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S))
    for name in FILE.findall(text):
        assert (ROOT / name).is_file(), name


def test_where_is_what_names_functions_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\|[^|]*\| `([\w/.]+)` \| (?:`(\w+)` )?\|$", text, re.MULTILINE)
    assert len(rows) > 10
    for file, name in rows:
        code = (ROOT / file).read_text()
        assert re.search(rf"^(?:def |class )?{name}\b", code, re.MULTILINE), (file, name)
