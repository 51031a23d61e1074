"""The stage `register`, promotion and rollback, in a real store with real (untrained) networks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluations import evaluation
from helpers import make_curated
from registering import HR, LR, Pipeline

import refsr
from refsr.config import Gate, Register
from refsr.dataset.curated import Curated
from refsr.errors import RefsrError
from refsr.evaluation.openings import held_out_hash
from refsr.inference.upscaler import upscale
from refsr.integrations import model_folder
from refsr.integrations.registry import CHECKPOINT, METRICS, Registry, checkpoint_of
from refsr.integrations.tracking import start_run
from refsr.io.files import file_hash
from refsr.models.checkpoint import load_model
from refsr.steps.register import promote, register
from refsr.tracker import NullTracker


@pytest.fixture
def pipeline(tracking_uri: str, tmp_path: Path) -> Pipeline:
    return Pipeline(tracking_uri, tmp_path)


def test_the_first_version_that_passes_is_champion(pipeline: Pipeline) -> None:
    pipeline.train(1)
    assert pipeline.register() == "1"
    registered = pipeline.registered()
    assert registered["aliases"] == {"candidate": "1", "champion": "1"}
    assert registered["verdict"]["passed"] is True
    assert registered["verdict"]["champion"] == "none yet"
    card = (pipeline.paths["registration"] / "model_card.md").read_text()
    assert card.startswith("# refsr, version 1\n")
    assert "| RefSR, right reference | 26.00 [25.50, 26.50] |" in card
    assert "2 identities for training, 0 for validation, 2 for test" in card
    assert "{{" not in card


def test_rendered_faces_are_said_to_be_rendered(pipeline: Pipeline) -> None:
    (pipeline.paths["curated"] / "summary.json").write_text('{"rendered": true}')
    pipeline.train(1)
    pipeline.register()
    assert "rendered faces" in (pipeline.paths["registration"] / "model_card.md").read_text()


def test_a_later_version_is_candidate_until_promoted_and_can_be_taken_back(
    pipeline: Pipeline,
) -> None:
    registry = Registry(pipeline.uri, "refsr")
    for seed in (1, 2, 3):
        pipeline.train(seed)
        assert pipeline.register() == str(seed)
    assert registry.aliases() == {"candidate": "3", "champion": "1"}
    assert promote(pipeline.uri, Register(), "2") == "2"
    assert promote(pipeline.uri, Register(), "candidate") == "3"
    assert promote(pipeline.uri, Register(), "3") == "3"  # again: nothing changes
    assert registry.rollback() == ("3", "2")
    assert registry.rollback() == ("2", "1")
    assert registry.aliases() == {"candidate": "3", "champion": "1"}
    with pytest.raises(
        RefsrError, match="version 1 is the first champion, there is none to go back to"
    ):
        registry.rollback()


def test_a_promotion_killed_half_way_does_not_confuse_rollback(pipeline: Pipeline) -> None:
    registry = Registry(pipeline.uri, "refsr")
    for seed in (1, 2):
        pipeline.train(seed)
        pipeline.register()
    registry._set_former(["1"])  # the first of the two writes of `promote 2`
    with pytest.raises(RefsrError, match="version 1 is the first champion"):
        registry.rollback()
    promote(pipeline.uri, Register(), "2")
    assert registry.rollback() == ("2", "1")


def test_a_registration_that_is_repeated_writes_the_same_bytes(pipeline: Pipeline) -> None:
    pipeline.train(0)
    written = []
    for _ in range(2):  # the second is what follows a kill between the registry and the output
        pipeline.register()
        written.append(
            {path.name: path.read_bytes() for path in pipeline.paths["registration"].iterdir()}
        )
    assert written[0] == written[1]


def test_a_former_champion_that_was_deleted_is_passed_over(pipeline: Pipeline) -> None:
    registry = Registry(pipeline.uri, "refsr")
    for seed in (1, 2, 3):
        pipeline.train(seed)
        promote(pipeline.uri, Register(), pipeline.register())
    registry._client.delete_model_version("refsr", "2")
    assert registry.rollback() == ("3", "1")


def test_the_same_files_are_one_version(pipeline: Pipeline) -> None:
    pipeline.train(1)
    assert [pipeline.register(), pipeline.register()] == ["1", "1"]
    (pipeline.paths["evaluation"] / METRICS).write_text(
        json.dumps(evaluation(psnr=26.5))
    )  # measured anew
    assert pipeline.register() == "2"


def test_a_model_below_a_threshold_is_not_registered(pipeline: Pipeline) -> None:
    pipeline.train(1)
    missed = (
        r"not registered: .*\n"
        r"  psnr_over_wrong: \+1\.5000 dB .* is 0\.2500 below the threshold, \+1\.7500$"
    )
    with pytest.raises(RefsrError, match=missed):
        pipeline.register(Gate(psnr_over_wrong=1.75))
    assert Registry(pipeline.uri, "refsr").versions() == []
    assert not pipeline.paths["registration"].exists()


def test_a_model_worse_than_the_champion_is_not_registered(pipeline: Pipeline) -> None:
    pipeline.train(1, psnr=26.0)
    pipeline.register()
    pipeline.train(2, psnr=25.9)
    with pytest.raises(
        RefsrError, match=r"version 1, on the same.*\n  psnr_over_champion: .* is 0\.0500 below"
    ):
        pipeline.register()


def test_many_small_losses_are_one(pipeline: Pipeline) -> None:
    for seed, psnr in ((1, 26.0), (2, 25.97)):
        pipeline.train(seed, psnr=psnr)
        promote(pipeline.uri, Register(), pipeline.register())
    pipeline.train(3, psnr=25.94)
    with pytest.raises(RefsrError, match=r"version 2, on the same.*\n  psnr_over_champion: -0\.06"):
        pipeline.register()


def test_scores_on_other_test_images_are_not_compared(pipeline: Pipeline) -> None:
    pipeline.train(1, psnr=26.0)
    pipeline.register()
    make_curated(pipeline.paths["curated"], identities=4, images=1, size=HR, train=2)
    pipeline.train(2, psnr=20.0)
    assert pipeline.register() == "2"
    assert (
        pipeline.registered()["verdict"]["champion"]
        == "version 1, not comparable: it saw other test images"
    )


def test_the_gate_is_asked_again_on_promotion(pipeline: Pipeline) -> None:
    for seed in (1, 2):
        pipeline.train(seed)
        pipeline.register()
    stricter = Register(gate=Gate(identity_over_none=0.25))
    with pytest.raises(
        RefsrError,
        match=r"version 2 .* not promoted: .*\n  identity_over_none: .* is 0\.0500 below",
    ):
        promote(pipeline.uri, stricter, "2")
    assert Registry(pipeline.uri, "refsr").champion() == "1"


def test_what_is_not_there_is_named(pipeline: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(
        RefsrError, match="has no version '7'; there are: none, nothing was registered yet"
    ):
        promote(pipeline.uri, Register(), "7")
    with pytest.raises(RefsrError, match="has no champion yet: run the pipeline"):
        Registry(pipeline.uri, "refsr").rollback()
    with (
        pytest.raises(RefsrError, match="models:/refsr: write models:/NAME@ALIAS"),
        checkpoint_of(pipeline.uri, "models:/refsr"),
    ):
        pass
    with pytest.raises(RefsrError, match="no model registry here"):
        Registry(f"sqlite:///{tmp_path}/other.db", "refsr")
    assert not (tmp_path / "other.db").exists()


def test_a_version_knows_the_runs_that_trained_it(pipeline: Pipeline) -> None:
    pipeline.train(1)
    with start_run(pipeline.uri, "train_refsr", Register()) as tracker:
        tracker.tags({"checkpoint": file_hash(pipeline.paths["refsr"] / CHECKPOINT)})
    version = pipeline.register()
    tags = Registry(pipeline.uri, "refsr").tags(version)
    assert tags["train_refsr_run"] == tracker.run_id
    assert len(tags["train_refsr_params"]) == 64
    assert tags["train_sisr_run"] == "unknown"
    assert tags["checkpoint"] == file_hash(pipeline.paths["refsr"] / CHECKPOINT)


def test_the_checkpoint_comes_back_as_it_was(pipeline: Pipeline) -> None:
    pipeline.train(1)
    pipeline.register()
    expected = load_model(pipeline.paths["refsr"] / CHECKPOINT).state_dict()
    for name in (
        "models:/refsr@champion",
        "models:/refsr/1",
        str(pipeline.paths["refsr"] / CHECKPOINT),
    ):
        with checkpoint_of(pipeline.uri, name) as path:
            weights = load_model(path).state_dict()
        assert all(torch.equal(weights[key], value) for key, value in expected.items())
    network = load_model(pipeline.paths["refsr"] / CHECKPOINT)
    champion = refsr.load("models:/refsr@champion", tracking_uri=pipeline.uri)
    photo = np.full((LR, LR, 3), 90, np.uint8)
    assert np.array_equal(champion.upscale(photo, photo), upscale(network, photo, photo))
    described = model_folder.described(pipeline.uri, "models:/refsr@champion")
    assert described.model == "models:/refsr/1"
    assert described.card.startswith("# refsr, version 1\n")
    assert described.metrics["psnr"]["ref_right"]["mean"] == 26


def test_the_champion_serves_in_a_process_that_knows_nothing_of_this_package(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    pipeline.train(1)
    pipeline.register()
    code = f"""
