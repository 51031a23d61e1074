"""The door: every stage is run by `run`, whether DVC, Kubeflow, the command line or a test asks for it.

A step is one function, `refsr.steps.<stage>.<stage>(params, tracker, *, named paths) -> metrics`. Its paths are marked
`Input` or `Output`; the door checks the inputs, hands the step a scratch path for each output (`NAME.partial`, beside
the real one) and renames it into place when the step has ended well. A stage that dies leaves nothing that looks whole.
"""

import errno
import hashlib
import importlib
import inspect
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

from refsr.config import Section
from refsr.errors import RefsrError
from refsr.services.versioning import file_hash

Input = Annotated[Path, "input"]
Output = Annotated[Path, "output"]
# Kept across a kill: the step finds its own scratch again as long as its parameters and inputs are the same.
ResumableOutput = Annotated[Path, "resumable output"]

STEPS = ("synthesize", "curate", "validate", "train_sisr", "train_refsr", "evaluate", "register")
# Steps that are no stage of the flow, and the section whose parameters they take.
SIDE_STEPS = {"fetch": "fetch", "checkpoint": "checkpoint", "upscale_folder": "upscale_folder"}

Step = Callable[..., dict[str, float]]


def load(name: str) -> Step:
    """The function of a stage; its module, and so its heavy libraries, are imported only here."""
    step: Step = getattr(importlib.import_module(f"refsr.steps.{name}"), name)
    return step


def ports(step: Step) -> dict[str, str]:
    """The paths a step takes: name -> "input", "output" or "resumable output"."""
    hints = get_type_hints(step, include_extras=True)
    return {key: get_args(hints[key])[1] for key in inspect.signature(step).parameters if len(get_args(hints[key])) > 1}


def run(
    name: str,
    params: Section,
    *,
    tracking_uri: str,
    state: Path | None = None,
    pipeline: str | None = None,
    **paths: Path,
) -> dict[str, float]:
    """Run one stage as a tracked run and return its metrics.

    `state` is a folder that outlives the present one: what a killed training has saved is kept and found there. With
    `pipeline`, the name of a whole run on a cluster, the tracked run becomes a child of that one's.
    Raises RefsrError where an input is missing, the disk is full, or the step refuses what it is given.
    """
    from refsr.services.tracking import start_run

    step = load(name)
    kinds = ports(step)
    inputs = {key: paths[key] for key, kind in kinds.items() if kind == "input"}
    for key, path in inputs.items():
        _require(name, key, path)
    fingerprint = _fingerprint(name, params, inputs) if "resumable output" in kinds.values() else ""
    kept = state / f"{name}-{fingerprint[:16]}" if state and fingerprint else None
    scratch = {key: _open_scratch(paths[key], kinds[key], fingerprint, kept) for key in kinds if key not in inputs}
    with start_run(tracking_uri, name, params, inputs, pipeline) as tracker:
        try:
            metrics = step(params, tracker, **inputs, **scratch)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise RefsrError(_disk_full(name, error, scratch)) from error
            raise
        tracker.metrics(metrics)
    for key, partial in scratch.items():
        _put_in_place(partial, paths[key])
    if kept:
        _remove(kept)
    return metrics


def _require(name: str, key: str, path: Path) -> None:
    if not path.exists():
        raise RefsrError(
            f"{name}: input --{key.replace('_', '-')} {path}: no such file or folder; "
            "run the stage that makes it (`dvc repro` runs all that are needed), or name another path"
        )


def _fingerprint(name: str, params: Section, inputs: Mapping[str, Path]) -> str:
    """A hash of what a stage is made from: its parameters, and the names and contents of its input files.

    No times: another pod that is handed the same artifacts is to come to the same hash.
    """
    facts: list[Any] = [name, params.model_dump(mode="json")]
    for key, path in sorted(inputs.items()):
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        facts += [(key, str(p.relative_to(path)), file_hash(p)) for p in files]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _open_scratch(path: Path, kind: str, fingerprint: str, kept: Path | None) -> Path:
    """The scratch path of an output: empty, or what a killed run of the very same stage left there.

    It stands beside the output; a resumable one stands in `kept`, a folder of this very stage, where that is given.
    """
    if kind == "resumable output" and kept:
        kept.mkdir(parents=True, exist_ok=True)
        return kept / path.name
    partial, key = _beside(path), path.with_name(path.name + ".partial-key")
    partial.parent.mkdir(parents=True, exist_ok=True)
    if not (kind == "resumable output" and key.exists() and key.read_text() == fingerprint):
        _remove(partial)
        key.unlink(missing_ok=True)
    if kind == "resumable output":
        key.write_text(fingerprint)
    return partial


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def _put_in_place(partial: Path, path: Path) -> None:
    if not partial.exists():
        raise RuntimeError(f"the step ended without writing {partial}")
    if partial != _beside(path):  # on another disk, from which nothing can be renamed to here
        _remove(_beside(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if partial.is_dir() else shutil.copyfile)(partial, _beside(path))
    _remove(path)
    _beside(path).rename(path)
    path.with_name(path.name + ".partial-key").unlink(missing_ok=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _disk_full(name: str, error: OSError, scratch: Mapping[str, Path]) -> str:
    where = error.filename or ", ".join(map(str, scratch.values()))
    folder = next(iter(scratch.values())).parent
    free = shutil.disk_usage(folder).free / 2**20
    return (
        f"{name}: {where}: {error.strerror} ({free:.0f} MiB free in {folder}); make room and run the stage again: "
        "the unfinished output stands under *.partial and no later stage reads it"
    )
