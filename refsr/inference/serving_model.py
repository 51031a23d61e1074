"""What MLflow loads for a registered version.

The version carries this package, the weights, and this module's name.
`mlflow.pyfunc.load_model("models:/refsr@champion").predict({"lr": lr, "ref": ref})` takes uint8 RGB
batches (B, h, w, 3) and (B, H, W, 3). A `ref` of no images, in JSON [], means no reference. It
returns {"sr": ..., "compatibility": ...}: uint8 RGB, and of each pair the probability that both
show one person, None where the model does not say.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from refsr.errors import RefsrError
from refsr.inference.upscaler import compatibility, upscale_batch
from refsr.models.checkpoint import load_model


class ServingModel:
    """The upscaler in the form MLflow calls it.

    The signature it was registered with has checked what comes in.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def predict(
        self, images: Mapping[str, np.ndarray], params: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """SR and the scores of {"lr": (B, h, w, 3), "ref": (B, H, W, 3) or no images}."""
        lr = images["lr"]
        ref = _images(images["ref"])
        if ref is None:
            return {"sr": upscale_batch(self.model, lr), "compatibility": []}
        if len(ref) != len(lr):
            raise RefsrError(f"ref: {len(ref)} images for {len(lr)} of lr; pass as many, or none")
        pairs = zip(lr, ref, strict=True)
        fits = [compatibility(self.model, small, [portrait])[0] for small, portrait in pairs]
        return {"sr": upscale_batch(self.model, lr, ref), "compatibility": fits}


def _images(ref: np.ndarray) -> np.ndarray | None:
    """As uint8; the signature lets any array pass, since no list is one of no images."""
    if not len(ref):
        return None
    if ref.ndim != 4 or ref.shape[3] != 3:
        raise RefsrError(f"ref: shape (B, H, W, 3), RGB, is expected, not {ref.shape}")
    try:
        same: np.ndarray = ref.astype(np.uint8)
        whole = np.array_equal(same, ref)
    except (OverflowError, TypeError, ValueError):
        whole = False
    if not whole:
        raise RefsrError("ref: integers from 0 to 255 are expected")
    return same


def _load_pyfunc(folder: str) -> ServingModel:
    """MLflow's entry point: the model of the checkpoint in a version's data folder.

    It runs on the GPU where there is one.
    """
    return ServingModel(
        load_model(
            Path(folder) / "model.safetensors", "cuda" if torch.cuda.is_available() else "cpu"
        )
    )