import json, mlflow, numpy as np
mlflow.set_tracking_uri({pipeline.uri!r})
model = mlflow.pyfunc.load_model("models:/refsr@champion")
lr, ref = np.full((2, {LR}, {LR}, 3), 90, np.uint8), np.full((2, 50, 40, 3), 99, np.uint8)
scored = model.predict({{"lr": lr, "ref": ref}})
with_ref, without = scored["sr"], model.predict({{"lr": lr, "ref": ref[:0]}})["sr"]
assert scored["compatibility"] == [None] * 2, scored  # an untrained model does not say
from mlflow.pyfunc.scoring_server import invocations  # what `mlflow models serve` answers by
for portraits, same in ((ref.tolist(), with_ref), ([], without)):
    body = json.dumps({{"inputs": {{"lr": lr.tolist(), "ref": portraits}}}})
    answer = invocations(body, "application/json", model, model.metadata.get_input_schema())
    assert (np.array(json.loads(answer.response)["predictions"]["sr"]) == same).all(), answer
import refsr
print(with_ref.shape, with_ref.dtype, without.shape, (with_ref != without).any(), refsr.__file__)
for wrong in ({{"lr": lr}}, {{"lr": lr / 255.0, "ref": ref}}, {{"lr": lr[..., :1], "ref": ref}},
    {{"lr": lr, "ref": ref / 10}}, {{"lr": lr, "ref": ref[:1]}}, {{"lr": lr, "ref": ref[0]}}):
    try:
        model.predict(wrong)
    except (mlflow.MlflowException, refsr.errors.RefsrError):
        print("refused")
