"""Which identities are for training, for validation and for testing, in the order of their turn.

Validation identities are taken from the end of the order of those for training, so that the first
of these are the same for any number of validation identities.
"""

import logging

import numpy as np
import pandas as pd

from refsr.config import Curate
from refsr.errors import RefsrError
from refsr.layouts.base import SPLITS

_logger = logging.getLogger(__name__)
_AUTO = 0.1  # validation identities for each training identity
Order = dict[str, list[str]]  # split -> its identities, in the order in which they are taken


def draw(images: pd.DataFrame, params: Curate) -> Order:
    """Order the identities of each split, by the seed and by `params.sex`.

    The splits are those of the raw set where it has both. Otherwise identities are drawn for
    testing: `test_identities`, or fewer where the set is too small for all splits. Identities for
    validation are taken from those for training, in proportion to the numbers asked for.

    Raises:
        RefsrError: The raw set lacks listed identities, the splits asked for, or everybody's sex
            where one is asked for.
    """
    columns = images.groupby("identity", sort=True, observed=True)[["root", "sex"]]
    first = columns.first()
    if params.identities != "all":
        _require_identities(first.index, params.identities)
    _check_sexes(set(first["sex"]), params.sex)
    has_both = set(SPLITS) <= set(first["root"])
    if params.splits == "own" and not has_both:
        raise RefsrError(
            "curate.splits: own, but the raw set does not have both train/ and test/; "
            "set it to drawn, or name another set"
        )
    shuffled = _shuffled(first, params)
    sexes = dict(zip(first.index.astype(str), first["sex"], strict=True))
    order = _by_sex(shuffled, sexes, params.sex)
    roots = first["root"].to_dict()
    if params.splits == "own" or (params.splits == "auto" and has_both):
        train, test = ([key for key in order if roots[key] == split] for split in SPLITS)
    else:
        tests = _test_count(len(order), params)
        train, test = order[tests:], order[:tests]
    chosen = set(train)
    watched = _for_validation([key for key in shuffled if key in chosen], params)
    chosen -= set(watched)
    return {
        "train": [key for key in train if key in chosen],
        "validation": _by_sex(watched, sexes, params.sex),
        "test": test,
    }


def validation_needed(params: Curate) -> float:
    """The number of identities requested for validation; infinity for a tenth of all."""
    if params.validation_identities != "auto":
        return float(params.validation_identities)
    if params.train_identities == "all":
        return float("inf")
    return float(round(params.train_identities * _AUTO))


def _for_validation(train: list[str], params: Curate) -> list[str]:
    """The last of the training identities, in proportion to the numbers asked for."""
    total, part = len(train), validation_needed(params)
    part = _AUTO * total if part == float("inf") else part
    others = total if params.train_identities == "all" else params.train_identities
    return train[total - int(total * part / (part + others)) :] if total else []


def _require_identities(present: "pd.Index[str]", listed: tuple[str, ...]) -> None:
    missing = sorted(set(listed) - set(present))
    if missing:
        raise RefsrError(
            f"curate.identities: the raw set lacks {len(missing)} of them, "
            f"first {missing[0]}; remove them from the list"
        )


def _check_sexes(known: set[str], asked: str) -> None:
    """Say so where people are to be taken by their sex, and the raw set says nobody's."""
    if asked == "any" or known & {"f", "m"}:
        return
    problem = f"curate.sex: {asked}, but the raw set says nobody's sex"
    if asked != "balanced":
        raise RefsrError(f"{problem}; set it to any, or name a set with metadata")
    _logger.warning("%s: people are taken as with `any`, balanced or not", problem)


def _shuffled(first: pd.DataFrame, params: Curate) -> list[str]:
    """The identities in random order, those listed."""
    rng = np.random.default_rng(params.seed)
    order = [str(first.index[at]) for at in rng.permutation(len(first))]
    if params.identities == "all":
        return order
    listed = set(params.identities)
    return [key for key in order if key in listed]


def _by_sex(order: list[str], sexes: dict[str, str], sex: str) -> list[str]:
    """Identities of one sex only; or all; or, balanced, women and men in turn and then the rest."""
    if sex in ("f", "m"):
        return [key for key in order if sexes[key] == sex]
    if sex == "any":
        return order
    women = [key for key in order if sexes[key] == "f"]
    men = [key for key in order if sexes[key] == "m"]
    paired = [key for pair in zip(women, men, strict=False) for key in pair]
    in_pairs = set(paired)
    return paired + [key for key in order if key not in in_pairs]


def _test_count(total: int, params: Curate) -> int:
    """How many of `total` identities are for testing, where the splits are drawn."""
    train, test = params.train_identities, params.test_identities
    if isinstance(test, str):
        problem = "curate.test_identities: all, but the splits are drawn"
        raise RefsrError(f"{problem}; set it to the number of identities for testing")
    others = total if isinstance(train, str) else train + validation_needed(params)
    share = test / (test + others)
    return min(test, max(1, round(share * total)))
