"""An evaluation that several test modules look at."""

import json
from pathlib import Path

import pytest
import torch
from evaluated import PARAMS, Done, Recorder
from helpers import make_curated

from refsr.models.checkpoint import save_model
from refsr.models.compact import CompactRefsr, CompactSisr
from refsr.models.compatibility import DIFFERENCES, Compatibility
from refsr.steps.evaluate import evaluate


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A curated set that says it is rendered, and two untrained models;
    only RefSR has a history.
    """
    folder = tmp_path_factory.mktemp("inputs")
    paths = {name: folder / name for name in ("curated", "sisr", "refsr")}
    make_curated(paths["curated"], identities=8, images=2, train=1)
    (paths["curated"] / "summary.json").write_text(json.dumps({"rendered": True}))
    torch.manual_seed(0)
    for name, model in (("sisr", CompactSisr), ("refsr", CompactRefsr)):
        paths[name].mkdir()
        facts = {"loss_networks": ["efficientnet_lite0"], "step": 7} if name == "refsr" else {}
        network = model(hr_size=32, scale=4, width=16, blocks=1)
        if isinstance(network, CompactRefsr):
            network.compatibility = Compatibility((-1.0,) * DIFFERENCES, 10.0)
        save_model(paths[name] / "model.safetensors", network, facts)
    (paths["refsr"] / "history.csv").write_text(
        "step,loss,kl,empty\n1,4.0,1000,\n2,2.0,10,\n3,1.0,1,\n"
    )
    return paths


@pytest.fixture(scope="session")
def done(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The evaluation of these inputs."""
    folder, tracker = tmp_path_factory.mktemp("out") / "evaluation", Recorder()
    return folder, evaluate(PARAMS, tracker, evaluation=folder, **inputs), tracker
