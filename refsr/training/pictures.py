"""What a training shows of itself: the same few validation faces, again and again."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from refsr.dataset.curated import Curated
from refsr.dataset.degradation import enlarge, reduce
from refsr.dataset.tensors import to_images, to_pixels


def fixed_batch(curated: Curated, scale: int, faces: int = 6) -> Callable[[nn.Module], np.ndarray]:
    """A function that draws model -> picture (H, W, 3) uint8, a row per face.

    Columns: LR | bicubic | SR | HR | reference. The faces are the first for validation, or for
    training where a small set has none. Test faces are never shown, since people choose by what
    they see.
    """
    hr, ref = fixed_faces(curated, faces, each=1)
    lr = reduce(hr, scale)
    size = (int(hr.shape[-2]), int(hr.shape[-1]))

    @torch.no_grad()
    def draw(model: nn.Module) -> np.ndarray:
        device = next(model.parameters()).device
        sr = model.upscale(lr.to(device), ref.to(device)).cpu()  # type: ignore[operator]
        columns = [F.interpolate(lr, size=size), enlarge(lr, size), sr, hr, ref]
        return np.concatenate(to_pixels(torch.cat(columns, dim=3)))

    return draw


def fixed_faces(curated: Curated, count: int, each: int) -> tuple[torch.Tensor, torch.Tensor]:
    """HR images and the right reference of each, both (N, 3, H, W) in [0, 1], N <= count.

    They are the first of every validation identity, then the second, and so on: at most `each`.
    """
    rows = curated.table.iloc[_watched(curated)]
    images = rows[rows["role"] == "image"]
    place = images.groupby("identity").cumcount()
    shown = place[place < each].sort_values(kind="stable").index[:count].to_numpy()
    references = rows[rows["role"] == "reference"].groupby("identity").head(1)
    reference_of = pd.Series(references.index, index=references["identity"])
    people = curated.table["identity"].to_numpy()[shown]
    own = reference_of[people].to_numpy()
    return to_images(curated.pixels(shown)), to_images(curated.pixels(own))


def _watched(curated: Curated) -> np.ndarray:
    validation = curated.split("validation")
    return validation if len(validation) else curated.split("train")
