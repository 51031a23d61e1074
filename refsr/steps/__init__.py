"""The door: every stage is run by `run`, whether DVC, Kubeflow, the command line or a test asks for it.

A step is one function, `refsr.steps.<stage>.<stage>(params, tracker, *, named paths) -> metrics`. Its paths are marked
`Raw`, `Input`, `Inputs` or `Output`; the door checks the inputs, hands the step a scratch path for each output
(`NAME.partial`, beside the real one) and renames it into place when the step has ended well. A stage that dies leaves
nothing that looks whole.
"""

import errno
import hashlib
import importlib
import inspect
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

from refsr.config import Section
from refsr.errors import RefsrError
from refsr.services.versioning import file_hash
from refsr.tracker import NullTracker
from refsr.training import distributed

Raw = Annotated[str, "raw set"]  # a folder or an archive, or the s3:// URI of one; see refsr.data.sources
Input = Annotated[Path, "input"]
OptionalInput = Annotated[Path | None, "input"]  # with the default None: what may be left out
Inputs = Annotated[Sequence[Path], "inputs"]
Output = Annotated[Path, "output"]
# Kept across a kill: the step finds its own scratch again as long as its parameters and inputs are the same.
ResumableOutput = Annotated[Path, "resumable output"]

STEPS = ("synthesize", "curate", "validate", "train_sisr", "train_refsr", "evaluate", "register")
# Steps that are no stage of the flow, and the section whose parameters they take.
SIDE_STEPS = {"merge": "curate", "fetch": "fetch", "checkpoint": "checkpoint", "upscale_folder": "upscale_folder"}
# Files and folders of a resumable output that are kept until it is in place, and never part of it.
RESUME_POINTS = ("state.pt", "work.finished")
_READ = ("raw set", "input", "inputs")

Step = Callable[..., dict[str, float]]


def load(name: str) -> Step:
    """The function of a stage; its module, and so its heavy libraries, are imported only here."""
    step: Step = getattr(importlib.import_module(f"refsr.steps.{name}"), name)
    return step


def ports(step: Step) -> dict[str, str]:
    """The paths a step takes: name -> "raw set", "input", "inputs", "output" or "resumable output"."""
    hints = get_type_hints(step, include_extras=True)
    return {key: get_args(hints[key])[1] for key in inspect.signature(step).parameters if len(get_args(hints[key])) > 1}


def run(
    name: str,
    params: Section,
    *,
    tracking_uri: str,
    state: Path | None = None,
    pipeline: str | None = None,
    named: Mapping[str, str] | None = None,
    **paths: Any,
) -> dict[str, float]:
    """Run one stage as a tracked run and return its metrics.

    `paths` are the step's own, and what options it has beside them. `state` is a folder that outlives the present one:
    what a killed run has saved is kept and found there. With `pipeline`, the name of a whole run on a cluster, the
    tracked run becomes a child of that one's. `named` tells of a raw set that was copied here by what name it stands
    for its bytes for ever: then another copy of it is the same, whatever the times of its files.
    Raises RefsrError where an input is missing, the disk is full, or the step refuses what it is given.
    """
    from refsr.services.orphans import task_key
    from refsr.services.tracking import start_run

    step = load(name)
    kinds = ports(step)
    options = {key: value for key, value in paths.items() if key not in kinds}
    inputs = _checked_inputs(name, kinds, paths)
    if distributed.rank() > 0:
        return _help(step, params, kinds, inputs)
    fingerprint = ""
    if "resumable output" in kinds.values():
        known = {key: [uri] for key, uri in (named or {}).items()}
        facts = [name, params.model_dump(mode="json"), options]
        facts += [known.get(key) or _facts(kinds[key], inputs[key]) for key in inputs]
        fingerprint = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    kept = state / f"{name}-{fingerprint[:16]}" if state and fingerprint else None
    outputs = {key: kind for key, kind in kinds.items() if kind not in _READ}
    scratch = {key: _open_scratch(paths[key], kind, fingerprint, kept) for key, kind in outputs.items()}
    local = {key: Path(value) for key, value in inputs.items() if kinds[key] != "inputs" and Path(value).exists()}
    task = task_key(pipeline, name, *(str(paths[key]) for key in outputs))
    with start_run(tracking_uri, name, params, local, pipeline, task) as tracker:
        try:
            metrics = step(params, tracker, **inputs, **scratch, **options)
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


def _help(step: Step, params: Section, kinds: Mapping[str, str], inputs: Mapping[str, Any]) -> dict[str, float]:
    """What a process beside the first of a distributed training does: the same, and nothing of it is kept."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = {key: Path(folder) / key for key, kind in kinds.items() if kind.endswith("output")}
        return step(params, NullTracker(), **inputs, **outputs)


def _checked_inputs(name: str, kinds: Mapping[str, str], paths: Mapping[str, Any]) -> dict[str, Any]:
    """What the step reads, all of it there; a raw set as text, since a Path would spoil its URI."""
    read = {key: paths[key] for key, kind in kinds.items() if kind in _READ and key in paths}
    inputs = {key: str(value) if kinds[key] == "raw set" else value for key, value in read.items()}
    for key, value in inputs.items():
        _require(name, key, kinds[key], value)
    return inputs


def _require(name: str, key: str, kind: str, value: Any) -> None:
    option = f"{name}: input --{key.replace('_', '-')}"
    if kind == "raw set":
        from refsr.data import sources

        try:
            sources.check(value)
        except RefsrError as error:
            raise RefsrError(f"{option} {error}") from error
        return
    for path in value if kind == "inputs" else [value]:
        if not path.exists():
            raise RefsrError(
                f"{option} {path}: no such file or folder; run the stage that makes it (`dvc repro` runs all that are "
                "needed), or name another path"
            )


def _facts(kind: str, value: Any) -> list[Any]:
    """What changes with an input: names and contents of its files, without times, so that another pod that is handed
    the same artifacts comes to the same. Of a raw set, which may be huge, sizes and times or ETags instead of contents.
    """
    if kind == "raw set":
        from refsr.data import sources

        return [sources.fingerprint(value)]
    facts = []
    for path in value if kind == "inputs" else [value]:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        facts += [(str(p.relative_to(path)), file_hash(p)) for p in files]
    return facts


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
    elif not partial.exists() and _resume_points(path):  # killed after the rename: it is whole, but for the cleaning
        path.rename(partial)
    if kind == "resumable output":
        key.write_text(fingerprint)
    return partial


def _resume_points(output: Path) -> list[Path]:
    """What a step goes on from after a kill, inside its output; it goes once the output is in place."""
    return [output / name for name in RESUME_POINTS if (output / name).exists()]


def _copy_output(output: Path, to: Path) -> None:
    if output.is_dir():
        shutil.copytree(output, to, ignore=lambda folder, names: RESUME_POINTS if Path(folder) == output else ())
    else:
        shutil.copyfile(output, to)


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def _put_in_place(partial: Path, path: Path) -> None:
    if not partial.exists():
        raise RuntimeError(f"the step ended without writing {partial}")
    if partial != _beside(path):  # on another disk, from which nothing can be renamed to here
        _remove(_beside(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        _copy_output(partial, _beside(path))
    _remove(path)
    _beside(path).rename(path)  # the commit point
    for point in _resume_points(path):
        _remove(point)
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
