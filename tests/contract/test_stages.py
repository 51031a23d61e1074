"""One name per stage, everywhere; and what dvc.yaml calls is what the steps take."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from refsr import steps
from refsr.config import SECTIONS
from refsr.params import load_section

ROOT = Path(__file__).parents[2]
PARAMS_FILES = [ROOT / "params.yaml", *sorted((ROOT / "params").glob("*.yaml"))]


def _dvc_stages() -> dict[str, Any]:
    stages: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    return stages


def test_one_name_per_stage() -> None:
    stages = list(_dvc_stages())
    missing = [name for name in SECTIONS if name not in stages]
    assert not missing, f"dvc.yaml: add a stage for {missing}, see docs/how-to/extend.md"
    assert stages == list(SECTIONS)
    for name in SECTIONS:
        assert steps.load(name).__name__ == name


@pytest.mark.parametrize("name", steps.STEPS)
def test_dvc_calls_the_step_with_its_paths(name: str) -> None:
    """The command names each path the step takes;
    outputs are DVC outputs, inputs are dependencies.
    """
    stage = _dvc_stages()[name]
    assert "${" not in stage["cmd"], "a parameter must not reach the shell"
    words = shlex.split(stage["cmd"])
    assert words[:4] == ["python", "-m", "refsr", name.replace("_", "-")]
    given = dict(zip((w.removeprefix("--") for w in words[4::2]), words[5::2], strict=True))
    kinds = steps.ports(steps.load(name))
    given |= {port: "data/rendered" for port, kind in kinds.items() if kind == "raw set"}
    assert set(given) == set(kinds)
    dependencies = [d.replace("${data.raw}", "data/rendered") for d in stage.get("deps", [])]
    for port, kind in kinds.items():
        assert given[port] in (stage["outs"] if kind.endswith("output") else dependencies), port
    assert stage["params"] == [name, *(["data"] if "raw set" in kinds.values() else [])]
    for dependency in dependencies:
        assert (ROOT / dependency).exists() or dependency.startswith(
            ("data/", "models/", "reports/")
        ), dependency


@pytest.mark.parametrize("path", PARAMS_FILES, ids=lambda path: path.name)
@pytest.mark.parametrize("name", steps.STEPS)
def test_every_params_file_loads(path: Path, name: str) -> None:
    assert type(load_section(path, name)) is SECTIONS[name]


def test_the_command_line_knows_every_stage_and_imports_nothing_heavy() -> None:
    heavy = ("torch", "mlflow", "cv2", "pandas", "numpy")
    code = (
        "import sys; from refsr.__main__ import main\n"
        "try: main(['--help'])\n"
        f"except SystemExit: print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == "[]"
    names = set(re.findall(r"^    ([\w-]+)", done.stdout, re.MULTILINE))
    assert {name.replace("_", "-") for name in steps.STEPS} <= names
