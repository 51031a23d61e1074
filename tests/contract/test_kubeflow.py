"""The components, and the compiled pipeline: what kfp gets wrong without a word is kept out of it."""

import ast
import inspect
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from components import stages
from components.shell import RUN, STATE
from pipelines.cluster import ENVIRONMENT, RESUMABLE, TASKS, load_cluster
from pipelines.inference import inference
from pipelines.package import Work, arguments, build, compile_package
from pipelines.reevaluation import reevaluation
from pipelines.training import training
from refsr import steps
from refsr.config import load_section, parse_section

ROOT = Path(__file__).parents[2]
IMAGE = "registry.example:5000/refsr:0123abc"
PARAMS_FILES = [ROOT / "params.yaml", *sorted((ROOT / "params").glob("*.yaml"))]
ON_GPU = {"train-sisr", "train-refsr", "evaluate"}
CLUSTER = """
everywhere: {node_selector: {pool: batch}}
gpu: {node_selector: {gpu: a100}, tolerations: [{key: dedicated, operator: Equal, value: gpu, effect: NoSchedule}]}
secrets: [{name: mlflow, env: {user: MLFLOW_TRACKING_USERNAME, password: MLFLOW_TRACKING_PASSWORD}}]
state: {claim: trainings}
tasks: {train_sisr: {gpus: 2, memory: 64Gi}}
"""
GRAPHS = {
    "rendered": lambda cluster: training(IMAGE, cluster, "rendered"),
    "named": lambda cluster: training(IMAGE, cluster, "named"),
    "fetched": lambda cluster: training(IMAGE, cluster, "fetched"),
    "in parts": lambda cluster: training(IMAGE, cluster.model_copy(update={"curate_shards": 3}), "named"),
    "reevaluation": lambda cluster: reevaluation(IMAGE, cluster, with_sisr=False),
    "reevaluation of both": lambda cluster: reevaluation(IMAGE, cluster, with_sisr=True),
    "inference": lambda cluster: inference(IMAGE, cluster),
}

Spec = dict[str, Any]


def _kebab(name: str) -> str:
    return name.replace("_", "-")


def _compiled(package: Path, cluster: Path | None = None, graph: str = "rendered") -> tuple[Spec, Spec]:
    """(pipeline, what Kubernetes is told of each executor)."""
    compile_package(package, GRAPHS[graph](load_cluster(cluster)))
    pipeline, platform = yaml.safe_load_all(package.read_text())
    return pipeline, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("package") / "training.yaml"


@pytest.fixture(scope="module")
def compiled(package: Path) -> tuple[Spec, Spec]:
    return _compiled(package)


@pytest.fixture(scope="module")
def pipeline(compiled: tuple[Spec, Spec]) -> Spec:
    return compiled[0]


@pytest.fixture(scope="module", params=GRAPHS)
def graph(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Spec, Spec]:
    """Every graph in turn: what no graph may do is asked of each."""
    return _compiled(tmp_path_factory.mktemp("graph") / "package.yaml", graph=request.param)


