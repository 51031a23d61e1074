"""The package and the arguments of a run: reproducible bytes, full parameters, caching."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from compiled import IMAGE, ROOT, Spec, stages_of

from pipelines.cluster import load_cluster
from pipelines.compile import Work, arguments, build, compile_package
from pipelines.graphs.training import training
from refsr import steps
from refsr.params import load_section, parse_section
from refsr.strict_yaml import load_documents

PARAMS_FILES = [ROOT / "params.yaml", *sorted((ROOT / "params").glob("*.yaml"))]


def test_only_a_full_commit_hash_is_cached(tmp_path: Path) -> None:
    """A branch moves: the cache would return its earlier content."""
    for revision, cached in (("main", False), ("v1", False), ("0" * 40, True)):
        fetch = {"repository": "https://git.example/faces", "path": "raw", "revision": revision}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump({"fetch": fetch}))
        compile_package(
            tmp_path / "p.yaml", build(Work(tmp_path / "params.yaml"), IMAGE, load_cluster())
        )
        pipeline, _ = load_documents((tmp_path / "p.yaml").read_text())
        options = stages_of(pipeline)["fetch"]["cachingOptions"]
        assert options.get("enableCache", False) is cached, revision
        assert stages_of(pipeline)["curate"]["cachingOptions"]["enableCache"]


def test_the_package_as_kubernetes_objects(
    package: Path,
    pipeline: Spec,
    tmp_path: Path,
) -> None:
    made = training(IMAGE, load_cluster(), "rendered")
    compile_package(tmp_path / "objects.yaml", made, version="Revision_0123abc", namespace="faces")
    root, version = load_documents((tmp_path / "objects.yaml").read_text())
    assert (root["kind"], version["kind"]) == ("Pipeline", "PipelineVersion")
    assert {each["metadata"]["namespace"] for each in (root, version)} == {"faces"}
    assert version["metadata"]["name"] == "refsr-training-revision-0123abc"
    assert version["spec"]["pipelineName"] == root["metadata"]["name"]
    assert version["spec"]["pipelineSpec"] == pipeline
    platform = version["spec"]["platformSpec"]
    assert platform == list(load_documents(package.read_text()))[1]


def test_the_package_is_the_same_to_the_byte(
    package: Path,
    pipeline: Spec,
    tmp_path: Path,
) -> None:
    code = (
        "import sys; from pathlib import Path; from pipelines.compile import compile_package\n"
        "from pipelines.cluster import load_cluster\n"
        "from pipelines.graphs.training import training\n"
        f"compile_package(Path(sys.argv[1]), training({IMAGE!r}, load_cluster(), 'rendered'))"
    )
    again = tmp_path / "again.yaml"
    environment = {"PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, str(again)], check=True, cwd=ROOT, env=environment)
    assert again.read_bytes() == package.read_bytes()


@pytest.mark.parametrize("path", PARAMS_FILES, ids=lambda path: path.name)
def test_parameters_survive_becoming_floats(
    path: Path,
    pipeline: Spec,
) -> None:
    """Kubeflow stores numbers as floats."""
    made = training(IMAGE, load_cluster(), "named")
    given = json.loads(json.dumps(arguments(made, Work(path), "http://mlflow")), parse_int=float)
    assert set(given) == set(pipeline["root"]["inputDefinitions"]["parameters"])
    for name in steps.STEPS:
        section = parse_section(name, given[name])
        assert section == load_section(path, name)
        assert json.dumps(section.model_dump()) == json.dumps(load_section(path, name).model_dump())


def test_no_argument_is_null(tmp_path: Path) -> None:
    """The local runner refuses null at any depth: nulls are omitted, and defaults restore them."""
    fetch = {"repository": "https://git.example/faces", "path": "raw", "revision": "v1"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"fetch": fetch}))
    given = arguments(
        training(IMAGE, load_cluster(), "fetched"), Work(tmp_path / "params.yaml"), "http://mlflow"
    )
    assert "null" not in json.dumps(given)
    assert parse_section("fetch", given["fetch"]) == load_section(tmp_path / "params.yaml", "fetch")
