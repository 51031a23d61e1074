"""No value that a user sets is run by a shell.

Neither the manifests do so nor the pipeline that Kubeflow compiles.

The Makefile is in test_makefile.py, DVC in tests/e2e/test_raw_path.py.
"""

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.cluster import load_cluster
from pipelines.compile import Work, build, compile_package
from refsr.__main__ import main
from refsr.commands import checks
from refsr.strict_yaml import load_documents

ROOT = Path(__file__).parents[2]
HOSTILE = ["a b", 'it\'s "x"', "x;touch X", "$(touch X)", "`touch X`", "x\ntouch X"]


def _containers(node: Any) -> Iterator[dict[str, Any]]:
    """Every mapping with a `command` in a document."""
    if isinstance(node, dict):
        if isinstance(node.get("command"), list):
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from _containers(each)


def _scripts() -> list[tuple[str, str, tuple[str, ...]]]:
    """(file, script, names of its variables) of every shell in a manifest."""
    scripts = []
    for path in sorted((ROOT / "k8s").rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            for container in _containers(document):
                command = container["command"]
                if Path(command[0]).name in ("sh", "bash"):
                    names = tuple(each["name"] for each in container.get("env", []))
                    scripts.append((str(path.relative_to(ROOT)), command[2], names))
    return scripts


SCRIPTS = _scripts()


@pytest.mark.parametrize(("file", "script", "names"), SCRIPTS, ids=[file for file, _, _ in SCRIPTS])
def test_no_variable_of_a_manifest_is_run(
    tmp_path: Path, file: str, script: str, names: tuple[str, ...]
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in (
        "timeout",
        "pg_dump",
        "pg_restore",
        "mlflow",
        "mv",
        "find",
        "mkdir",
        "rmdir",
        "date",
        "ls",
    ):
        (programs / name).write_text("#!/bin/sh\nexit 0\n")
        (programs / name).chmod(0o755)
    for value in HOSTILE:
        environment = {"PATH": f"{programs}:{os.environ['PATH']}"} | dict.fromkeys(names, value)
        subprocess.run(
            ["/bin/sh", "-ec", script], cwd=tmp_path, env=environment, capture_output=True
        )
        assert not list(tmp_path.rglob("X")), (file, value)


def test_there_are_shells_in_the_manifests() -> None:
    assert len(SCRIPTS) >= 3


def test_commands_of_a_compiled_pipeline_hold_no_parameter(tmp_path: Path) -> None:
    """Parameters travel as one JSON argument;
    the command of a task is the same whatever they are.
    """
    commands_of: list[Any] = []
    for number, raw in enumerate(("s3://bucket/faces", "s3://bucket/$(touch X);touch X")):
        params = tmp_path / "params.yaml"
        params.write_text(
            yaml.safe_dump({"register": {"name": f"a '$(touch X)' {number}"}, "data": {"raw": raw}})
        )
        package = tmp_path / f"{number}.yaml"
        compile_package(package, build(Work(params, raw=raw), "refsr:1", load_cluster()))
        document = next(load_documents(package.read_text()))
        commands_of.append(list(_containers(document)))
    assert commands_of[0]
    assert commands_of[0] == commands_of[1]
    assert "touch X" not in str(commands_of)


@pytest.mark.parametrize("value", HOSTILE)
def test_the_command_that_show_prints_can_be_copied(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation/table.txt").write_text("table")
    uri = f"sqlite:///{value}/mlflow.db"
    monkeypatch.setattr(checks, "tracking_uri", lambda: uri)
    assert main(["show", "--reports", str(tmp_path)]) == 0
    command = capsys.readouterr().out.partition("its UI")[2]
    assert shlex.split(command)[-2:] == ["--backend-store-uri", uri]
