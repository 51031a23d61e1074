"""The steps: inputs are checked, outputs appear whole or not at all."""

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from refsr import steps
from refsr.config import Validate
from refsr.errors import RefsrError
from refsr.io import atomic, retained
from refsr.steps import Input, Output, ResumableOutput
from refsr.tracker import Tracker

Write = Callable[[Path], None]


def put(folder: Path, text: str) -> None:
    """A folder with one file, as a step would leave it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "file").write_text(text)


def _step(write: Write) -> steps.Step:
    def step(
        params: Validate, tracker: Tracker, *, curated: Input, validation: Output
    ) -> dict[str, float]:
        write(validation)
        return {"rows": 1.0}

    return step


def _run(
    monkeypatch: pytest.MonkeyPatch, folder: Path, step: steps.Step, state: Path | None = None
) -> dict[str, float]:
    monkeypatch.setattr(steps, "load", lambda name: step)
    return steps.run(
        "validate",
        Validate(),
        tracking_uri=f"sqlite:///{folder / 'mlflow.db'}",
        state=state,
        curated=folder / "in",
        validation=folder / "out",
    )


def test_a_missing_input_is_named_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(
        RefsrError, match=r"validate: input --curated .*in: no such file or folder; .*dvc repro"
    ):
        _run(monkeypatch, tmp_path, _step(lambda path: put(path, "x")))
    assert list(tmp_path.iterdir()) == []


def test_an_output_replaces_the_old_one_only_when_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    _run(monkeypatch, tmp_path, _step(lambda path: put(path, "old")))

    def half(path: Path) -> None:
        put(path, "half")
        raise RefsrError("no")

    with pytest.raises(RefsrError, match="no"):
        _run(monkeypatch, tmp_path, _step(half))
    assert (tmp_path / "out/file").read_text() == "old"
    assert _run(monkeypatch, tmp_path, _step(lambda path: put(path, "new"))) == {"rows": 1.0}
    assert (tmp_path / "out/file").read_text() == "new"
    assert not list(tmp_path.glob("*.partial*"))


def test_a_full_disk_is_reported_and_leaves_nothing_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The file-size limit of the process stands in for the disk:
    the same write fails in the same way.
    """
    (tmp_path / "in").mkdir()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(path: Path) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))
        try:
            path.write_bytes(bytes(2**21))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    with pytest.raises(RefsrError, match=r"validate: .*: File too large .* MiB free .* make room"):
        _run(monkeypatch, tmp_path, _step(fill))
    assert not (tmp_path / "out").exists()


def test_a_killed_stage_finds_its_scratch_again_unless_anything_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    seen: list[bool] = []

    def step(
        params: Validate, tracker: Tracker, *, curated: Input, validation: ResumableOutput
    ) -> dict[str, float]:
        seen.append(validation.exists())
        put(validation, "so far")
        if len(seen) < 4:
            raise KeyboardInterrupt
        return {}

    for change in (None, None, "new input"):
        if change:
            (tmp_path / "in" / "file").write_text(change)
        with pytest.raises(KeyboardInterrupt):
            _run(monkeypatch, tmp_path, step)
    _run(monkeypatch, tmp_path, step)
    assert seen == [False, True, False, True]
    assert not list(tmp_path.glob("*.partial*"))


