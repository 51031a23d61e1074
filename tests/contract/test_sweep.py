"""A search over parameters by Katib: the objects that `sweep` writes, and the trial they start."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from compiled import ROOT, stages_of
from kubeflow_api import Api, run_of

from pipelines.cli import main
from pipelines.search_space import changed, varied
from refsr.config import TrainRefsr
from refsr.headline import METRICS
from refsr.params import load_section
from tools.manifests import KUBERNETES

pytestmark = pytest.mark.usefixtures("clean_environment")
SCHEMA = json.loads((Path(__file__).parent / "schemas/Experiment.json").read_text())
TARGET = ("--image", "refsr:1", "--tracking-uri", "http://mlflow:5000", "--namespace", "faces")
VARY = (
    *("--vary", "train_refsr.learning_rate=1e-4..1e-2:log"),
    *("--vary", "train_refsr.loss.identity_weight=0,0.1"),
)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The objects of a sweep, by kind; of the policies the first."""
    file = tmp_path_factory.mktemp("sweep") / "sweep.yaml"
    assert _sweep(file, *VARY) == 0
    made = list(yaml.safe_load_all(file.read_text()))
    assert [each["kind"] for each in made][2:] == ["NetworkPolicy", "Experiment"]
    return {each["kind"]: each for each in reversed(made)}


def _sweep(file: Path, *words: str) -> int:
    params = str(ROOT / "params/tiny.yaml")
    return main(["sweep", "--params", params, "--output", str(file), *TARGET, *words])


def test_the_objects_are_valid_and_named_alike(objects: dict[str, Any]) -> None:
    experiment = objects["Experiment"]
    jsonschema.validate(experiment, SCHEMA)
    job = experiment["spec"]["trialTemplate"]["trialSpec"]
    for each in (job, objects["ConfigMap"], objects["NetworkPolicy"]):
        for version in KUBERNETES:
            kubernetes_validate.validate({"metadata": {}} | each, version, strict=True)
    for each in objects.values():
        assert each["metadata"]["name"] == "refsr-tiny"
        assert each["metadata"]["namespace"] == "faces"
    pod = job["spec"]["template"]
    selected = objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]
    assert selected.items() <= pod["metadata"]["labels"].items()
    assert {"configMap": {"name": "refsr-tiny"}, "name": "files"} in pod["spec"]["volumes"]


def test_a_schema_refuses_what_katib_would_not_know(objects: dict[str, Any]) -> None:
    spoilt = json.loads(json.dumps(objects["Experiment"]))
    spoilt["spec"]["maxTrials"] = 3
    with pytest.raises(jsonschema.ValidationError, match="maxTrials"):
        jsonschema.validate(spoilt, SCHEMA)


def test_the_experiment_varies_what_was_asked_for(objects: dict[str, Any]) -> None:
    spec = objects["Experiment"]["spec"]
    rate, weight = spec["parameters"]
    assert rate == {
        "name": "train-refsr-learning-rate",
        "parameterType": "double",
        "feasibleSpace": {"min": "1e-4", "max": "1e-2", "distribution": "logUniform"},
    }
    assert weight["feasibleSpace"] == {"list": ["0", "0.1"]}
    references = [each["reference"] for each in spec["trialTemplate"]["trialParameters"]]
    assert references == [rate["name"], weight["name"]]
    names = [spec["objective"]["objectiveMetricName"], *spec["objective"]["additionalMetricNames"]]
    assert sorted(names) == sorted(METRICS["evaluate"])


def test_a_short_search_has_no_count_above_its_trials(tmp_path: Path) -> None:
    """Katib's webhook refuses maxFailedTrialCount and parallelTrialCount above maxTrialCount."""
    assert _sweep(tmp_path / "sweep.yaml", *VARY, "--trials", "1") == 0
    spec = list(yaml.safe_load_all((tmp_path / "sweep.yaml").read_text()))[-1]["spec"]
    counts = ("maxTrialCount", "maxFailedTrialCount", "parallelTrialCount")
    assert [spec[name] for name in counts] == [1, 1, 1]


def test_what_katib_and_a_trial_would_misread_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _sweep(tmp_path / "sweep.yaml", *VARY, "--run-name", "2026") == 1
    assert "--run-name 2026: Katib's names begin with a letter" in capsys.readouterr().err
    twice = ("--set", "train_refsr.steps=7", "--set", "train_refsr.steps=8")
    assert main(["trial", "--endpoint", "http://127.0.0.1:9", *TARGET, *twice]) == 1
    assert "--set train_refsr.steps: appears twice" in capsys.readouterr().err


