"""The steps of docs/how-to/extend.md, carried out on a copy of the repository."""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
from helpers import make_curated, run_in

ROOT = Path(__file__).parents[2]
PAGE = Path("docs/how-to/extend.md")
FOLDERS = ("refsr", "components", "pipelines", "params", "tests", "docs")
FILES = ("constraints.txt", "dvc.yaml", "params.yaml", "pyproject.toml")
STEP = re.compile(
    r"\b(?P<verb>[Cc]reate|[Aa]ppend|[Aa]dd|[Ii]nsert above)\s"
    r"(?:to\s)?(?:`(?P<name>\w+)`\sin\s)?`(?P<path>[\w/]+\.\w+)`[^`]*?:\n\n"
    r"```\w+\n(?P<code>.*?)```",
    re.DOTALL,
)
SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)
TRAIN = """
import json
from pathlib import Path
from refsr.config import Evaluate, TrainRefsr, TrainSisr
from refsr.steps.evaluate import evaluate
from refsr.steps.train_refsr import train_refsr
from refsr.steps.train_sisr import train_sisr
from refsr.tracker import NullTracker

short = {"steps": 1, "batch_size": 2, "log_every": 1, "device": "cpu", "precision": "float32"}
short |= {"loss": {"perceptual_weight": 0, "gradient_weight": 0.5}}
faces, sisr, refsr = Path("data/curated"), Path("models/sisr"), Path("models/refsr")
first = TrainSisr.model_validate(short | {"variant": "residual", "scale": 4, "warm_start_step": 1})
train_sisr(first, NullTracker(), curated=faces, validation=faces, sisr=sisr)
train_refsr(TrainRefsr.model_validate(short), NullTracker(), curated=faces, sisr=sisr, refsr=refsr)
least = Evaluate(bootstrap=100, strips=1, grid=2, kid_images=2)
out = Path("reports/evaluation")
evaluate(least, NullTracker(), curated=faces, sisr=sisr, refsr=refsr, evaluation=out)
"""


class Step(NamedTuple):
    """One edit that the page asks for."""

    verb: str
    name: str  # of what is added to, "" for the file itself
    path: Path
    code: str


def _steps() -> Iterator[Step]:
    for match in STEP.finditer((ROOT / PAGE).read_text()):
        yield Step(
            match["verb"].lower(),
            match["name"] or "",
            Path(match["path"]),
            match["code"],
        )


