"""What MLflow loads for a registered version.

The version carries this package, the weights, and this module's name.
`mlflow.pyfunc.load_model("models:/refsr@champion").predict({"lr": lr, "ref": ref})` takes uint8 RGB
batches (B, h, w, 3) and (B, H, W, 3) and returns SR, uint8 RGB. A `ref` of no images, (0, 1, 1, 3),
means no reference.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from refsr.inference.upscaler import upscale_batch
from refsr.models.checkpoint import load_model


class ServingModel:
    """The upscaler in the form MLflow calls it.

    The signature it was registered with has checked what comes in.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def predict(
        self, images: Mapping[str, np.ndarray], params: Mapping[str, Any] | None = None
    ) -> np.ndarray:
        """SR (B, h', w', 3) of {"lr": (B, h, w, 3), "ref": (B, H, W, 3) or (0, ., ., 3)}."""
        ref = images["ref"]
        sr: np.ndarray = upscale_batch(self.model, images["lr"], ref if len(ref) else None)
        return sr


def _load_pyfunc(folder: str) -> ServingModel:
    """MLflow's entry point: the model of the checkpoint in a version's data folder.

    It runs on the GPU where there is one.
    """
    return ServingModel(
        load_model(
            Path(folder) / "model.safetensors", "cuda" if torch.cuda.is_available() else "cpu"
        )
    )
