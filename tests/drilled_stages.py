"""The stages that are killed: their parameters, their paths and what they leave."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from refsr import steps
from refsr.config import SECTIONS, Section
from refsr.integrations.registry import Registry
from refsr.io.marker import MARKER
from refsr.steps.register import promote
from refsr.training.history import MEASURED

PARAMS: dict[str, Any] = {
    "synthesize": {
        "train_identities": 4,
        "test_identities": 3,
        "views": 3,
        "max_size": 100,
        "defects": 0,
    },
    "curate": {"hr_size": 32, "train_identities": 4, "test_identities": 3},
    "validate": {"sample": 4},
    "train_sisr": {
        "steps": 6,
        "warm_start_step": 3,
        "batch_size": 2,
        "model": {"width": 16, "blocks": 1},
    },
    "train_refsr": {
        "steps": 4,
        "batch_size": 2,
        "loss": {"identity_weight": 0.1, "identity_steps": 2},
    },
    "evaluate": {"bootstrap": 100, "strips": 1, "grid": 2, "samples": 2, "kid_images": 4},
    "register": {
        "gate": {
            f"{measure}_over_{other}": -99
            for measure in ("psnr", "identity")
            for other in ("bicubic", "wrong", "none", "sisr", "champion")
        }
        | {"gap_over_wrong": -1000, "gap_over_none": -1000}
    },
}
TRAINING = {
    "precision": "float32",
    "device": "cpu",
    "warmup_steps": 1,
    "log_every": 1,
    "image_every": 3,
    "save_every": 1,
}
PATHS = {  # of each stage: its inputs and its output, which comes last
    "synthesize": ("raw",),
    "curate": ("raw", "curated"),
    "merge": ("raw", "parts", "merged"),
    "validate": ("curated", "validation"),
    "train_sisr": ("curated", "validation", "sisr"),
    "train_refsr": ("curated", "sisr", "refsr"),
    "evaluate": ("curated", "sisr", "refsr", "evaluation"),
    "register": ("curated", "sisr", "refsr", "evaluation", "registration"),
    "promote": (),
}


class Drill(NamedTuple):
    """A stage with a fresh copy of the store as it was before it: `run` runs it into `folder`."""

    name: str
    run: Callable[[Path], None]
    result: Callable[[Path], str]


def section(name: str) -> Section:
    """The parameters of a stage or side step."""
    key = steps.SIDE_STEPS.get(name, name)
    more = TRAINING if key.startswith("train_") else {}
    return SECTIONS[key].model_validate(PARAMS[key] | more)


def uri(folder: Path) -> str:
    """The store of a folder."""
    return f"sqlite:///{folder}/mlflow.db"


def drill(name: str, whole: Path) -> Drill:
    """The drill of a stage, which reads what the whole run left."""
    if name == "promote":
        return Drill(name, lambda folder: _promote(folder), _champions)
    *inputs, output = PATHS[name]
    paths: dict[str, Any] = {port: whole / port for port in inputs}
    if name == "merge":
        paths["parts"] = [whole / "parts"]

    def run(folder: Path) -> None:
        port = "curated" if name == "merge" else output
        steps.run(name, section(name), tracking_uri=uri(folder), **paths, **{port: folder / output})

    return Drill(name, run, lambda folder: digest(folder / output))


def _promote(folder: Path) -> None:
    promote(uri(folder), section("register"), "2")  # type: ignore[arg-type]


def _champions(folder: Path) -> str:
    registry = Registry(uri(folder), "refsr")
    return f"{registry.aliases()} {registry._former()}"


def digest(output: Path) -> str:
    """A line per file, its name and a hash of its bytes, without clocks,
    dated pages and the marker counting them.
    """
    lines = []
    for path in sorted(
        p
        for p in output.rglob("*")
        if p.is_file() and "data_docs" not in p.parts and p.name != MARKER
    ):
        data = path.read_bytes()
        if path.name == "history.csv":
            data = pd.read_csv(path).drop(columns=list(MEASURED)).to_csv().encode()
        if path.name == "report.html":  # of a version: when it was registered
            data = re.sub(rb"<dt>registered</dt><dd>[^<]*</dd>", b"", data)
        lines.append(f"{path.relative_to(output)} {hashlib.sha256(data).hexdigest()}")
    return "\n".join(lines)
