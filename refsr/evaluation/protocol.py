"""The protocol: every held-out image restored in five ways, and every result measured against the true HR image.

| arm | what the output is made from |
|---|---|
| bicubic | LR, enlarged |
| sisr | LR, by the single-image model |
| ref_none | LR, by the reference model without a reference |
| ref_wrong | LR and the reference of another held-out person |
| ref_right | LR and the reference of the same person |

Outputs are clamped and rounded to 8 bits before anything is measured, as a saved file would be.
"""

from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from tqdm import tqdm

from refsr.data.curated import Curated
from refsr.data.degrade import enlarge, reduce
from refsr.errors import RefsrError
from refsr.evaluation import metrics
from refsr.models import SuperResolver
from refsr.models.checkpoint import load_model
from refsr.models.pretrained import (
    VggHedFeatures,
    feature_distance,
    identity_embeddings,
    identity_network,
    identity_similarity,
)

SMALLEST = 32  # HR side in pixels: SSIM's window must fit after the 8-pixel border of `ssim_y` is cut


class Models(NamedTuple):
    """The two networks under test, the scale they share, and the device they are on."""

    sisr: SuperResolver
    refsr: SuperResolver
    scale: int
    device: str


def load_models(sisr: Path, refsr: Path, hr_size: int) -> Models:
    """Both checkpoints. Raises RefsrError where one is missing, or they do not fit each other or the images."""
    if hr_size < SMALLEST:
        raise RefsrError(f"HR images of {hr_size} pixels cannot be measured; curate with hr_size {SMALLEST} or more")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    first, second = (cast(SuperResolver, load_model(path, device)) for path in (sisr, refsr))
    for key, value in (("scale", first.config["scale"]), ("hr_size", hr_size)):
        for path, model in ((sisr, first), (refsr, second)):
            if model.config[key] != value:
                raise RefsrError(
                    f"{path}: trained for {key} {model.config[key]}, not {value} as the rest; train it again"
                )
    return Models(first, second, int(first.config["scale"]), device)


def pairs(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """A row per held-out image: `row`, `person`, `source`, and the rows `right` and `wrong` of the references.

    Persons are put in a random order by `seed`, once; the wrong reference of each is that of the next, so that nobody
    gets his own and every reference is the wrong one exactly once. Raises RefsrError for fewer than two persons.
    """
    test = table.reset_index(drop=True).query("split == 'test'")
    references = test[test["role"] == "reference"]
    right = pd.Series(references.index, index=references["identity"])
    persons = np.random.default_rng(seed).permutation(sorted(right.index))
    if len(persons) < 2:
        raise RefsrError(f"the test split has {len(persons)} identities with a reference; two are needed: curate more")
    following = pd.Series(np.roll(persons, -1), index=persons)
    images = test[(test["role"] == "image") & test["identity"].isin(right.index)]
    person = images["identity"].to_numpy()
    wrong_person = following[person].to_numpy()
    return pd.DataFrame(
        {
            "row": images.index.to_numpy(),
            "person": person,
            "source": images["source"].to_numpy(),
            "right": right[person].to_numpy(),
            "wrong": right[wrong_person].to_numpy(),
            "wrong_person": wrong_person,
        }
    )


def images(curated: Curated, rows: np.ndarray, device: str) -> torch.Tensor:
    """The images of these rows, (N, 3, H, H) in [0, 1]."""
    pixels = torch.from_numpy(curated.pixels(rows)).to(device)
    return pixels.permute(0, 3, 1, 2).float() / 255


@torch.inference_mode()
def restore(models: Models, lr: torch.Tensor, right: torch.Tensor, wrong: torch.Tensor) -> dict[str, torch.Tensor]:
    """The five arms: arm -> (N, 3, H, H) in [0, 1], rounded to 8 bits."""
    outputs = {
        "bicubic": enlarge(lr, (right.shape[-2], right.shape[-1])),
        "sisr": models.sisr.upscale(lr),
        "ref_none": models.refsr.upscale(lr),
        "ref_wrong": models.refsr.upscale(lr, wrong),
        "ref_right": models.refsr.upscale(lr, right),
    }
    return {arm: to_8_bits(sr) for arm, sr in outputs.items()}


def to_8_bits(image: torch.Tensor) -> torch.Tensor:
    """Clamped and rounded to the 256 values that a saved file can hold, still in [0, 1]."""
    return (image.float().clamp(0, 1) * 255).round() / 255


class Judge:
    """The networks that measure; neither had a part in training (see refsr.models.pretrained)."""

    def __init__(self, device: str) -> None:
        self.identity = identity_network().to(device)
        self.perceptual = VggHedFeatures().to(device)

    @torch.inference_mode()
    def scores(self, outputs: dict[str, torch.Tensor], hr: torch.Tensor) -> tuple[pd.DataFrame, torch.Tensor]:
        """(a row per image and arm, indexed by the image's place in the batch: `arm` and METRICS; HR's embeddings)."""
        features, embedding = self.perceptual(hr), identity_embeddings(self.identity, hr)
        tables = []
        for arm, sr in outputs.items():
            values = {
                "psnr": metrics.psnr(sr, hr),
                "ssim": metrics.ssim(sr, hr),
                "identity": identity_similarity(identity_embeddings(self.identity, sr), embedding),
                "perceptual": feature_distance(self.perceptual(sr), features),
                "psnr_y": metrics.psnr_y(sr, hr),
                "ssim_y": metrics.ssim_y(sr, hr),
            }
            columns = {key: value.double().cpu().numpy() for key, value in values.items()}
            tables.append(pd.DataFrame({"arm": arm, **columns}))
        return pd.concat(tables).sort_index(kind="stable"), embedding


def measure(
    curated: Curated, models: Models, test: pd.DataFrame, batch_size: int
) -> tuple[pd.DataFrame, dict[str, float]]:
    """(a row per image and arm with `person`, `source`, `wrong_person` and METRICS, the scale of identity).

    The scale says what a cosine means on these very images: `same_person` between HR and the person's reference,
    `strangers` between HR and every other person's reference, means over all pairs.
    """
    judge = Judge(models.device)
    tables, embeddings = [], []
    for start in tqdm(range(0, len(test), batch_size), desc="evaluate", unit="batch"):
        batch = test.iloc[start : start + batch_size].reset_index(drop=True)
        hr, right, wrong = (images(curated, batch[key].to_numpy(), models.device) for key in ("row", "right", "wrong"))
        scores, embedding = judge.scores(restore(models, reduce(hr, models.scale), right, wrong), hr)
        tables.append(batch[["person", "source", "wrong_person"]].join(scores))
        embeddings.append(embedding)
    return pd.concat(tables, ignore_index=True), _identity_scale(curated, judge, test, torch.cat(embeddings))


@torch.inference_mode()
def _identity_scale(curated: Curated, judge: Judge, test: pd.DataFrame, hr: torch.Tensor) -> dict[str, float]:
    """Cosines of HR embeddings (N, 128), in the order of `test`, to the reference of everyone."""
    references = test.drop_duplicates("person")
    chunks = np.array_split(references["right"].to_numpy(), len(references) // 32 + 1)
    known = [identity_embeddings(judge.identity, images(curated, rows, str(hr.device))) for rows in chunks]
    cosine = (F.normalize(hr) @ F.normalize(torch.cat(known)).T).cpu().numpy()
    same = test["person"].to_numpy()[:, None] == references["person"].to_numpy()[None]
    return {"same_person": float(cosine[same].mean()), "strangers": float(cosine[~same].mean())}