def _stages_of(pipeline: Spec) -> Spec:
    """The tasks inside the exit handler."""
    tasks: Spec = pipeline["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    return tasks


def _containers(pipeline: Spec) -> dict[str, Spec]:
    executors = pipeline["deploymentSpec"]["executors"].items()
    return {name.removeprefix("exec-"): made["container"] for name, made in executors if "container" in made}


def _everywhere(document: Any, key: str) -> list[Any]:
    """The values of `key` at any depth."""
    if isinstance(document, list):
        return [found for item in document for found in _everywhere(item, key)]
    if not isinstance(document, dict):
        return []
    return [document[key] for _ in range(key in document)] + _everywhere(list(document.values()), key)


@pytest.mark.parametrize("name", [*steps.STEPS, *steps.SIDE_STEPS])
def test_a_component_takes_the_paths_of_its_step(name: str) -> None:
    component = getattr(stages, name)
    assert component.name == _kebab(name)
    ports = steps.ports(steps.load(name))
    kinds = {"input": set(), "output": set()}
    for port, kind in ports.items():
        kinds["output" if kind.endswith("output") else "input"].add(port)
    taken = component.component_spec.inputs
    assert set(taken) - {"params", "tracking_uri", "uri", "shard"} == kinds["input"]
    assert ("uri" in taken) == ("raw set" in ports.values())
    assert set(component.component_spec.outputs) - {"report", "results", "card"} == kinds["output"] | {"metrics"}


@pytest.mark.parametrize("name", [*steps.STEPS, *steps.SIDE_STEPS, "finish"])
def test_a_component_holds_no_logic(name: str) -> None:
    """Its body is copied into the pod: a docstring, an import from the image, and one call naming the stage."""
    source = textwrap.dedent(inspect.getsource(getattr(stages, name).python_func))
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    document, imported, call = function.body
    assert isinstance(document, ast.Expr)
    assert isinstance(imported, ast.ImportFrom)
    assert imported.module == "components.shell"
    assert isinstance(call, ast.Expr)
    assert isinstance(call.value, ast.Call)
    if name != "finish":
        assert ast.literal_eval(call.value.args[0]) == name
        assert {k.arg for k in call.value.keywords} - {"uri", "shard"} == set(steps.ports(steps.load(name)))
        assert all(isinstance(k.value, ast.Name) and k.value.id == k.arg for k in call.value.keywords)


def test_every_stage_is_a_task_and_every_edge_an_artifact_of_that_name(pipeline: Spec) -> None:
    tasks = _stages_of(pipeline)
    assert list(tasks) == sorted(map(_kebab, steps.STEPS))
    for name, task in tasks.items():
        edges = task["inputs"].get("artifacts", {})
        producers = {edge["taskOutputArtifact"]["producerTask"] for edge in edges.values()}
        assert all(edge["taskOutputArtifact"]["outputArtifactKey"] == key for key, edge in edges.items())
        assert set(task.get("dependentTasks", [])) == producers, f"{name} waits for more than it reads"
        section = task["inputs"]["parameters"]["params"]["componentInputParameter"]
        assert _kebab(section.removeprefix("pipelinechannel--")) == name
    assert set(TASKS) == {*steps.STEPS, *steps.SIDE_STEPS, "finish"}


def test_a_raw_set_is_fetched_by_revision_and_nothing_is_rendered(tmp_path: Path) -> None:
    pipeline, _ = _compiled(tmp_path / "p.yaml", graph="fetched")
    tasks = _stages_of(pipeline)
    assert set(tasks) == {"fetch", *map(_kebab, steps.STEPS)} - {"synthesize"}
    assert tasks["curate"]["inputs"]["artifacts"]["raw"]["taskOutputArtifact"]["producerTask"] == "fetch"


def test_only_a_whole_commit_is_fetched_from_the_cache(tmp_path: Path) -> None:
    """A branch moves on; what a cache brought back would be the bytes it had once."""
    for revision, cached in (("main", False), ("v1", False), ("0" * 40, True)):
        fetch = {"repository": "https://git.example/faces", "path": "raw", "revision": revision}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump({"fetch": fetch}))
        compile_package(tmp_path / "p.yaml", build(Work(tmp_path / "params.yaml"), IMAGE, load_cluster()))
        pipeline, _ = yaml.safe_load_all((tmp_path / "p.yaml").read_text())
        options = _stages_of(pipeline)["fetch"]["cachingOptions"]
        assert options.get("enableCache", False) is cached, revision
        assert _stages_of(pipeline)["curate"]["cachingOptions"]["enableCache"]


def test_a_raw_set_of_ones_own_is_read_by_the_stage_and_not_copied_into_its_pod(tmp_path: Path) -> None:
    pipeline, _ = _compiled(tmp_path / "p.yaml", graph="named")
    tasks = _stages_of(pipeline)
    assert set(tasks) == set(map(_kebab, steps.STEPS)) - {"synthesize"}
    assert "artifacts" not in tasks["curate"]["inputs"]
    assert tasks["curate"]["inputs"]["parameters"]["uri"] == {"componentInputParameter": "pipelinechannel--raw"}


