"""Face verification with restored images as probes.

A probe and a gallery image show one person or two. Impostors are all pairs of a probe with another
person's gallery image. The numbers are means per person first, then over people.
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
        {condition: {auc, tar, auc_other_photos, tar_other_photos}}, each {mean, low, high}. The
        other photos are everyone's other true images; left out where nobody has two.
    """
    same = np.eye(len(persons), dtype=bool)
    repeated = len(np.unique(persons)) < len(persons)
    result: dict[str, Any] = {}
    for name, each in probes.items():
        auc, tar = verification(each, persons, references, owners)
        numbers = {"auc": auc, "tar": tar}
        if repeated:
            auc, tar = verification(each, persons, probes["hr"], persons, same)
            numbers |= {"auc_other_photos": auc, "tar_other_photos": tar}
        result[name] = {key: bootstrap(values, resamples, seed) for key, values in numbers.items()}
    return result


def verification(
    probes: np.ndarray,
    persons: np.ndarray,
    gallery: np.ndarray,
    owners: np.ndarray,
    same: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """ROC AUC, and TAR at FAR 1e-2, of each person that has a genuine pair.

    A person's AUC is the share of impostor pairs below the genuine ones (ties count half), so that
    the mean over equally frequent persons is the area under the ROC curve (Mann-Whitney).

    Args:
        probes: Embeddings (N, D), compared by cosine.
        persons: Whose each probe is, (N,).
        gallery: Embeddings (M, D).
        owners: Whose each gallery image is, (M,).
        same: (N, M), true for pairs of one and the same picture, which are not counted.

    Returns:
        (AUC, TAR), each (I,), in sorted order of persons.
    """
    cosine = _unit(probes) @ _unit(gallery).T
    genuine = persons[:, None] == owners[None]
    impostors = np.sort(cosine[~genuine])
    counted = genuine if same is None else genuine & ~same
    owner = np.broadcast_to(persons[:, None], cosine.shape)[counted]
    scores = cosine[counted]
    below = np.searchsorted(impostors, scores, "left") + np.searchsorted(impostors, scores, "right")
    accepted = scores > accept_above(impostors)
    return _by_person(below / (2 * len(impostors)), owner), _by_person(
        accepted.astype(float),
        owner,
    )


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
