"""Submissions that are refused before anything is sent."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from kubeflow_api import CLOSED

from pipelines import submit
from pipelines.compile import GRAPHS, SCHEMES
from pipelines.limits import require_exact
from pipelines.options import READ
from refsr.errors import RefsrError

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("clean_environment")


def _submit(*arguments: str, params: Path | str = ROOT / "params/tiny.yaml") -> int:
    words = ["--params", str(params), "--endpoint", CLOSED, "--image", "refsr:1", *arguments]
    return submit.main(words)


def _refused(capsys: pytest.CaptureFixture[str], *arguments: str, **options: Any) -> str:
    assert _submit(*arguments, **options) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("refsr: error: ")
    return printed.err


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("curate: {hr_sise: 64}", "bad.yaml: curate.hr_sise: unknown parameter"),
        ("evaluate: {bootstrap: 8.5}", "bad.yaml: evaluate.bootstrap"),
        ("train: {}", "bad.yaml: unknown section 'train'"),
        ("curate: {}", "bad.yaml: no section `synthesize`"),
        ("- a list", "bad.yaml: a mapping"),
    ],
)
def test_bad_parameters_are_refused_by_name(
    document: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.yaml").write_text(document + "\n")
    assert expected in _refused(capsys, params=tmp_path / "bad.yaml")


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (
            "register: {gate: {psnr_over_none: -.inf}}",
            "register.gate.psnr_over_none: Input should be a finite",
        ),
        ("evaluate: {strips: 9007199254740993}", "evaluate.strips"),
        ("train_sisr: {seed: 9007199254740993}", "train_sisr.seed"),
    ],
)
def test_numbers_that_kubeflow_would_change_are_refused(
    document: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.yaml").write_text("synthesize: {}\n" + document + "\n")
    assert expected in _refused(capsys, "--dry-run", params=tmp_path / "bad.yaml")


def test_large_and_infinite_numbers_are_named_at_any_depth() -> None:
    params = Path("p.yaml")
    require_exact(params, {"a": {"b": [1.5, 2**53]}, "c": True, "d": "inf"})
    with pytest.raises(RefsrError, match=r"p.yaml: a.b.1: 9007199254740993 is not exact"):
        require_exact(params, {"a": {"b": [1.5, 2**53 + 1]}})
    with pytest.raises(RefsrError, match=r"p.yaml: a.b.0: nan cannot be sent as JSON"):
        require_exact(params, {"a": {"b": [float("nan")]}})


def test_uris_that_pods_cannot_reach_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "pods need the URL of an MLflow server" in _refused(
        capsys,
        "--tracking-uri",
        "sqlite:///mlflow.db",
    )
    assert "pods cannot read folders" in _refused(capsys, "--raw", "data/vggface2")
    assert "--raw gs://faces/vggface2: not s3://BUCKET;" in _refused(
        capsys,
        "--raw",
        "gs://faces/vggface2",
    )
    assert "--pairs is required by --graph inference" in _refused(capsys, "--graph", "inference")
    message = _refused(capsys, "--tracking-uri", "http://me:hunter2@mlflow")
    assert "Secret" in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--tracking-uri", "http://", "not an http(s)://HOST:PORT URL"),
        ("--tracking-uri", "http://[::1", "not an http(s)://HOST:PORT URL"),
        ("--endpoint", "http://[::1", "not an http(s):// URL"),
        ("--endpoint", "https://my host", "not an http(s):// URL"),
        ("--endpoint", "http://kfp:8888/#/runs", "not an http(s):// URL"),
        ("--tracking-uri", "http://mlflow/#/experiments/1", "not an http(s)://HOST:PORT URL"),
        ("--raw", "s3:/faces/x", "not s3://BUCKET"),
        ("--raw", "s3://[x", "not s3://BUCKET"),
        ("--raw", "s3://me@faces/x", "not s3://BUCKET"),
        ("--namespace", "Faces_1", "no name of a namespace"),
        ("--image", "https://registry.example/refsr", "no name of an image"),
        ("--image", "registry.example/Ref sr", "no name of an image"),
        ("--image", "registry.example/refsr:", "no name of an image"),
        ("--image", "refsr@sha256:12", "no name of an image"),
    ],
)
def test_what_is_mistyped_is_refused_before_anything_is_sent(
    option: str, value: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    message = _refused(capsys, "--dry-run", option, value)
    assert f"{option} {value}: {expected}" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"repository": "../faces"}, "fetch.repository: ../faces is no URL; pods cannot read"),
        ({"endpoint": "s3.faces:8333"}, "fetch.endpoint: s3.faces:8333 is not an http(s)://"),
        ({"repository": "git@git.example:faces"}, ""),
        ({"repository": "ssh://git@git.example/faces", "endpoint": "http://s3.faces:8333"}, ""),
    ],
)
def test_a_fetch_names_what_pods_reach(
    changes: dict[str, str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = tmp_path / "p.yaml"
    fetch = {"repository": "https://git.example/faces", "path": "raw", "revision": "v1"}
    params.write_text(yaml.safe_dump({"fetch": fetch | changes}))
    if expected:
        assert f"{params}: {expected}" in _refused(capsys, "--dry-run", params=params)
        assert _submit("--dry-run", "--raw", "s3://faces/x", params=params) == 0
    else:
        assert _submit("--dry-run", params=params) == 0


@pytest.mark.parametrize(
    ("graph", "option", "read"),
    [
        ("training", "pairs", "--raw"),
        ("training", "sisr", "--raw"),
        ("inference", "raw", "--pairs"),
        ("drift", "raw", "--logs, --curated"),
    ],
)
def test_an_option_that_the_graph_does_not_read_is_refused(
    graph: str, option: str, read: str, capsys: pytest.CaptureFixture[str]
) -> None:
    message = _refused(capsys, "--graph", graph, f"--{option}", "s3://faces/x", "--dry-run")
    assert f"--{option}: not read by --graph {graph}, which reads {read}; leave it out" in message


def test_every_graph_and_every_uri_has_its_options() -> None:
    assert set(READ) == set(GRAPHS)
    assert {name for names in READ.values() for name in names} == set(SCHEMES)
