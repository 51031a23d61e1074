"""What a stage imports, DVC watches: `deps` of dvc.yaml against the import graph of the package."""

import shutil
import sys
from pathlib import Path
from typing import Any

import grimp
import pytest
import yaml
from helpers import run_in

from refsr import steps

ROOT = Path(__file__).parents[2]
ENTRY = (
    "refsr.__main__",
    "refsr.params",
    "refsr.errors",
    "refsr.commands.stages",
    "refsr.commands.command",
    "refsr.console",
)  # of every command; what else it imports is per command
LOCKS = {"constraints.txt", "weights.txt"}
TEMPLATES = (".html", ".md")


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("refsr", exclude_type_checking_imports=True)


def _stages() -> dict[str, Any]:
    stages: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    return stages


def _watched(name: str) -> set[str]:
    return {dep for dep in _stages()[name]["deps"] if dep.split("/")[0] == "refsr"}


def _file(module: str) -> str:
    path = Path(*module.split("."))
    return str(path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py"))


def _imported(graph: grimp.ImportGraph, name: str) -> set[str]:
    """The files a stage runs, function-level imports and packages' own files among them."""
    step = f"refsr.steps.{name}"
    read = graph.find_upstream_modules("refsr.params")
    modules = {step, *graph.find_upstream_modules(step), *read, *ENTRY}
    parents = {
        module.rsplit(".", count)[0]
        for module in modules
        for count in range(1, module.count(".") + 1)
    }
    return {_file(module) for module in modules | parents}


def _data_beside(files: set[str]) -> set[str]:
    """Templates beside these files: any of them may be read by a module of the same folder."""
    folders = {Path(file).parent for file in files}
    paths = (
        path for folder in folders for path in (ROOT / folder).iterdir() if path.suffix in TEMPLATES
    )
    return {str(path.relative_to(ROOT)) for path in paths}


def _covers(watched: str, file: str) -> bool:
    return Path(file).is_relative_to(watched)


@pytest.mark.parametrize("name", steps.STEPS)
def test_whatever_a_stage_imports_is_watched(
    name: str,
    graph: grimp.ImportGraph,
) -> None:
    watched, files = _watched(name), _imported(graph, name)
    needed = files | {path for path in _data_beside(files) if Path(path).parent != Path("refsr")}
    missed = sorted(file for file in needed if not any(_covers(dep, file) for dep in watched))
    assert not missed, (
        f"dvc.yaml: `{name}` imports these files, add them or their packages to its deps: {missed}"
    )


@pytest.mark.parametrize("name", steps.STEPS)
def test_what_names_modules_by_strings_has_its_whole_package_watched(
    name: str, graph: grimp.ImportGraph
) -> None:
    """An import graph does not see them."""
    for file in _imported(graph, name) - {"refsr/steps/__init__.py"}:
        if "import_module(" in (ROOT / file).read_text():
            assert any(_covers(dep, str(Path(file).parent)) for dep in _watched(name)), file


@pytest.mark.parametrize("name", steps.STEPS)
def test_what_no_stage_imports_is_not_watched(name: str, graph: grimp.ImportGraph) -> None:
    files = _imported(graph, name)
    unused = [dep for dep in _watched(name) if not any(_covers(dep, file) for file in files)]
    assert not unused


@pytest.mark.parametrize("name", steps.STEPS)
def test_locked_versions_are_watched_and_weights_where_they_are_read(
    name: str, graph: grimp.ImportGraph
) -> None:
    pretrained = any("/pretrained/" in file for file in _imported(graph, name))
    expected = LOCKS if pretrained else {"constraints.txt"}
    assert LOCKS & {*_stages()[name]["deps"]} == expected


def test_the_graph_sees_imports_inside_functions(graph: grimp.ImportGraph) -> None:
    assert "refsr/evaluation/metrics.py" in _imported(graph, "evaluate")


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code whose stages DVC takes for run: outputs of one file each, committed."""
    folder = tmp_path_factory.mktemp("locked")
    for name in ("dvc.yaml", "params.yaml", *LOCKS):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "refsr", folder / "refsr", ignore=shutil.ignore_patterns("__pycache__"))
    for stage in _stages().values():
        for out in stage["outs"]:
            (folder / out).mkdir(parents=True)
            (folder / out / "metrics.json").write_text("{}")
    _dvc(folder, "init", "--no-scm", "--quiet")
    _dvc(folder, "commit", "--force", "--quiet")
    return folder


def _dvc(folder: Path, *arguments: str) -> str:
    return run_in(folder, sys.executable, "-m", "dvc", *arguments)


@pytest.mark.parametrize(
    ("edited", "stages"),
    [
        ("refsr/config.py", {*steps.STEPS}),
        ("refsr/dataset/degradation.py", {*steps.STEPS} - {"synthesize"}),
        (
            "refsr/models/compact.py",
            {"curate", "train_sisr", "train_refsr", "evaluate", "register"},
        ),
        ("refsr/reporting/report.html", {"evaluate", "register"}),
        ("refsr/synthetic/hair.py", {"synthesize", "register"}),
        ("weights.txt", {"curate", "train_sisr", "train_refsr", "evaluate"}),
    ],
)
def test_dvc_reports_the_stages_that_an_edit_reaches(
    locked: Path, edited: str, stages: set[str]
) -> None:
    path = locked / edited
    before = path.read_bytes()
    path.write_bytes(before + b"\n")
    try:
        status = _dvc(locked, "status")
    finally:
        path.write_bytes(before)
    assert {
        line[:-1] for line in status.splitlines() if line[:1].isalpha() and line.endswith(":")
    } == stages
