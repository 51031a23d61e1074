"""A stage that writes what a test wants it to, for tests of what becomes of its outputs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from refsr import steps
from refsr.config import Validate
from refsr.steps import Input, Inputs, OptionalInput, Raw, ResumableOutput
from refsr.steps import Output as Written
from refsr.tracker import Tracker

Run = Callable[..., dict[str, float]]


def tree(folder: Path) -> dict[str, bytes | None]:
    """All that a folder holds, by name."""
    paths = {str(path.relative_to(folder)): path for path in folder.rglob("*")}
    return {
        name: path.read_bytes() if path.is_file() else None for name, path in sorted(paths.items())
    }


def fill(folder: Path, text: str = "photo") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "file").write_text(text)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for all tests: to make one takes longer than most of them."""
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store: str) -> Run:
    """Runs a stage that reads `curated` (and `raw`, `parts`) and writes what `write` does."""

    def run(write: Callable[[Path], object] = fill, **paths: object) -> dict[str, float]:
        def step(
            params: Validate,
            tracker: Tracker,
            *,
            curated: Input,
            raw: Raw,
            parts: Inputs = (),
            sisr: OptionalInput = None,
            validation: Written,
            more: ResumableOutput,
        ) -> dict[str, float]:
            write(validation)
            fill(more)
            return {"rows": 1.0}

        monkeypatch.setattr(steps, "load", lambda name: step)
        named: dict[str, Any] = {
            "curated": fill(tmp_path / "in"),
            "raw": str(fill(tmp_path / "raw")),
        }
        named |= {"validation": tmp_path / "out", "more": tmp_path / "more"}
        named |= {"tracking_uri": store}
        return steps.run("validate", Validate(), **(named | paths))

    return run
