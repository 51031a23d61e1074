"""Measure the code of each top-level folder: lines, functions, modules, cycles, words."""

import argparse
import ast
import functools
import json
import math
import re
import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import grimp

from refsr.console import run_as_process

ROOT = Path(__file__).parents[1]
PACKAGES = ("refsr", "components", "pipelines", "tools")
FOLDERS = (*PACKAGES, "tests", "benchmarks")
FORBIDDEN_WORDS = (  # in identifiers; `_` joins the words of a phrase
    "told",
    "found",
    "wanted",
    "dress",
    "twin",
    "twins",
    "handover",
    "hand_over",
    "door",
    "arm",
    "arms",
    "judge",
    "judges",
    "lot",
    "stranger",
    "strangers",
    "give_back",
    "spool",
    "wear",
)
_SCOPES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class Metrics(NamedTuple):
    """Metrics of one folder; functions and modules are in lines."""

    median_line: float  # characters of a line of code, indentation included
    p90_function: int  # 90 % of the functions are no longer
    largest_module: int
    largest_name: str
    forbidden: dict[str, int]  # identifier: number of modules


def main(argv: Sequence[str] | None = None) -> int:
    """Print the metrics as a table, or as JSON; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.code_metrics", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(argv)
    metrics = {name: measure(ROOT / name) for name in FOLDERS}
    groups = cycles()
    print(_as_json(metrics, groups) if options.json else _as_table(metrics, groups))
    return 0


@functools.cache
def measure(folder: Path) -> Metrics:
    """The metrics of all modules of a folder."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    lines = [len(line) for path, text in texts.items() for line in code_lines(text, trees[path])]
    functions = [length for tree in trees.values() for length in function_lengths(tree)]
    sizes = {path: len(text.splitlines()) for path, text in texts.items()}
    largest = max(sizes, key=sizes.__getitem__)
    return Metrics(
        statistics.median(lines),
        percentile(functions, 0.9),
        sizes[largest],
        str(largest.relative_to(folder.parent)),
        _forbidden(trees.values()),
    )


def code_lines(text: str, tree: ast.Module) -> Iterator[str]:
    """The lines without blank lines, comments and docstrings."""
    docstrings = set(_docstring_lines(tree))
    for number, line in enumerate(text.splitlines(), 1):
        is_comment = line.lstrip().startswith("#")
        if line.strip() and not is_comment and number not in docstrings:
            yield line


def _docstring_lines(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, _SCOPES) and ast.get_docstring(node, clean=False) is not None:
            yield from _lines(node.body[0])


def _lines(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def function_lengths(tree: ast.Module) -> Iterator[int]:
    """The length of each function in lines, from `def` to its end, without its docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False)
            omitted = len(_lines(node.body[0])) if docstring is not None else 0
            yield len(_lines(node)) - omitted


def percentile(values: Sequence[int], share: float) -> int:
    """The smallest value that `share` of the values do not exceed; 0 without values."""
    ordered = sorted(values)
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else 0


def _forbidden(trees: Iterable[ast.Module]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for tree in trees:
        for name in set(identifiers(tree)):
            if is_forbidden(name):
                counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))


def identifiers(tree: ast.Module) -> Iterator[str]:
    """All names: of variables, attributes, parameters, keywords, functions, classes, imports."""
    for node in ast.walk(tree):
        for field in ("id", "attr", "arg", "name", "asname"):
            name = getattr(node, field, None)
            if isinstance(name, str):
                yield from name.split(".")
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from node.module.split(".")


def is_forbidden(name: str) -> bool:
    """Whether a forbidden word is one of the words of an identifier, in snake or camel case.

    `NotFound` is allowed: exceptions of Python and of libraries have it in their names.
    """
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    words = f"_{snake.strip('_')}_".replace("_not_found_", "_")
    return any(f"_{word}_" in words for word in FORBIDDEN_WORDS)


def cycles(packages: Sequence[str] = PACKAGES) -> list[list[str]]:
    """The groups of modules that import one another, imports inside functions included."""
    graph = grimp.build_graph(*packages, exclude_type_checking_imports=True)
    upstream = {module: graph.find_upstream_modules(module) for module in graph.modules}
    groups = set()
    for module, others in upstream.items():
        group = {other for other in others if module in upstream[other]}
        if group:
            groups.add(frozenset({module, *group}))
    return sorted(sorted(group) for group in groups)


def _as_json(metrics: dict[str, Metrics], groups: list[list[str]]) -> str:
    folders = {name: each._asdict() for name, each in metrics.items()}
    return json.dumps({"folders": folders, "cycles": groups}, indent=2)


def _as_table(metrics: dict[str, Metrics], groups: list[list[str]]) -> str:
    lines = [f"{'folder':<12}{'median line':>12}{'p90 function':>14}  largest module"]
    for name, each in metrics.items():
        module = f"{each.largest_module} {each.largest_name}"
        lines.append(f"{name:<12}{each.median_line:>12g}{each.p90_function:>14}  {module}")
    for name, each in metrics.items():
        words = ", ".join(f"{word} ({count})" for word, count in each.forbidden.items())
        lines.append(f"forbidden words in {name}: {words or 'none'}")
    lines += [f"import cycle: {', '.join(group)}" for group in groups]
    return "\n".join(lines if groups else [*lines, "import cycles: none"])


if __name__ == "__main__":
    run_as_process(main)