def _carry_out(step: Step, folder: Path) -> None:
    path = folder / step.path
    if step.verb == "create":
        assert not path.exists()
        path.write_text(step.code)
        return
    text = path.read_text()
    if not step.name:
        path.write_text(f"{text}\n\n{step.code}")
        return
    lines = text.splitlines(keepends=True)
    start = next(n for n, line in enumerate(lines) if re.match(rf"{step.name}\b", line))
    if step.verb == "insert above":
        lines.insert(start, f"{step.code}\n\n")
    else:
        end = next(n for n in range(start, len(lines)) if lines[n].startswith("}"))
        lines.insert(end, "".join(f"    {line}\n" for line in step.code.splitlines()))
    path.write_text("".join(lines))


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with every step of the page carried out."""
    folder = tmp_path_factory.mktemp("extended")
    unread = shutil.ignore_patterns("__pycache__", "images")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=unread)
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    for step in _steps():
        _carry_out(step, folder)
    make_curated(folder / "data/curated", identities=4, images=2, train=2)
    return folder


@pytest.fixture(scope="module")
def evaluation(extended: Path) -> Path:
    """The evaluation of the new variant, trained with the new term, in all conditions."""
    run_in(extended, sys.executable, "-c", TRAIN)
    return extended / "reports/evaluation"


def _metrics(evaluation: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((evaluation / "metrics.json").read_text())
    return metrics


def test_the_page_asks_for_one_edit_where_it_says_so() -> None:
    """Every edit of the page is read, and the registries of its first table are among the files."""
    steps = list(_steps())
    text = (ROOT / PAGE).read_text()
    assert len(steps) == text.count("```python") + text.count("```yaml")
    registries = set(re.findall(r"^\| \[.*?\| `(.*?)` \|$", text, re.MULTILINE))
    assert len(registries) >= 5
    assert registries <= {str(step.path) for step in steps}


def test_a_metric_is_measured_and_shown_everywhere(evaluation: Path) -> None:
    numbers = _metrics(evaluation)["mae"]
    assert set(numbers) == {"bicubic", "sisr", "ref_none", "ref_wrong", "ref_right"}
    assert 0 < numbers["ref_right"]["mean"] < 255
    assert "mae" in pd.read_csv(evaluation / "plots/arms.csv").columns
    assert "MAE, 8-bit levels (lower)" in (evaluation / "table.txt").read_text()
    assert "MAE, 8-bit levels (lower)" in (evaluation / "results.md").read_text()
    page = (evaluation / "report.html").read_text()
    assert "<h3>MAE, 8-bit levels <small>lower is better</small></h3>" in page
    assert "Mean absolute error over all pixels and channels, in 8-bit levels." in page


def test_a_condition_is_evaluated_and_shown(evaluation: Path) -> None:
    metrics = _metrics(evaluation)
    assert metrics["other_arms"]["ref_mixed"]["images"] == 4
    assert set(metrics["other_difference"]["ref_mixed"]) == {"psnr", "identity"}
    assert "| RefSR, right and wrong reference | 4 |" in (evaluation / "results.md").read_text()
    assert "<figcaption>right + wrong" in (evaluation / "report.html").read_text()


def test_a_variant_and_a_loss_term_are_trained(
    extended: Path,
    evaluation: Path,
) -> None:
    for name in ("sisr", "refsr"):
        history = pd.read_csv(extended / "models" / name / "history.csv")
        assert (history["gradient"] > 0).all()
        terms = history["l1"] + 0.5 * history["gradient"]
        assert history["loss"].tolist() == pytest.approx(terms.tolist(), rel=1e-5)
    assert "samples" not in _metrics(evaluation)
    described = run_in(extended, sys.executable, "-m", "refsr", "describe", "--variant", "residual")
    assert "refsr" in described


def test_a_stage_runs_by_its_command(extended: Path) -> None:
    commands = "".join(SHELL.findall((extended / PAGE).read_text())).splitlines()
    (command,) = (line for line in commands if line.startswith("python -m refsr census"))
    store = f"sqlite:///{extended / 'mlflow.db'}"
    words = ["env", f"MLFLOW_TRACKING_URI={store}", sys.executable, *shlex.split(command)[1:]]
    assert "images.test 6" in run_in(extended, *words)
    assert pd.read_csv(extended / "reports/census/census.csv")["images"].tolist() == [6, 6]


def test_the_tests_of_the_copy_agree(extended: Path) -> None:
    """DVC, components and the matrix of settings know what was added."""
    tests = (
        "tests/contract/test_stages.py::test_one_name_per_stage",
        "tests/contract/test_stages.py::test_dvc_calls_the_step_with_its_paths[census]",
        "tests/contract/test_components.py::test_a_component_takes_the_paths_of_its_step[census]",
        "tests/contract/test_components.py::test_a_component_holds_no_logic[census]",
        "tests/unit/test_settings.py::test_every_documented_value_is_in_a_run",
    )
    assert f"{len(tests)} passed" in run_in(
        extended, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests
    )


def test_a_raw_layout_is_read(extended: Path) -> None:
    for name in ("id00001/a.jpg", "id00001/b.jpg", "id00002/a.jpg", "notes/c.jpg"):
        path = extended / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xff\xd8")
    commands = "".join(SHELL.findall((extended / PAGE).read_text())).splitlines()
    (command,) = (line for line in commands if "--layout numbered" in line)
    shown = run_in(extended, sys.executable, *shlex.split(command)[1:])
    assert re.search(r"^identities +2$", shown, re.MULTILINE)
    assert re.search(r"^images +3$", shown, re.MULTILINE)
