"""The graphs: their tasks and edges, and no construct that kfp.local runs wrongly."""

import json
from pathlib import Path

from compiled import Spec, compiled_of, everywhere, kebab, stages_of

from pipelines.cluster import TASKS
from refsr import steps


def test_every_stage_is_a_task_and_every_edge_an_artifact_of_that_name(pipeline: Spec) -> None:
    tasks = stages_of(pipeline)
    assert list(tasks) == sorted(map(kebab, steps.STEPS))
    for name, task in tasks.items():
        edges = task["inputs"].get("artifacts", {})
        producers = {edge["taskOutputArtifact"]["producerTask"] for edge in edges.values()}
        assert all(
            edge["taskOutputArtifact"]["outputArtifactKey"] == key for key, edge in edges.items()
        )
        assert set(task.get("dependentTasks", [])) == producers, (
            f"{name} waits for more than it reads"
        )
        section = task["inputs"]["parameters"]["params"]["componentInputParameter"]
        assert kebab(section.removeprefix("pipelinechannel--")) == name
    assert set(TASKS) == {*steps.STEPS, *steps.SIDE_STEPS, "finish"}


def test_a_raw_set_is_fetched_by_revision_and_nothing_is_rendered(tmp_path: Path) -> None:
    pipeline, _ = compiled_of(tmp_path / "p.yaml", graph="fetched")
    tasks = stages_of(pipeline)
    assert set(tasks) == {"fetch", *map(kebab, steps.STEPS)} - {"synthesize"}
    assert (
        tasks["curate"]["inputs"]["artifacts"]["raw"]["taskOutputArtifact"]["producerTask"]
        == "fetch"
    )


def test_a_stage_reads_a_named_raw_set_in_place(tmp_path: Path) -> None:
    pipeline, _ = compiled_of(tmp_path / "p.yaml", graph="named")
    tasks = stages_of(pipeline)
    assert set(tasks) == set(map(kebab, steps.STEPS)) - {"synthesize"}
    assert "artifacts" not in tasks["curate"]["inputs"]
    given = tasks["curate"]["inputs"]["parameters"]
    assert given["uri"] == {"componentInputParameter": "pipelinechannel--raw"}
    assert given["layout"] == {"componentInputParameter": "pipelinechannel--layout"}


def test_curate_shards_sets_the_number_of_curation_tasks(tmp_path: Path) -> None:
    """A loop over texts of the package, and a task that merges the outputs."""
    (tmp_path / "cluster.yaml").write_text("curate_shards: 3")
    pipeline, _ = compiled_of(tmp_path / "p.yaml", tmp_path / "cluster.yaml")
    tasks = stages_of(pipeline)
    (loop,) = (name for name in tasks if name.startswith("for-loop"))
    assert set(tasks) == {loop, "merge", *map(kebab, steps.STEPS)} - {"curate"}
    iterated = tasks[loop]["parameterIterator"]
    assert json.loads(iterated["items"]["raw"]) == ["1/3", "2/3", "3/3"]
    (part,) = pipeline["components"][f"comp-{loop}"]["dag"]["tasks"].values()
    assert part["inputs"]["parameters"]["shard"] == {
        "componentInputParameter": iterated["itemInput"]
    }
    for task in (part, tasks["merge"]):
        assert task["inputs"]["parameters"]["layout"] == {
            "componentInputParameter": "pipelinechannel--layout"
        }
    parts = tasks["merge"]["inputs"]["artifacts"]["parts"]["taskOutputArtifact"]
    assert parts["producerTask"] == loop
    assert (
        tasks["validate"]["inputs"]["artifacts"]["curated"]["taskOutputArtifact"]["producerTask"]
        == "merge"
    )


def test_evaluate_shards_sets_the_number_of_evaluation_tasks(tmp_path: Path) -> None:
    """In both graphs that evaluate. A loop over texts of the package, and a task that merges."""
    (tmp_path / "cluster.yaml").write_text("evaluate_shards: 3")
    for graph, models in (("rendered", {"sisr", "refsr"}), ("reevaluation", {"refsr"})):
        pipeline, _ = compiled_of(tmp_path / "p.yaml", tmp_path / "cluster.yaml", graph)
        tasks = stages_of(pipeline)
        (loop,) = (name for name in tasks if name.startswith("for-loop"))
        assert "evaluate" not in tasks
        iterated = tasks[loop]["parameterIterator"]
        assert json.loads(iterated["items"]["raw"]) == ["1/3", "2/3", "3/3"]
        (part,) = pipeline["components"][f"comp-{loop}"]["dag"]["tasks"].values()
        assert part["inputs"]["parameters"]["shard"] == {
            "componentInputParameter": iterated["itemInput"]
        }
        artifacts = tasks["merge-evaluation"]["inputs"]["artifacts"]
        assert set(artifacts) == {"curated", "parts", *models}
        assert artifacts["parts"]["taskOutputArtifact"]["producerTask"] == loop
        if graph == "rendered":
            read = tasks["register"]["inputs"]["artifacts"]["evaluation"]["taskOutputArtifact"]
            assert read["producerTask"] == "merge-evaluation"


def test_a_search_ends_with_the_evaluation(tmp_path: Path) -> None:
    tasks = stages_of(compiled_of(tmp_path / "p.yaml", graph="search")[0])
    assert list(tasks) == sorted(map(kebab, set(steps.STEPS) - {"register"}))


def test_reevaluation_with_and_without_the_sisr_model(tmp_path: Path) -> None:
    for graph, models in (("reevaluation", {"refsr"}), ("reevaluation of both", {"refsr", "sisr"})):
        pipeline, _ = compiled_of(tmp_path / "p.yaml", graph=graph)
        assert set(stages_of(pipeline)["evaluate"]["inputs"]["artifacts"]) == {"curated", *models}


def test_an_exit_handler_records_the_end(pipeline: Spec) -> None:
    root = pipeline["root"]["dag"]["tasks"]
    assert set(root) == {"exit-handler-1", "finish"}
    assert root["finish"]["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    given = root["finish"]["inputs"]["parameters"]
    assert given["status"] == {"taskFinalStatus": {"producerTask": "exit-handler-1"}}


def test_a_graph_has_no_construct_that_the_local_runner_gets_wrong(
    graph: tuple[Spec, Spec],
) -> None:
    """No condition, no loop over outputs, no optional input except the status, no plain number."""
    pipeline, _ = graph
    assert not everywhere(pipeline, "condition")
    assert all("raw" in iterated["items"] for iterated in everywhere(pipeline, "parameterIterator"))
    assert not everywhere(pipeline, "artifactIterator")
    assert not everywhere(pipeline, "parameterExpressionSelector")
    inputs = [given for group in everywhere(pipeline, "parameters") for given in group.values()]
    inputs = [given for given in inputs if "parameterType" in given]
    assert {given["parameterType"] for given in inputs} == {"STRUCT", "STRING", "TASK_FINAL_STATUS"}
    assert {given["parameterType"] for given in inputs if given.get("isOptional")} == {
        "TASK_FINAL_STATUS"
    }
