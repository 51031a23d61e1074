"""Models to register, with real (untrained) networks and evaluations written by hand."""

import json
from pathlib import Path
from typing import Any

import torch
from evaluations import evaluation
from helpers import make_curated

from refsr import steps
from refsr.config import Gate, Register
from refsr.integrations.registry import CHECKPOINT, METRICS
from refsr.models import build
from refsr.models.checkpoint import save_model

LR, HR = 4, 32


class Pipeline:
    """The stages before `register`, stood in for by what they leave."""

    def __init__(self, uri: str, folder: Path) -> None:
        self.uri = uri
        self.paths = {
            name: folder / name
            for name in ("curated", "sisr", "refsr", "evaluation", "registration")
        }
        make_curated(self.paths["curated"], identities=4, images=2, size=HR, train=2)

    def train(self, seed: int, **scores: float) -> None:
        torch.manual_seed(seed)
        for kind in ("sisr", "refsr"):
            self.paths[kind].mkdir(exist_ok=True)
            config = {
                "model": kind,
                "variant": "compact",
                "hr_size": HR,
                "scale": HR // LR,
                "width": 16,
            }
            save_model(self.paths[kind] / CHECKPOINT, build(config))
        self.paths["evaluation"].mkdir(exist_ok=True)
        (self.paths["evaluation"] / METRICS).write_text(json.dumps(evaluation(**scores)))

    def register(self, gate: Gate | None = None) -> str:
        metrics = steps.run(
            "register", Register(gate=gate or Gate()), tracking_uri=self.uri, **self.paths
        )
        return f"{metrics['version']:.0f}"

    def registered(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(
            (self.paths["registration"] / "registered.json").read_text()
        )
        return document
