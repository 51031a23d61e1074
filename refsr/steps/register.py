"""Stage `register`: the quality gate, then a version in the registry.

And `promote`, which checks the gate again.
"""

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from refsr.config import Gate, Register
from refsr.dataset.curated import Curated
from refsr.errors import RefsrError
from refsr.evaluation.gate import Verdict, check_gate
from refsr.evaluation.openings import held_out_hash
from refsr.evaluation.statistics import flatten
from refsr.headline import headline
from refsr.integrations import registration_files
from refsr.integrations.model_card import description
from refsr.integrations.registry import (
    CHECKPOINT,
    MADE_OF,
    METRICS,
    REGISTRATION,
    ChampionChangedError,
    Registry,
)
from refsr.integrations.tracking import MlflowTracker
from refsr.integrations.version_facts import COMPARED, FIRST, gain_tag
from refsr.integrations.versioning import data_revision, git_revision
from refsr.io.files import file_hash
from refsr.io.own_files import read_json
from refsr.models.checkpoint import read_checkpoint
from refsr.steps import Input, Output
from refsr.tracker import Tracker

TRIES = 10  # of a registration while others change the champion


def register(
    params: Register,
    tracker: Tracker,
    *,
    curated: Input,
    sisr: Input,
    refsr: Input,
    evaluation: Input,
    registration: Output,
) -> dict[str, float]:
    """Register the RefSR checkpoint as `candidate` if its evaluation passes the gate.

    The first version is champion too. The same checkpoint with the same evaluation is one version,
    however often it is registered. Leaves in `registration`: registered.json,
    model_card.md, and the report and pictures of the evaluation. Raises RefsrError saying which
    threshold was missed by how much, or in an experiment of DVC.
    """
    _refuse_experiment()
    if not isinstance(tracker, MlflowTracker):
        raise TypeError(
            "a version belongs to a tracked run: register needs the tracker of "
            "refsr.integrations.tracking"
        )
    registry = Registry(tracker.uri, params.name)
    config, _, tensors = read_checkpoint(refsr / CHECKPOINT)
    metrics = _read_metrics(evaluation / METRICS)
    _require_test(metrics, evaluation / METRICS)
    facts = _made_of(curated, refsr, evaluation, int(config["scale"]))
    facts |= _lineage(registry, curated, {"train_sisr": sisr, "train_refsr": refsr})

    def log() -> Any:
        return registry.log(refsr / CHECKPOINT, evaluation / METRICS, example(config))

    version, verdict = _version(registry, tracker, metrics, params.gate, facts, log)
    verdict = _repeatable(registry, version, verdict)
    card = {
        "name": params.name,
        "version": version,
        "lineage": facts,
        "config": config,
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
        "metrics": metrics,
        "verdict": verdict,
        **_counts(curated),
    }
    created = registry.created(version)
    registration_files.write(registration, evaluation, card, registry.aliases(), created)
    _publish(registry, tracker, registration, card)
    return {"version": float(version), **headline("evaluate", flatten(metrics))}


def _repeatable(registry: Registry, version: str, verdict: Verdict) -> Verdict:
    """The verdict; a registration that was killed, or is repeated, ends with that of the first."""
    if registry.champion() == version and registry.tags(version).get(COMPARED) == FIRST:
        return replace(verdict, champion=FIRST)
    return verdict


def _publish(
    registry: Registry, tracker: MlflowTracker, registration: Path, card: Mapping[str, Any]
) -> None:
    """Copy the files of a registration into its run, and describe the version by them."""
    tracker.artifact(registration, REGISTRATION)
    files = [path.name for path in registration.iterdir()]
    registry.describe(
        card["version"], registration, lambda run: description(card, run, REGISTRATION, files)
    )


def _version(
    registry: Registry,
    tracker: MlflowTracker,
    metrics: Mapping[str, Any],
    gate: Gate,
    facts: Mapping[str, str],
    log: Callable[[], Any],
) -> tuple[str, Verdict]:
    """The version that these facts have, or a new one of what `log` logs.

    It is the candidate, and passed the gate.

    Raises:
        RefsrError: It does not pass.
    """
    made_of = {key: facts[key] for key in MADE_OF}
    model = None
    for _ in range(TRIES):
        champion = registry.champion()
        version = registry.find(**made_of)
        verdict = against_champion(registry, metrics, facts["test_set"], gate, version, champion)
        if not verdict.passed:
            raise RefsrError(refusal("the model is not registered", verdict))
        if version is not None:
            registry.make_candidate(version)
            return version, verdict
        model = model or log()
        with contextlib.suppress(ChampionChangedError):  # the gate compares with the new one then
            tags = {**facts, COMPARED: verdict.champion, **gain_tag(metrics)}
            return registry.add(tracker, model, tags, champion), verdict
    raise RefsrError(f"the champion changed {TRIES} times meanwhile; run the stage again")


