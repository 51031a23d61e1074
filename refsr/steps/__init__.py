"""The step runner: DVC, Kubeflow, the command line and tests run every stage by `run`.

A step is one function, `refsr.steps.<stage>.<stage>(params, tracker, *, named paths) -> metrics`.
Its paths are marked `Raw`, `Input`, `Inputs` or `Output`; the runner checks the inputs, gives the
step a scratch path for each output (`NAME.partial`, beside the real one) and renames it into place
when the step has ended well. A stage that dies leaves nothing that looks whole. An output replaces
only what the same stage wrote; see refsr.io.output.
"""

import functools
import importlib
import inspect
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, get_args, get_type_hints

from refsr import log
from refsr.config import SECTIONS, Section
from refsr.errors import RefsrError
from refsr.headline import of_the_run
from refsr.io import output as io_output
from refsr.io import retained
from refsr.io.exhausted import disk_full, out_of_memory
from refsr.io.lock import Lock
from refsr.io.output import check_apart, held, recover
from refsr.io.paths import file_errors_as_messages, path_text
from refsr.side_config import SIDE_SECTIONS
from refsr.steps.inputs import READ, checked_inputs, fingerprint_of, option_name, require_whole
from refsr.steps.shortage import disk_message, memory_message
from refsr.steps.starting import Work, require_stores, starter, steps_of, take_up
from refsr.tracker import NullTracker
from refsr.training import distributed

Raw = Annotated[str, "raw set"]  # folder, archive or the s3:// URI of one; see refsr.io.sources
Input = Annotated[Path, "input"]
OptionalInput = Annotated[Path | None, "input"]  # with the default None: what may be left out
# An input that has to be there, and changes nothing of the output.
Required = Annotated[Path, "input", "without effect"]
Inputs = Annotated[Sequence[Path], "inputs"]
Output = Annotated[Path, "output"]
# Kept across a kill: the step finds its own scratch again as long as its parameters and inputs are
# the same.
ResumableOutput = Annotated[Path, "resumable output"]

STEPS = tuple(SECTIONS)
# Steps that are no stage of the flow, and the section whose parameters they take.
SIDE_STEPS = {"merge": "curate", "merge_evaluation": "evaluate"} | {
    name: name for name in SIDE_SECTIONS
}

Step = Callable[..., dict[str, float]]
_Run = TypeVar("_Run", bound=Step)
_logger = logging.getLogger(__name__)


def load(name: str) -> Step:
    """The function of a stage; its module, and so its heavy libraries, are imported only here."""
    step: Step = getattr(importlib.import_module(f"refsr.steps.{name}"), name)
    return step


def ports(step: Step) -> dict[str, str]:
    """The paths a step takes, by name.

    Each is "raw set", "input", "inputs", "output" or "resumable output".
    """
    hints = get_type_hints(step, include_extras=True)
    return {
        key: get_args(hints[key])[1]
        for key in inspect.signature(step).parameters
        if len(get_args(hints[key])) > 1
    }


def _without_effect(step: Step) -> set[str]:
    hints = get_type_hints(step, include_extras=True)
    return {key for key, hint in hints.items() if hint == Required}


def _logged(run: _Run) -> _Run:
    """Mark the log lines of a stage with its name."""

    @functools.wraps(run)
    def logged(name: str, *args: Any, **kwargs: Any) -> dict[str, float]:
        with log.stage(name):
            return run(name, *args, **kwargs)

    return cast(_Run, logged)


