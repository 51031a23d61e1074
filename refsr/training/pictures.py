"""What a training shows of itself: the same few validation faces, again and again."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from refsr.dataset.curated import Curated
from refsr.dataset.degradation import enlarge, reduce


def fixed_batch(curated: Curated, scale: int, faces: int = 6) -> Callable[[nn.Module], np.ndarray]:
    """A function that draws model -> picture (H, W, 3) uint8, a row per face.

    Columns: LR | bicubic | SR | HR | reference. The faces are the first for validation, or for
    training where a small set has none. Test faces are never shown, since people choose by what
    they see.
    """
    rows = curated.table.iloc[_watched(curated)]
    first = {
        role: rows[rows["role"] == role].groupby("identity").head(1)
        for role in ("image", "reference")
    }
    shown = first["image"].index[:faces].to_numpy()
    reference_of = pd.Series(first["reference"].index, index=first["reference"]["identity"])
    hr = _images(curated, shown)
    ref = _images(curated, reference_of[curated.table["identity"].to_numpy()[shown]].to_numpy())
    lr = reduce(hr, scale)
    size = (int(hr.shape[-2]), int(hr.shape[-1]))

    @torch.no_grad()
    def draw(model: nn.Module) -> np.ndarray:
        device = next(model.parameters()).device
        sr = model.upscale(lr.to(device), ref.to(device)).cpu()  # type: ignore[operator]
        columns = [F.interpolate(lr, size=size), enlarge(lr, size), sr, hr, ref]
        sheet = torch.cat(columns, dim=3).permute(0, 2, 3, 1).flatten(0, 1)
        return (sheet.clamp(0, 1) * 255).round().byte().numpy()

    return draw


def _watched(curated: Curated) -> np.ndarray:
    validation = curated.split("validation")
    return validation if len(validation) else curated.split("train")


def _images(curated: Curated, rows: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(curated.pixels(rows)).permute(0, 3, 1, 2).float() / 255