def promote(tracking_uri: str, params: Register, version: str) -> str:
    """Make a version champion if its stored evaluation passes the gate of `params`.

    `version` is a number or an alias; returns the number. Raises RefsrError where there is no such
    version, where it fails, saying by how much, and where another version becomes champion
    meanwhile.
    """
    registry = Registry(tracking_uri, params.name)
    version = registry.resolve(version)
    measured_on = registry.tags(version).get("test_set", "")
    champion = registry.champion()
    verdict = against_champion(
        registry, registry.metrics(version), measured_on, params.gate, version, champion
    )
    if not verdict.passed:
        raise RefsrError(
            refusal(f"version {version} of model {params.name!r} is not promoted", verdict)
        )
    registry.make_champion(version, champion)
    return version


def against_champion(
    registry: Registry,
    metrics: Mapping[str, Any],
    measured_on: str,
    gate: Gate,
    version: str | None,
    champion: str | None,
) -> Verdict:
    """The gate's verdict.

    The champion counts too, if it is another version and saw the same test images, and with it
    the champions before that saw them.
    """
    if champion is None:
        return check_gate(metrics, gate, champion_note=FIRST)
    if champion == version:
        return check_gate(metrics, gate, champion_note=f"version {champion} is the champion")
    if registry.tags(champion).get("test_set") != measured_on:
        return check_gate(
            metrics,
            gate,
            champion_note=f"version {champion}, not comparable: it saw other test images",
        )
    comparable = [champion] + [
        each
        for each in registry.former_champions()
        if each != version and registry.tags(each).get("test_set") == measured_on
    ]
    measured = [registry.metrics(each) for each in dict.fromkeys(comparable)]
    return check_gate(metrics, gate, measured, f"version {champion}, on the same test images")


def example(config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """An input of the right form that shows nobody: colour gradients.

    {"lr", "ref"} of (1, h, h, 3) uint8.
    """
    hr_size = int(config["hr_size"])
    ramp = np.linspace(0, 255, hr_size).astype(np.uint8)
    grid = np.stack([*np.meshgrid(ramp, ramp), np.full((hr_size, hr_size), 128, np.uint8)], -1)[
        None
    ]
    step = int(config["scale"])
    return {"lr": np.ascontiguousarray(grid[:, ::step, ::step]), "ref": grid}


def _made_of(curated: Path, refsr: Path, evaluation: Path, scale: int) -> dict[str, str]:
    """What a version is known by: hashes of its checkpoint, evaluation and test images."""
    return {
        "checkpoint": file_hash(refsr / CHECKPOINT),
        "evaluation": file_hash(evaluation / METRICS),
        "test_set": held_out_hash(Curated(curated), scale),
    }


def _lineage(registry: Registry, curated: Path, trained: Mapping[str, Path]) -> dict[str, str]:
    """Code, data and training runs a version comes from; "unknown" where there is no record."""
    commit, dirty = git_revision()
    facts = {
        "git": f"{commit or 'unknown'}{' with changes' if dirty else ''}",
        "data": data_revision(curated),
    }
    for stage, folder in trained.items():
        run = registry.training_run(file_hash(folder / CHECKPOINT))
        facts[f"{stage}_run"] = run.info.run_id if run else "unknown"
        facts[f"{stage}_params"] = run.data.tags.get("params", "unknown") if run else "unknown"
    return facts


def _refuse_experiment() -> None:
    """Check that `dvc exp run` has not started this stage: it would move the alias `candidate`."""
    if name := os.environ.get("DVC_EXP_NAME"):
        raise RefsrError(
            f"register: the experiment {name} registers no model. Name the last stage it runs: "
            "`dvc exp run ... evaluate`; what has run already is not run again. To register its "
            f"model: `dvc exp apply {name}`, then `dvc repro register`"
        )


def _require_test(metrics: Mapping[str, Any], path: Path) -> None:
    """Check that the evaluation is not one of validation people, on whom choices were made."""
    split = metrics.get("data", {}).get("split", "test")
    if split != "test":
        raise RefsrError(
            f"{path}: measured on the split {split}; a version is registered by the test split: "
            "set evaluate.split: test and run `evaluate` again"
        )


def _read_metrics(path: Path) -> dict[str, Any]:
    return read_json(path, "evaluate")


def _counts(curated: Path) -> dict[str, Any]:
    """What the model card says of the data."""
    table = Curated(curated).table
    identities = table.groupby("split")["identity"].nunique()
    tested = (table["split"] == "test") & (table["role"] == "image")
    path = curated / "summary.json"
    summary = read_json(path, "curate") if path.is_file() else {}
    return {
        "rendered": bool(summary.get("rendered")),
        "licence": str(summary.get("licence", "")),
        "framing": dict(summary.get("framing") or {}),
        "people_compared": bool(summary.get("people_compared")),
        "same_people": int(summary.get("rejects.same_person", 0)),
        "train_identities": int(identities.get("train", 0)),
        "validation_identities": int(identities.get("validation", 0)),
        "test_identities": int(identities.get("test", 0)),
        "test_images": int(tested.sum()),
    }


def refusal(what: str, verdict: Verdict) -> str:
    """`what` is refused, the champion, and a line for each threshold that was missed."""
    failures = "".join(f"\n  {failure}" for failure in verdict.failures)
    return f"{what}: the quality gate failed (champion: {verdict.champion}){failures}"