def test_curation_is_spread_over_as_many_tasks_as_the_cluster_file_says(tmp_path: Path) -> None:
    """A loop over texts of the package, and one task that is given what all of them left."""
    (tmp_path / "cluster.yaml").write_text("curate_shards: 3")
    pipeline, _ = _compiled(tmp_path / "p.yaml", tmp_path / "cluster.yaml")
    tasks = _stages_of(pipeline)
    (loop,) = (name for name in tasks if name.startswith("for-loop"))
    assert set(tasks) == {loop, "merge", *map(_kebab, steps.STEPS)} - {"curate"}
    iterated = tasks[loop]["parameterIterator"]
    assert json.loads(iterated["items"]["raw"]) == ["1/3", "2/3", "3/3"]
    (part,) = pipeline["components"][f"comp-{loop}"]["dag"]["tasks"].values()
    assert part["inputs"]["parameters"]["shard"] == {"componentInputParameter": iterated["itemInput"]}
    parts = tasks["merge"]["inputs"]["artifacts"]["parts"]["taskOutputArtifact"]
    assert parts["producerTask"] == loop
    assert tasks["validate"]["inputs"]["artifacts"]["curated"]["taskOutputArtifact"]["producerTask"] == "merge"


def test_a_model_is_measured_again_with_or_without_the_arm_that_has_no_reference(tmp_path: Path) -> None:
    for graph, models in (("reevaluation", {"refsr"}), ("reevaluation of both", {"refsr", "sisr"})):
        pipeline, _ = _compiled(tmp_path / "p.yaml", graph=graph)
        assert set(_stages_of(pipeline)["evaluate"]["inputs"]["artifacts"]) == {"curated", *models}