def test_what_was_saved_is_recognised_by_content_from_another_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tracking_uri: str
) -> None:
    """As a pod has it that is tried again on another node:
    other paths, other times, the same bytes.
    """
    seen: list[str] = []

    def step(
        params: Validate, tracker: Tracker, *, curated: Input, validation: ResumableOutput
    ) -> dict[str, float]:
        seen.append((validation / "file").read_text() if validation.exists() else "")
        put(validation, "so far")
        if len(seen) == 1:
            raise KeyboardInterrupt
        return {}

    monkeypatch.setattr(steps, "load", lambda name: step)

    def pod(name: str, content: str) -> None:
        (tmp_path / name / "in").mkdir(parents=True)
        (tmp_path / name / "in" / "file").write_text(content)
        paths = {"curated": tmp_path / name / "in", "validation": tmp_path / name / "out"}
        steps.run(
            "validate", Validate(), tracking_uri=tracking_uri, state=tmp_path / "state", **paths
        )

    with pytest.raises(KeyboardInterrupt):
        pod("first", "a")
    pod("other", "b")
    pod("second", "a")
    assert seen == ["", "", "so far"]
    assert not (tmp_path / "first" / "out").exists()
    assert (tmp_path / "second" / "out" / "file").read_text() == "so far"
    late = time.time() - 2 * 3600  # no retry comes any more: the next stage cleans up
    for finished in (tmp_path / "state").glob(f"*/{retained.FINISHED}"):
        os.utime(finished, (late, late))
    retained.clean_volume(tmp_path / "state")
    assert not list((tmp_path / "state").iterdir())


def _resumable(calls: list[bool]) -> steps.Step:
    def step(
        params: Validate, tracker: Tracker, *, curated: Input, validation: ResumableOutput
    ) -> dict[str, float]:
        calls.append((validation / "state/1.pt").exists())
        (validation / "state").mkdir(exist_ok=True, parents=True)
        (validation / "state/1.pt").write_text("resume point")
        (validation / "whole.txt").write_text("whole")
        return {}

    return step


@pytest.mark.parametrize("volume", ["", "volume"])
@pytest.mark.parametrize("code", ["same", "changed"])
def test_a_finished_step_whose_output_is_lost_is_not_done_again_by_the_same_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, volume: str, code: str
) -> None:
    """As DVC or a pod loses it, killed before it has recorded or uploaded the output."""
    (tmp_path / "in").mkdir()
    calls: list[bool] = []
    more = {"state": tmp_path / volume} if volume else {}
    _run(monkeypatch, tmp_path, _resumable(calls), **more)
    atomic.remove(tmp_path / "out")
    if code == "changed":
        monkeypatch.setattr(retained, "code_digest", lambda: "another")
    _run(monkeypatch, tmp_path, _resumable(calls), **more)
    assert calls == [False, code == "same"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {".refsr.json", "whole.txt"}


def test_a_folder_of_the_user_is_not_taken_for_a_finished_state(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out.resume").mkdir()
    with pytest.raises(RefsrError, match=r"out\.resume: not of refsr; move it"):
        _run(monkeypatch, tmp_path, _resumable([]))
    assert list((tmp_path / "out.resume").iterdir()) == []


@pytest.mark.parametrize("moment", ["before the rename", "after it"])
def test_a_finished_step_killed_about_the_rename_is_not_done_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, moment: str
) -> None:
    (tmp_path / "in").mkdir()
    calls: list[bool] = []

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    remove = atomic.remove

    def killed_at_cleaning(path: Path) -> None:
        killed() if path.name == "state" else remove(path)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if moment == "before the rename":
            patch.setattr(atomic, "replace", killed)
        else:
            patch.setattr(atomic, "remove", killed_at_cleaning)
        _run(patch, tmp_path, _resumable(calls))
    _run(monkeypatch, tmp_path, _resumable(calls))
    assert calls == [False, True], "the second run has the resume point of the first"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {".refsr.json", "whole.txt"}
    assert not list(tmp_path.glob("*.partial*"))


def test_what_a_killed_run_left_half_written_is_no_part_of_the_output(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    tries: list[int] = []

    def step(
        params: Validate, tracker: Tracker, *, curated: Input, validation: ResumableOutput
    ) -> dict[str, float]:
        tries.append(len(tries))
        validation.mkdir(exist_ok=True)
        if len(tries) == 1:
            (validation / "model.safetensors.0123abcd.partial").write_text("half")
            raise KeyboardInterrupt
        (validation / "model.safetensors").write_text("whole")
        return {}

    with pytest.raises(KeyboardInterrupt):
        _run(monkeypatch, tmp_path, step)
    _run(monkeypatch, tmp_path, step)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        ".refsr.json",
        "model.safetensors",
    }
