"""Whether numbers of today come from the distribution of training: two tests for each number.

Both count people and requests, not faces: faces of one person or of one request are alike, and
many of them prove no more than one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from refsr.errors import RefsrError
from refsr.evaluation.statistics import holm

Verdict = Literal["same", "watch", "drift"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
SIGNIFICANT = 0.01  # p of the Kolmogorov-Smirnov test, after Holm's correction
SHIFTED = 0.25  # population stability index from which a shift counts, by convention
LEAST_PEOPLE, LEAST_REQUESTS = 10, 30
_MANY = 100  # people from which there are ten bins; else five
_CHANCE = 4  # standard deviations that an index by chance alone stays below
_TERMS = 100  # of Kolmogorov's series


@dataclass(frozen=True)
class Shift:
    """One number, in training and today.

    Attributes:
        ks: The greatest distance between the two distribution functions.
        p: Of `ks`, after Holm's correction over all numbers.
        psi: The population stability index over bins of equal share in training.
        psi_limit: From which it counts: SHIFTED, or more where few requests were seen.
        verdict: "drift" if both tests say so, "watch" if one does.
    """

    ks: float
    p: float
    psi: float
    psi_limit: float
    verdict: Verdict


def shifts(
    trained: Mapping[str, np.ndarray],
    seen: Mapping[str, np.ndarray],
    people: int,
    requests: int,
) -> dict[str, Shift]:
    """Compare every number.

    Args:
        trained: By name the numbers (N,) of the training faces.
        seen: By the same names those (M,) of today.
        people: That the training faces are of.
        requests: That today's faces came in.

    Raises:
        RefsrError: There are too few people or requests to say anything.
    """
    if people < LEAST_PEOPLE:
        raise RefsrError(f"{people} people to compare with; at least {LEAST_PEOPLE} are needed")
    if requests < LEAST_REQUESTS:
        raise RefsrError(
            f"{requests} requests with statistics; at least {LEAST_REQUESTS} are needed: "
            "pass logs of a longer time"
        )
    size = 1 / (1 / people + 1 / requests)
    bins = 10 if people >= _MANY else 5
    limit = max(SHIFTED, (bins - 1 + _CHANCE * (2 * (bins - 1)) ** 0.5) / size)
    distances = [ks(trained[name], seen[name]) for name in trained]
    adjusted = holm([kolmogorov(distance, size) for distance in distances])
    indices = [psi(trained[name], seen[name], bins) for name in trained]
    rows = zip(trained, distances, adjusted, indices, strict=True)
    return {
        name: Shift(d, p, index, limit, _verdict(p, index, limit)) for name, d, p, index in rows
    }


def worst(compared: Mapping[str, Shift]) -> Verdict:
    """The verdict on all numbers."""
    return max((each.verdict for each in compared.values()), key=VERDICTS.index)


def ks(first: np.ndarray, second: np.ndarray) -> float:
    """The two-sample Kolmogorov-Smirnov distance."""
    places = np.concatenate([first, second])
    shares = [
        np.searchsorted(np.sort(each), places, side="right") / len(each) for each in (first, second)
    ]
    return float(np.abs(shares[0] - shares[1]).max())


def kolmogorov(distance: float, size: float) -> float:
    """The p-value of that distance for samples whose harmonic size is `size`."""
    root = size**0.5
    scaled = (root + 0.12 + 0.11 / root) * distance  # Stephens, 1970
    if scaled < 0.2:
        return 1.0  # where the series converges slowly, to 1
    terms = np.arange(1, _TERMS + 1)
    series = (-1.0) ** (terms - 1) * np.exp(-2 * (terms * scaled) ** 2)
    return float(np.clip(2 * series.sum(), 0, 1))


def psi(first: np.ndarray, second: np.ndarray, bins: int) -> float:
    """The population stability index of `second` over bins with equal shares of `first`."""
    edges = np.unique(np.quantile(first, np.linspace(0, 1, bins + 1)[1:-1]))
    shares = []
    for each in (first, second):
        places = np.searchsorted(edges, each, side="right")
        counts = np.bincount(places, minlength=len(edges) + 1) + 0.5  # no share is 0
        shares.append(counts / counts.sum())
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def _verdict(p: float, index: float, limit: float) -> Verdict:
    return VERDICTS[(p < SIGNIFICANT) + (index >= limit)]