def test_the_end_is_recorded_however_it_comes(pipeline: Spec) -> None:
    root = pipeline["root"]["dag"]["tasks"]
    assert set(root) == {"exit-handler-1", "finish"}
    assert root["finish"]["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    given = root["finish"]["inputs"]["parameters"]
    assert given["status"] == {"taskFinalStatus": {"producerTask": "exit-handler-1"}}


def test_nothing_hangs_on_what_the_local_runner_gets_wrong(graph: tuple[Spec, Spec]) -> None:
    """No condition, no loop over what a task made, nothing optional but the status, no bare number."""
    pipeline, _ = graph
    assert not _everywhere(pipeline, "condition")
    assert all("raw" in iterated["items"] for iterated in _everywhere(pipeline, "parameterIterator"))
    assert not _everywhere(pipeline, "artifactIterator")
    assert not _everywhere(pipeline, "parameterExpressionSelector")
    inputs = [given for group in _everywhere(pipeline, "parameters") for given in group.values()]
    inputs = [given for given in inputs if "parameterType" in given]
    assert {given["parameterType"] for given in inputs} == {"STRUCT", "STRING", "TASK_FINAL_STATUS"}
    assert {given["parameterType"] for given in inputs if given.get("isOptional")} == {"TASK_FINAL_STATUS"}


def test_one_immutable_image_and_nothing_installed(graph: tuple[Spec, Spec]) -> None:
    pipeline, _ = graph
    assert {container["image"] for container in _containers(pipeline).values()} == {IMAGE}
    assert stages.IMAGE not in json.dumps(pipeline)
    assert "pip install" not in json.dumps(pipeline)


def test_each_task_says_what_it_needs_and_for_how_long(graph: tuple[Spec, Spec]) -> None:
    pipeline, kubernetes = graph
    containers = _containers(pipeline)
    assert set(containers) <= {_kebab(name) for name in TASKS}
    groups = _everywhere(pipeline, "tasks")
    tasks = {name: task for group in groups for name, task in group.items() if "cachingOptions" in task}
    for name, container in containers.items():
        asked = container["resources"]
        assert asked["resourceCpuLimit"] == asked["resourceCpuRequest"] == TASKS[name.replace("-", "_")].get("cpu", "1")
        assert asked["resourceMemoryLimit"] == asked["resourceMemoryRequest"]
        assert int(kubernetes[f"exec-{name}"]["activeDeadlineSeconds"]) >= 600
        retry = tasks[name]["retryPolicy"]
        assert (retry["maxRetryCount"], retry["backoffDuration"], retry["backoffFactor"]) == (2, "30s", 2.0)
    cached = {name for name, task in tasks.items() if task["cachingOptions"].get("enableCache")}
    assert cached - {"importer"} == set(tasks) - {"register", "checkpoint", "finish", "importer"}


def test_gpus_go_to_networks_only(graph: tuple[Spec, Spec]) -> None:
    pipeline, kubernetes = graph
    gpus = {name: c["resources"].get("accelerator") for name, c in _containers(pipeline).items()}
    here = ON_GPU & set(gpus)
    assert {name for name, gpu in gpus.items() if gpu} == here
    assert all(gpus[name]["resourceType"] == "nvidia.com/gpu" for name in here)
    assert all(gpus[name]["resourceCount"] == "1" for name in here)
    assert {n.removeprefix("exec-") for n, told in kubernetes.items() if "tolerations" in told} == here
    shared = {
        n.removeprefix("exec-"): told["emptyDirMounts"] for n, told in kubernetes.items() if "emptyDirMounts" in told
    }
    assert set(shared) == {"train-sisr", "train-refsr"} & set(gpus)
    for (mount,) in shared.values():
        assert (mount["mountPath"], mount["medium"]) == ("/dev/shm", "Memory")  # noqa: S108 - in the pod


def test_a_cluster_file_changes_what_it_names(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    pipeline, kubernetes = _compiled(tmp_path / "p.yaml", tmp_path / "cluster.yaml")
    containers = _containers(pipeline)
    assert containers["train-sisr"]["resources"]["accelerator"]["resourceCount"] == "2"
    assert containers["train-sisr"]["resources"]["resourceMemoryLimit"] == "64Gi"
    assert containers["train-sisr"]["resources"]["resourceCpuLimit"] == TASKS["train_sisr"]["cpu"]
    assert containers["train-refsr"]["resources"]["accelerator"]["resourceCount"] == "1"
    assert kubernetes["exec-curate"]["nodeSelector"]["labels"] == {"pool": "batch"}
    assert kubernetes["exec-train-sisr"]["nodeSelector"]["labels"] == {"pool": "batch", "gpu": "a100"}
    (toleration,) = kubernetes["exec-train-sisr"]["tolerations"]
    assert toleration == {"key": "dedicated", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"}


def test_secrets_are_named_and_never_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2-password")
    monkeypatch.setenv("KFP_TOKEN", "hunter2-token")
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    pipeline, kubernetes = _compiled(tmp_path / "p.yaml", tmp_path / "cluster.yaml")
    text = (tmp_path / "p.yaml").read_text()
    assert "hunter2" not in text
    for name, container in _containers(pipeline).items():
        state = {STATE} if name in map(_kebab, RESUMABLE) else set()
        assert {variable["name"] for variable in container["env"]} == set(ENVIRONMENT) | state
    for told in kubernetes.values():
        (secret,) = told["secretAsEnv"]
        assert secret["secretName"] == "mlflow"
        assert {pair["secretKey"]: pair["envVar"] for pair in secret["keyToEnv"]} == {
            "user": "MLFLOW_TRACKING_USERNAME",
            "password": "MLFLOW_TRACKING_PASSWORD",
        }


def test_what_can_go_on_after_a_kill_keeps_its_state_on_a_volume_that_outlives_pods(
    compiled: tuple[Spec, Spec], tmp_path: Path
) -> None:
    assert not _everywhere(compiled[1], "pvcMount")
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    pipeline, kubernetes = _compiled(tmp_path / "p.yaml", tmp_path / "cluster.yaml")
    mounts = {name: told["pvcMount"] for name, told in kubernetes.items() if "pvcMount" in told}
    assert set(mounts) == {"exec-curate", "exec-train-sisr", "exec-train-refsr"}
    every = (*steps.STEPS, *steps.SIDE_STEPS)
    assert set(RESUMABLE) == {name for name in every if "resumable output" in steps.ports(steps.load(name)).values()}
    for name, (mount,) in mounts.items():
        environment = _containers(pipeline)[name.removeprefix("exec-")]["env"]
        assert {"name": STATE, "value": mount["mountPath"]} in environment
        assert mount["pvcNameParameter"] == {"runtimeValue": {"constant": "trainings"}}


def test_a_pod_knows_its_run_by_its_label_not_by_a_parameter(graph: tuple[Spec, Spec]) -> None:
    """A parameter that is another in each run would be part of the cache key, and nothing would ever be cached."""
    pipeline, kubernetes = graph
    assert "{{$.pipeline_job" not in json.dumps(pipeline)
    for told in kubernetes.values():
        assert told["fieldPathAsEnv"] == [{"name": RUN, "fieldPath": "metadata.labels['pipeline/runid']"}]


def test_the_package_in_a_gitops_repository(package: Path, pipeline: Spec, tmp_path: Path) -> None:
    made = training(IMAGE, load_cluster(), "rendered")
    compile_package(tmp_path / "objects.yaml", made, version="Revision_0123abc", namespace="faces")
    root, version = yaml.safe_load_all((tmp_path / "objects.yaml").read_text())
    assert (root["kind"], version["kind"]) == ("Pipeline", "PipelineVersion")
    assert {each["metadata"]["namespace"] for each in (root, version)} == {"faces"}
    assert version["metadata"]["name"] == "refsr-training-revision-0123abc"
    assert version["spec"]["pipelineName"] == root["metadata"]["name"]
    assert version["spec"]["pipelineSpec"] == pipeline
    platform = version["spec"]["platformSpec"]
    assert platform == list(yaml.safe_load_all(package.read_text()))[1]


def test_the_package_is_the_same_to_the_byte(package: Path, pipeline: Spec, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pipelines.package import compile_package\n"
        "from pipelines.cluster import load_cluster; from pipelines.training import training\n"
        f"compile_package(Path(sys.argv[1]), training({IMAGE!r}, load_cluster(), 'rendered'))"
    )
    again = tmp_path / "again.yaml"
    environment = {"PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, str(again)], check=True, cwd=ROOT, env=environment)
    assert again.read_bytes() == package.read_bytes()


@pytest.mark.parametrize("path", PARAMS_FILES, ids=lambda path: path.name)
def test_parameters_survive_becoming_floats(path: Path, pipeline: Spec) -> None:
    """Kubeflow keeps numbers as floats, and hands them over so."""
    made = training(IMAGE, load_cluster(), "named")
    given = json.loads(json.dumps(arguments(made, Work(path), "http://mlflow")), parse_int=float)
    assert set(given) == set(pipeline["root"]["inputDefinitions"]["parameters"])
    for name in steps.STEPS:
        section = parse_section(name, given[name])
        assert section == load_section(path, name)
        assert json.dumps(section.model_dump()) == json.dumps(load_section(path, name).model_dump())


def test_no_argument_is_null(tmp_path: Path) -> None:
    """The local runner takes none, at any depth; what is null by default is left out, and comes back as it was."""
    fetch = {"repository": "https://git.example/faces", "path": "raw", "revision": "v1"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"fetch": fetch}))
    given = arguments(training(IMAGE, load_cluster(), "fetched"), Work(tmp_path / "params.yaml"), "http://mlflow")
    assert "null" not in json.dumps(given)
    assert parse_section("fetch", given["fetch"]) == load_section(tmp_path / "params.yaml", "fetch")


def test_the_cluster_files_of_the_page_are_read(tmp_path: Path) -> None:
    text = (ROOT / "docs/how-to/kubeflow.md").read_text()
    everything, nodes = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    for block in (everything, nodes):
        (tmp_path / "cluster.yaml").write_text(block)
        assert load_cluster(tmp_path / "cluster.yaml") != load_cluster()
