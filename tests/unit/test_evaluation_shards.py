"""An evaluation in shards of the people, and their merge."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from evaluated import PARAMS, Done, Recorder

from refsr.config import Evaluate
from refsr.errors import RefsrError
from refsr.evaluation.shards import PART, facts_of, read
from refsr.io.own_files import seal
from refsr.steps.evaluate import bench_of, checkpoints, evaluate
from refsr.steps.merge_evaluation import merge_evaluation
from refsr.tracker import NullTracker


@pytest.fixture(scope="module")
def shards(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three shards of two batches: the first has nobody."""
    parts = [tmp_path_factory.mktemp("shards") / str(number) for number in (1, 2, 3)]
    for part in reversed(parts):
        counts = evaluate(PARAMS, NullTracker(), evaluation=part, shard=f"{part.name}/3", **inputs)
        assert counts["images"] == {"1": 0, "2": 8, "3": 6}[part.name]
    return parts


def test_shards_merge_to_the_same_bytes(
    inputs: dict[str, Path],
    shards: list[Path],
    done: Done,
    tmp_path: Path,
) -> None:
    folder, returned, shown = done
    tracker = Recorder()
    merged = merge_evaluation(
        PARAMS, tracker, parts=shards[::-1], evaluation=tmp_path / "merged", **inputs
    )
    assert merged == returned
    assert {"robustness", "compatibility", "latent", "samples"} <= {
        key.split(".")[0] for key in merged
    }
    names = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    assert {
        path.relative_to(tmp_path / "merged") for path in (tmp_path / "merged").rglob("*")
    } > names
    for name in names:
        assert (tmp_path / "merged" / name).read_bytes() == (folder / name).read_bytes(), name
    assert tracker.files == shown.files
    assert all(np.array_equal(tracker.images[key], image) for key, image in shown.images.items())


def test_a_shard_that_is_missing_or_of_something_else_is_named(
    inputs: dict[str, Path], shards: list[Path], tmp_path: Path
) -> None:
    one, two, three = shards
    params = Evaluate(batch_size=8, robustness=1)
    paths = checkpoints(params, inputs["refsr"], inputs["sisr"])
    bench = bench_of(params, inputs["curated"], paths)
    facts = facts_of(bench, params, paths)
    for name, change in (("again", {}), ("half", {"share": [1, 2]}), ("damaged", {})):
        shutil.copytree(one if name == "again" else two, tmp_path / name)
        document = json.loads((two / PART).read_text())
        del document["crc32"]
        if change:
            (tmp_path / name / PART).write_text(json.dumps(seal(document | change)))
    (tmp_path / "damaged/ratings.parquet").write_bytes(b"PAR1")
    seed = {"params": facts["params"] | {"seed": 1}}
    alone = {"networks": {"refsr": facts["networks"]["refsr"]}}
    for change, parts, message in (
        ({}, [one, three], r"shard 2/3 is missing; run `evaluate --shard 2/3`"),
        ({}, [one, two, inputs["sisr"]], f"{inputs['sisr']}: no shard of an evaluation"),
        ({}, [one, tmp_path / "again", two], f"{one} and {tmp_path}/again are both shard 1/3"),
        ({}, [one, tmp_path / "half"], f"divisions: {tmp_path}/half is of 2, {one} is of 3"),
        ({}, [one, tmp_path / "damaged", three], r"ratings.parquet: missing or damaged .*--shard"),
        (seed, shards, r"1: measured with other parameters .evaluate.seed was 0"),
        (alone, shards, "1: measured with another checkpoint of `sisr`"),
        ({"images": "other"}, shards, "1: a shard of other images, split or scale"),
    ):
        with pytest.raises(RefsrError, match=message):
            read(parts, facts | change)
    assert read(shards, facts).sources == bench.test["source"].tolist()
    one_more = facts_of(bench, params.model_copy(update={"bootstrap": 500}), paths)
    assert one_more == facts  # what only the merge reads may change


def test_the_curve_of_verification_has_the_area_that_the_metrics_name(
    done: Done,
) -> None:
    folder, returned, _ = done
    document = json.loads((folder / "classification.json").read_text())
    curve = document["roc"]
    area = np.trapezoid(curve["tpr"], curve["fpr"])
    assert area == pytest.approx(returned["verification.ref_right.auc.mean"], abs=0.02)
    assert curve["threshold"] == sorted(curve["threshold"], reverse=True)
    assert (curve["fpr"][0], curve["fpr"][-1], curve["tpr"][-1]) == (0, 1, 1)
    assert document["confusion"]["categories"] == ["right", "wrong"]
    assert [sum(row) for row in document["confusion"]["matrix"]] == [14, 14]
