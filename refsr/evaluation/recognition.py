"""Face verification with restored images as probes.

A probe and a gallery image show one person or two. Impostors are all pairs of a probe with another
person's gallery image. The numbers are means per person first, then over people. A pair is accepted
above a threshold that is fixed on true photos, as a system that is in use has it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from refsr.evaluation.statistics import bootstrap

FALSE_ACCEPT_RATE = 1.0e-2  # of true photos
_POINTS = 100  # of a ROC curve, at most


# Embeddings, whose they are, and which pairs are of one and the same picture.
_Gallery = tuple[np.ndarray, np.ndarray, np.ndarray | None]


class Verified(NamedTuple):
    """Verification of each person, (I,) in sorted order: ROC AUC, and rates at a threshold.

    `tar` and `far` are the shares of genuine and of impostor pairs that are accepted.
    """

    auc: np.ndarray
    tar: np.ndarray
    far: np.ndarray


def verify(
    probes: Mapping[str, np.ndarray],
    persons: np.ndarray,
    references: np.ndarray,
    owners: np.ndarray,
    resamples: int,
    seed: int,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Verification of the probes of every condition, against two galleries.

    Args:
        probes: Embeddings (N, D) by condition, among them "hr".
        persons: Whose image each probe is, (N,).
        references: The reference of everyone, (P, D). The right one is an input of the condition
            "ref_right", which has an advantage by it.
        owners: Whose reference each is, (P,).
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        {condition: {auc, tar, far, auc_other_photos, ...}}, each {mean, low, high}. The other
        photos are everyone's other true images; left out where nobody has two. And the thresholds:
        {false_accept_rate, references, other_photos}.
    """
    same = np.eye(len(persons), dtype=bool)
    galleries: dict[str, _Gallery] = {"": (references, owners, None)}
    if len(np.unique(persons)) < len(persons):
        galleries["_other_photos"] = (probes["hr"], persons, same)
    result: dict[str, Any] = {name: {} for name in probes}
    thresholds = {"false_accept_rate": FALSE_ACCEPT_RATE}
    for suffix, (gallery, whose, itself) in galleries.items():
        threshold = true_threshold(probes["hr"], persons, gallery, whose)
        thresholds[suffix.removeprefix("_") or "references"] = threshold
        for name, each in probes.items():
            verified = verification(each, persons, gallery, whose, threshold, itself)
            result[name] |= {
                f"{key}{suffix}": bootstrap(values, resamples, seed)
                for key, values in verified._asdict().items()
            }
    return result, thresholds


def true_threshold(
    probes: np.ndarray, persons: np.ndarray, gallery: np.ndarray, owners: np.ndarray
) -> float:
    """The threshold at which FALSE_ACCEPT_RATE of the impostor pairs of true photos are accepted.

    Embeddings are (N, D) and (M, D), `persons` (N,) and `owners` (M,).
    """
    cosine = _unit(probes) @ _unit(gallery).T
    return accept_above(np.sort(cosine[persons[:, None] != owners[None]]))


def verification(
    probes: np.ndarray,
    persons: np.ndarray,
    gallery: np.ndarray,
    owners: np.ndarray,
    threshold: float,
    same: np.ndarray | None = None,
) -> Verified:
    """ROC AUC and the rates at a threshold, of each person that has a genuine pair.

    A person's AUC is the share of impostor pairs below the genuine ones (ties count half), so that
    the mean over equally frequent persons is the area under the ROC curve (Mann-Whitney).

    Args:
        probes: Embeddings (N, D), compared by cosine.
        persons: Whose each probe is, (N,).
        gallery: Embeddings (M, D).
        owners: Whose each gallery image is, (M,).
        threshold: Pairs with a greater cosine are accepted.
        same: (N, M), true for pairs of one and the same picture, which are not counted.
    """
    cosine = _unit(probes) @ _unit(gallery).T
    genuine = persons[:, None] == owners[None]
    impostors = np.sort(cosine[~genuine])
    counted = genuine if same is None else genuine & ~same
    whose = np.broadcast_to(persons[:, None], cosine.shape)
    scores = cosine[counted]
    accepted = (cosine > threshold).astype(float)
    return Verified(
        _by_person(share_below(impostors, scores), whose[counted]),
        _by_person(accepted[counted], whose[counted]),
        _by_person(accepted[~genuine], whose[~genuine]),
    )


def roc(
    probes: np.ndarray, persons: np.ndarray, gallery: np.ndarray, owners: np.ndarray
) -> dict[str, list[float]]:
    """{fpr, tpr, threshold}: the ROC curve of probes (N, D) against a gallery (M, D).

    True accepts are means per person first, so the area below the curve is the mean AUC.
    """
    cosine = _unit(probes) @ _unit(gallery).T
    genuine = persons[:, None] == owners[None]
    impostors = np.sort(cosine[~genuine])[::-1]
    whose = np.broadcast_to(persons[:, None], cosine.shape)[genuine]
    _, person, images = np.unique(whose, return_inverse=True, return_counts=True)
    order = np.argsort(-cosine[genuine])
    accepted = np.concatenate([[0], np.cumsum((1 / images[person] / len(images))[order])])
    places = np.unique(np.geomspace(1, len(impostors), _POINTS).astype(int)) - 1
    at = [1.0, *impostors[places].tolist(), -1.0]
    false = [0.0, *((places + 1) / len(impostors)).tolist(), 1.0]
    true = accepted[np.searchsorted(-cosine[genuine][order], -np.array(at), "right")]
    return {"fpr": false, "tpr": [*true.clip(0, 1).tolist()[:-1], 1.0], "threshold": at}


def share_below(impostors: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The share of the sorted impostor scores (M,) below each of `scores` (N,); ties count half.

    Its mean is the area under the ROC curve.
    """
    low, high = (np.searchsorted(impostors, scores, side) for side in ("left", "right"))
    return (low + high) / (2 * len(impostors))


def accept_above(impostors: np.ndarray, rate: float = FALSE_ACCEPT_RATE) -> float:
    """The score above which at most a share `rate` of the sorted impostor scores lie."""
    allowed = int(rate * len(impostors))
    return float(impostors[len(impostors) - 1 - allowed])


def _by_person(values: np.ndarray, owner: np.ndarray) -> np.ndarray:
    people, place = np.unique(owner, return_inverse=True)
    means: np.ndarray = np.bincount(place, values, len(people)) / np.bincount(
        place,
        minlength=len(people),
    )
    return means


def _unit(vectors: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
