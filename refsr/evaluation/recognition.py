"""Face verification with restored images as probes: can a face recogniser still tell whose face it is?

A probe and a gallery image are one person or two. Impostors are all pairs of a probe with another person's gallery
image. The numbers are taken per person first, then over people, like all others here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from refsr.evaluation.statistics import bootstrap

FALSE_ACCEPT_RATE = 1.0e-2


def verify(
    probes: Mapping[str, np.ndarray],
    persons: np.ndarray,
    references: np.ndarray,
    owners: np.ndarray,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """{arm: {auc, tar, auc_other_photos, tar_other_photos}}, each {mean, low, high}, for the probes of every arm.

    `probes` are embeddings (N, D) by arm, among them "hr", of images of `persons` (N,). They are compared with the
    reference of everyone, (P, D) of `owners`: the right one went into the arm "ref_right", which so is favoured. And
    with everyone's other true images, which went into none; left out where nobody has two.
    """
    same = np.eye(len(persons), dtype=bool)
    repeated = len(np.unique(persons)) < len(persons)
    found: dict[str, Any] = {}
    for name, each in probes.items():
        numbers = dict(zip(("auc", "tar"), verification(each, persons, references, owners), strict=True))
        if repeated:
            others = verification(each, persons, probes["hr"], persons, same)
            numbers |= dict(zip(("auc_other_photos", "tar_other_photos"), others, strict=True))
        found[name] = {key: bootstrap(values, resamples, seed) for key, values in numbers.items()}
    return found


def verification(
    probes: np.ndarray, persons: np.ndarray, gallery: np.ndarray, owners: np.ndarray, same: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(ROC AUC, TAR at FAR 1e-2), each (I,): a number per person that has a genuine pair, in sorted order of persons.

    `probes` (N, D) and `gallery` (M, D) are embeddings, compared by cosine; `same` (N, M) marks pairs of one and the
    same picture, which count for nothing. A person's AUC is the share of impostor pairs below his genuine ones (ties
    count half), so that the mean over equally frequent persons is the area under the ROC curve (Mann-Whitney).
    """
    cosine = _unit(probes) @ _unit(gallery).T
    genuine = persons[:, None] == owners[None]
    impostors = np.sort(cosine[~genuine])
    counted = genuine if same is None else genuine & ~same
    owner = np.broadcast_to(persons[:, None], cosine.shape)[counted]
    scores = cosine[counted]
    below = np.searchsorted(impostors, scores, "left") + np.searchsorted(impostors, scores, "right")
    accepted = scores > accept_above(impostors)
    return _by_person(below / (2 * len(impostors)), owner), _by_person(accepted.astype(float), owner)


def accept_above(impostors: np.ndarray, rate: float = FALSE_ACCEPT_RATE) -> float:
    """The least impostor score above which at most a share `rate` of the sorted impostor scores lie."""
    allowed = int(rate * len(impostors))
    return float(impostors[len(impostors) - 1 - allowed])


def _by_person(values: np.ndarray, owner: np.ndarray) -> np.ndarray:
    people, place = np.unique(owner, return_inverse=True)
    means: np.ndarray = np.bincount(place, values, len(people)) / np.bincount(place, minlength=len(people))
    return means


def _unit(vectors: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