@_logged
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

    `paths` are the step's own, and what options it has beside them. `state` is a folder that
    outlives the present one: what a killed run has saved is kept and found there. With `pipeline`,
    the name of a whole run on a cluster, the tracked run becomes a child of that one's. `named`
    gives the permanent name of a raw set that was copied here: then another copy of it is the same,
    whatever the times of its files. Raises RefsrError where an input is missing, the disk is full,
    or the step refuses what it is given.
    """
    step = load(name)
    kinds = ports(step)
    outputs = {}
    if distributed.rank() == 0:  # what can be refused before an input is read
        outputs = checked_outputs(name, kinds, paths)
        places = [out.place for out in outputs.values()]
        require_stores(name, params, places, state, tracking_uri)
    with file_errors_as_messages(f"{name}: "):
        inputs = checked_inputs(name, kinds, paths)
    if distributed.rank() > 0:
        return _help(name, step, params, kinds, inputs)
    with file_errors_as_messages(f"{name}: "):
        require_whole(kinds, inputs)
    options = {key: value for key, value in paths.items() if key not in kinds}
    read = {key: value for key, value in inputs.items() if key not in _without_effect(step)}
    fingerprint = fingerprint_of(name, params, kinds, read, options, named or {})
    kept = state / f"{name}-{fingerprint[:16]}" if state and fingerprint else None
    work = Work(name, params, kinds, inputs, options, outputs, fingerprint, kept)
    with held(outputs, work.vouched()), _state_held(kept, name):
        take_up(params, kept, work.scratch())
        started = time.monotonic()
        _logger.info("started")
        metrics = _tracked(step, work, tracking_uri, state, pipeline)
        for folder in work.scratch().values():
            retained.finish(folder, name, fingerprint, steps_of(params))
        _put_in_place(outputs, work.scratch())
        _logger.info("finished in %.1f s", time.monotonic() - started)
        if kept:
            retained.finish_on_volume(kept, name, fingerprint, steps_of(params))
    return metrics


def _tracked(
    step: Step, work: Work, tracking_uri: str, state: Path | None, pipeline: str | None
) -> dict[str, float]:
    """Call the step in a tracked run of its own; returns its metrics."""
    from refsr.integrations.dead_runs import task_key
    from refsr.integrations.journaled_run import deliver_left

    name, params, scratch = work.name, work.params, work.scratch()
    places = [out.place for out in work.outputs.values()]
    task = task_key(pipeline, name, *map(str, places))
    local = _local(work.kinds, work.inputs)
    deliver_left(tracking_uri, [path.parent for path in (*places, *local.values())], state)
    start = starter(params, scratch)
    with (
        start(tracking_uri, name, params, local, pipeline, task) as tracker,
        _as_messages(name, params, scratch),
    ):
        metrics = step(params, tracker, **work.inputs, **scratch, **work.options)
        tracker.metrics(of_the_run(name, metrics))
    return metrics


def _local(kinds: Mapping[str, str], inputs: Mapping[str, Any]) -> dict[str, Path]:
    """The inputs that are one path each, on this machine."""
    single = {key: Path(value) for key, value in inputs.items() if kinds[key] != "inputs"}
    return {key: path for key, path in single.items() if path.exists()}


def _put_in_place(outputs: Mapping[str, io_output.Output], scratch: Mapping[str, Path]) -> None:
    for key, written in scratch.items():
        if not written.exists():
            raise RuntimeError(f"the step ended without writing {written}")
        outputs[key].put_in_place(written)
        _logger.debug("wrote %s", outputs[key].place)


@contextmanager
def _state_held(kept: Path | None, name: str) -> Iterator[None]:
    """Hold the folder of unfinished work on a volume, where there is one.

    A second run of the same work is refused meanwhile.
    """
    if kept is None:
        yield
        return
    with file_errors_as_messages(f"{name}: "):
        kept.mkdir(parents=True, exist_ok=True)
        retained.clean_volume(kept.parent)
        lock = Lock(kept.with_name(f"{kept.name}.partial-key"))
        lock.take(f"{name}: {kept}")
        lock.write(name, "")
    try:
        kept.mkdir(exist_ok=True)
        yield
    finally:
        lock.release(keep=kept.exists())


@contextmanager
def _as_messages(name: str, params: Section, scratch: Mapping[str, Path]) -> Iterator[None]:
    """Turn errors of the machine into one message each.

    These are: a want of memory or disk, other errors of a disk, a worker process that was killed.
    """
    try:
        with file_errors_as_messages(f"{name}: "):
            try:
                yield
            except Exception as error:
                if isinstance(error, RefsrError):
                    raise
                if out_of_memory(error):
                    raise RefsrError(memory_message(name, params, error)) from error
                if scratch and disk_full(error):
                    raise RefsrError(disk_message(name, error, scratch)) from error
                raise
    except BrokenExecutor as error:
        raise RefsrError(
            f"{name}: a worker process was killed, most likely for want of memory; "
            "run the stage again with fewer cores (taskset) or more memory"
        ) from error


def _help(
    name: str, step: Step, params: Section, kinds: Mapping[str, str], inputs: Mapping[str, Any]
) -> dict[str, float]:
    """What a process beside the first of a distributed training does.

    It does the same, and nothing of it is kept.
    """
    with tempfile.TemporaryDirectory() as folder:
        outputs = {
            key: Path(folder) / key for key, kind in kinds.items() if kind.endswith("output")
        }
        with _as_messages(name, params, outputs):
            return step(params, NullTracker(), **inputs, **outputs)


def checked_outputs(
    name: str, kinds: Mapping[str, str], paths: Mapping[str, Any]
) -> dict[str, io_output.Output]:
    """The outputs of a step, by port. Nothing is read of an input and nothing is changed.

    Raises:
        RefsrError: One of them is not this stage's to replace, or overlaps an input or another
            output.
    """
    inputs: dict[str, Path] = {}
    for key, kind in kinds.items():
        given = (
            [paths[key]]
            if kind != "inputs" and paths.get(key) is not None
            else paths.get(key) or []
        )
        texts = [path_text(str(value)) for value in given]
        if kind in READ:
            inputs |= {
                f"{option_name(key)}{f' #{i}' * (i > 1)}": Path(text)
                for i, text in enumerate(texts, 1)
                if not text.startswith("s3://")
            }
    outputs = {}
    for key, kind in kinds.items():
        if kind not in READ:
            outputs[key] = io_output.Output(
                SIDE_STEPS.get(name, name), option_name(key), Path(paths[key])
            )
    check_apart({option_name(key): each for key, each in outputs.items()}, inputs)
    for each in outputs.values():
        each.check()
    for path in inputs.values():
        recover(path)
    return outputs