"""
    environment = {"PATH": os.environ["PATH"], "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert first.startswith(f"(2, {HR}, {HR}, 3) uint8 (2, {HR}, {HR}, 3) True {tmp_path}")
    assert rest == ["refused"] * 6


def test_registration_needs_a_tracked_run(pipeline: Pipeline) -> None:
    with pytest.raises(TypeError, match="tracked run"):
        register(Register(), NullTracker(), **pipeline.paths)


def test_an_evaluation_of_validation_people_is_not_registered(
    pipeline: Pipeline,
) -> None:
    pipeline.train(seed=0)
    path = pipeline.paths["evaluation"] / METRICS
    path.write_text(json.dumps(evaluation() | {"data": {"split": "validation"}}))
    with pytest.raises(RefsrError, match=r"metrics.json: measured on the split validation"):
        pipeline.register()


def test_the_hash_of_the_test_set_is_of_test_images_and_scale(tmp_path: Path) -> None:
    one = Curated(make_curated(tmp_path / "one", identities=3, size=HR, train=1))
    assert held_out_hash(one, 8) != held_out_hash(one, 4)
    pixels = np.load(tmp_path / "one" / "hr-00000.npy")
    for row, same in ((0, True), (len(pixels) - 1, False)):  # of a training and of a test identity
        other = make_curated(tmp_path / f"other{row}", identities=3, size=HR, train=1)
        changed = pixels.copy()
        changed[row] += 1
        np.save(other / "hr-00000.npy", changed)
        assert (held_out_hash(Curated(other), 8) == held_out_hash(one, 8)) is same
