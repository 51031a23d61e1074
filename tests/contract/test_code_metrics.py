"""The targets of the code: short lines and functions, small modules, no cycle, plain names."""

import ast
import json
from typing import NamedTuple

import pytest

from tools import code_metrics


class Limits(NamedTuple):
    """The most that is allowed; `names` is the number of identifiers with a forbidden word."""

    median_line: float = 42  # characters
    p90_function: int = 18  # lines
    largest_module: int = 300  # lines
    names: int = 0


# The defaults are the targets.
LIMITS = {
    "refsr": Limits(),
    "components": Limits(),
    "pipelines": Limits(),
    "tools": Limits(),
    "tests": Limits(),
    "benchmarks": Limits(),
}


def test_every_folder_has_limits() -> None:
    assert set(LIMITS) == set(code_metrics.FOLDERS)


@pytest.mark.parametrize("folder", LIMITS)
def test_a_folder_is_within_its_limits(folder: str) -> None:
    limits = LIMITS[folder]
    metrics = code_metrics.measure(code_metrics.ROOT / folder)
    assert metrics.median_line <= limits.median_line
    assert metrics.p90_function <= limits.p90_function
    assert metrics.largest_module <= limits.largest_module, metrics.largest_name
    assert len(metrics.forbidden) <= limits.names, metrics.forbidden


def test_no_modules_import_one_another() -> None:
    assert code_metrics.cycles() == []


SOURCE = '''"""Two lines
of a docstring."""
# a comment

def short(x):
    """Docstring."""

    return x


class C:
    def longer(self, x):
        y = """text
of a value"""
        return x, y
'''


def test_docstrings_comments_and_blank_lines_are_no_code() -> None:
    tree = ast.parse(SOURCE)
    lines = list(code_metrics.code_lines(SOURCE, tree))
    assert lines[:2] == ["def short(x):", "    return x"]
    assert lines[-1] == "        return x, y"
    assert len(lines) == 7
    assert sorted(code_metrics.function_lengths(tree)) == [3, 4]


def test_nine_of_ten_values_are_within_the_percentile() -> None:
    assert code_metrics.percentile(range(1, 11), 0.9) == 9
    assert code_metrics.percentile([5], 0.9) == 5
    assert code_metrics.percentile([], 0.9) == 0


@pytest.mark.parametrize(
    "name", ["told", "_found", "is_wanted", "MORE_ARMS", "TwinServer", "give_back_heap"]
)
def test_a_forbidden_word_is_reported(name: str) -> None:
    assert code_metrics.is_forbidden(name)


@pytest.mark.parametrize(
    "name", ["slot", "address", "wearable", "FileNotFoundError", "foundation", "indoor"]
)
def test_a_longer_word_is_not_reported(name: str) -> None:
    assert not code_metrics.is_forbidden(name)


def test_names_of_every_kind_are_checked() -> None:
    source = (
        "import a.door\nfrom twins import b as lot\n"
        "def told(found, *arms): x.wanted(judges=1)\nclass Spool: pass"
    )
    forbidden = filter(code_metrics.is_forbidden, code_metrics.identifiers(ast.parse(source)))
    assert set(forbidden) == {
        "door",
        "twins",
        "lot",
        "told",
        "found",
        "arms",
        "wanted",
        "judges",
        "Spool",
    }


def test_the_command_prints_a_table_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_metrics.main([]) == 0
    table = capsys.readouterr().out
    assert all(f"\n{folder}" in table for folder in code_metrics.FOLDERS)
    assert "import cycles: none" in table
    assert code_metrics.main(["--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document["folders"]) == set(code_metrics.FOLDERS)
    assert document["cycles"] == []


def test_a_cycle_is_reported(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    package = tmp_path / "cyclic"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "one.py").write_text("import cyclic.two\n")
    (package / "two.py").write_text("def late():\n    import cyclic.one\n")
    (package / "three.py").write_text("import cyclic.one\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert code_metrics.cycles(["cyclic"]) == [["cyclic.one", "cyclic.two"]]
