"""Several trainings that differ in their seed alone, as one result.

Two trainings of the same parameters differ, and by how much is not seen in an interval over people.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from refsr.errors import RefsrError

LEAST = 2  # seeds that have a deviation
_DRAWS = 10**6
_INTERVAL = {"mean", "low", "high"}
_TESTS = ("tests", "other_tests")  # p-values of one training


def combine(evaluations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One metrics.json of several, of the same people and of models that differ in their seed.

    Of each interval the mean over seeds, the `deviation` of a seed, and an interval that holds both
    people and seeds: the half-width over people and that of the mean over seeds (Student's t) are
    added in squares. Other numbers are means.

    Raises:
        RefsrError: There are too few evaluations, or they are not of the same people.
    """
    if len(evaluations) < LEAST:
        raise RefsrError(f"{len(evaluations)} seeds have no deviation; take {LEAST} or more")
    first = evaluations[0]["data"]
    for each in evaluations:
        if each["data"] != first:
            raise RefsrError(f"evaluations are of different people: {first} and {each['data']}")
    shared = [{k: v for k, v in each.items() if k not in _TESTS} for each in evaluations]
    result: dict[str, Any] = _combined(shared)
    result["data"]["seeds"] = len(evaluations)
    return result


def _combined(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, Mapping):
        if set(first) >= _INTERVAL:
            return _interval(values)
        shared = [key for key in first if all(key in each for each in values)]
        return {key: _combined([each[key] for each in values]) for key in shared}
    if isinstance(first, str) or all(each == first for each in values):
        return first
    return float(np.mean(values))


@cache
def student(freedom: int) -> float:
    """The 97.5% quantile of Student's t, by a million draws."""
    drawn = np.random.default_rng(0).standard_t(freedom, _DRAWS)
    return float(np.quantile(np.abs(drawn), 0.95))


def _interval(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    mean, low, high = (np.array([each[key] for each in values]) for key in ("mean", "low", "high"))
    deviation = float(mean.std(ddof=1))
    half = student(len(values) - 1) * deviation / np.sqrt(len(values))
    middle = float(mean.mean())
    return {
        "mean": middle,
        "low": middle - float(np.hypot((mean - low).mean(), half)),
        "high": middle + float(np.hypot((high - mean).mean(), half)),
        "deviation": deviation,
    }