def test_a_trial_of_the_experiment_runs_and_katib_reads_its_metrics(
    objects: dict[str, Any],
    api: Api,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The pod's own command, with Katib's values in it and the ConfigMap in a folder."""
    for name, text in objects["ConfigMap"]["data"].items():
        (tmp_path / name).write_text(text)
    template = objects["Experiment"]["spec"]["trialTemplate"]
    (container,) = template["trialSpec"]["spec"]["template"]["spec"]["containers"]
    values = dict(zip(("learning", "identity"), ("0.0005", "0.1"), strict=True))
    words = [word.replace("/etc/refsr", str(tmp_path)) for word in container["command"]]
    for part, value in values.items():
        words = [re.sub(rf"\$\{{trialParameters\.[a-z-]*{part}[a-z-]*}}", value, w) for w in words]
    assert not [word for word in words if "$" in word]
    api.responses["GET runs/r1"] = [run_of("SUCCEEDED")]
    metrics = {name: -1.5e-7 + number for number, name in enumerate(METRICS["evaluate"])}
    monkeypatch.setattr("pipelines.sweep.metrics_of", lambda *_: metrics)
    assert words[words.index("--endpoint") + 1] == "http://ml-pipeline.kubeflow:8888"
    assert words[:4] == ["python3", "-m", "pipelines", "trial"]
    assert main([*words[3:], "--endpoint", api.endpoint]) == 0
    filters = objects["Experiment"]["spec"]["metricsCollectorSpec"]["source"]["filter"]
    (pattern,) = filters["metricsFormat"]
    lines = capsys.readouterr().out.splitlines()
    read = dict(match.groups() for line in lines if (match := re.fullmatch(pattern, line)))
    assert {name: float(value) for name, value in read.items()} == pytest.approx(metrics)
    sent = api.sent("POST runs")
    given = sent["runtime_config"]["parameters"]
    assert given["train_refsr"]["learning_rate"] == 0.0005
    assert given["train_refsr"]["loss"]["identity_weight"] == 0.1
    assert given["evaluate"]["split"] == "validation"
    pipeline = sent["pipeline_spec"]["pipeline_spec"]
    assert pipeline["pipelineInfo"]["name"] == "refsr-search"
    assert "register" not in stages_of(pipeline)


def test_a_failed_trial_has_no_metrics(
    api: Api, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    api.responses["GET runs/r1"] = [run_of("FAILED")]
    monkeypatch.setattr("pipelines.sweep.metrics_of", lambda *_: {"psnr": 1.0})
    words = ["trial", "--params", str(ROOT / "params/tiny.yaml"), "--endpoint", api.endpoint]
    assert main([*words, *TARGET, "--graph", "search"]) == 1
    assert "psnr=" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ("train_refsr.rate=1,2", "train_refsr.rate: unknown parameter"),
        ("train_refsr.steps=0..10", "train_refsr.steps: Input should be greater than"),
        ("train_refsr.optimizer=adamw,lion", "train_refsr.optimizer"),
        ("train_refsr.steps.more=1,2", "steps is no section"),
    ],
)
def test_a_value_that_no_training_takes_is_refused_before_the_search(
    vary: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _sweep(tmp_path / "sweep.yaml", "--vary", vary) == 1
    printed = capsys.readouterr().err
    assert message in printed
    assert f"{ROOT / 'params/tiny.yaml'}: " in printed  # not the copy that holds the value
    assert not (tmp_path / "sweep.yaml").exists()


def test_a_grid_needs_a_list_and_a_users_file_stays(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "mine.yaml"
    assert _sweep(file, *VARY, "--algorithm", "grid") == 1
    assert "train_refsr.learning_rate: a grid needs a list of values" in capsys.readouterr().err
    file.write_text("mine: true\n")
    assert _sweep(file, *VARY) == 1
    assert file.read_text() == "mine: true\n"


def test_a_dry_run_starts_no_trial_and_writes_no_file(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["trial", "--params", str(ROOT / "params/tiny.yaml"), "--endpoint", api.endpoint]
    assert main([*words, *TARGET, "--set", "train_refsr.steps=7", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "dry run, not submitted" in printed
    assert "params/tiny.yaml train_refsr.steps=7 in refsr:1" in printed
    assert not api.requests
    assert _sweep(tmp_path / "sweep.yaml", *VARY, "--dry-run") == 0
    assert "dry run, not written" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert _sweep(tmp_path / "sweep.yaml", *VARY, *VARY) == 1
    assert "appears twice" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--trials", "--parallel"])
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many"])
def test_katib_gets_whole_numbers_above_0(
    option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        _sweep(tmp_path / "sweep.yaml", *VARY, option, value)
    assert f"{option}: {value!r} is not a whole number from 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    ["", "seed=1", "a.b", "a.b=", "A.b=1,2", "a.b=2..1", "a.b=0..1:log", "a.b=1,1", "a.b=1,"],
)
def test_a_space_that_cannot_be_read_is_one_message(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        _sweep(tmp_path / "sweep.yaml", "--vary", text)
    assert "--vary" in capsys.readouterr().err


def test_values_keep_their_type_and_the_file_its_others(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text("train_refsr: {steps: 5}\n")
    (tmp_path / "new").mkdir()
    values = {"train_refsr.learning_rate": "1e-3", "train_refsr.loss.kind": "default"}
    section = load_section(changed(params, values, tmp_path / "new"), "train_refsr")
    assert isinstance(section, TrainRefsr)
    assert (section.steps, section.learning_rate, section.loss.kind) == (5, 0.001, "default")
    assert varied("a.b=1..9").kind == "int"
