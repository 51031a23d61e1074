"""Which identities are for training and which for testing, in the order in which they are taken."""

import numpy as np
import pandas as pd

from refsr.config import Curate
from refsr.errors import RefsrError
from refsr.layouts.base import SPLITS

Order = dict[str, list[str]]  # split -> its identities, in the order in which they are taken


def draw(images: pd.DataFrame, params: Curate) -> Order:
    """The identities of each split in the order in which they are taken: seeded, and the sexes as `params.sex` wants.

    The splits are the tree's own where it has both; else identities are drawn for testing, fewer than
    `test_identities` where the tree has too few for both splits. Raises RefsrError where identities that are listed
    are not there, or splits that are asked for.
    """
    first = images.groupby("identity", sort=True, observed=True)[["root", "sex"]].first()
    _require(first, params)
    order = [str(first.index[at]) for at in np.random.default_rng(params.seed).permutation(len(first))]
    if params.identities != "all":
        order = [key for key in order if key in set(params.identities)]
    order = _by_sex(order, dict(zip(first.index.astype(str), first["sex"], strict=True)), params.sex)
    roots = first["root"].to_dict()
    if params.splits == "own" or (params.splits == "auto" and set(SPLITS) <= set(first["root"])):
        return {split: [key for key in order if roots[key] == split] for split in SPLITS}
    tests = _drawn_for_testing(len(order), params)
    return {"train": order[tests:], "test": order[:tests]}


def _require(first: pd.DataFrame, params: Curate) -> None:
    missing = sorted(set(params.identities) - set(first.index)) if params.identities != "all" else []
    if missing:
        raise RefsrError(
            f"curate.identities: {len(missing)} of them are not in the raw set, {missing[0]} the first; take them out"
        )
    if params.splits == "own" and not set(SPLITS) <= set(first["root"]):
        raise RefsrError(
            "curate.splits: own, but the raw set has not both of train/ and test/; set it to drawn, or name another set"
        )


def _by_sex(order: list[str], sexes: dict[str, str], wanted: str) -> list[str]:
    """The order with one sex only, or women and men in turn, and after them those of whom there are no more pairs."""
    if wanted in ("f", "m"):
        return [key for key in order if sexes[key] == wanted]
    if wanted == "any":
        return order
    women, men = ([key for key in order if sexes[key] == sex] for sex in ("f", "m"))
    paired = [key for pair in zip(women, men, strict=False) for key in pair]
    return paired + [key for key in order if key not in set(paired)]


def _drawn_for_testing(total: int, params: Curate) -> int:
    """How many of `total` identities are for testing, where the raw set does not say."""
    if params.test_identities == "all":
        raise RefsrError("curate.test_identities: all, but the splits are drawn; name how many are for testing")
    trained = total if params.train_identities == "all" else params.train_identities
    share = params.test_identities / (params.test_identities + trained)
    return min(params.test_identities, max(1, round(share * total)))
