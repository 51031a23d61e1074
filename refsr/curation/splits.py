"""Which identities are for training and which for testing, in the order in which they are taken."""

import numpy as np
import pandas as pd

from refsr.config import Curate
from refsr.errors import RefsrError
from refsr.layouts.base import SPLITS

Order = dict[str, list[str]]  # split -> its identities, in the order in which they are taken


def draw(images: pd.DataFrame, params: Curate) -> Order:
    """Order the identities of each split, by the seed and by `params.sex`.

    The splits are those of the raw set where it has both. Otherwise identities are drawn for
    testing: `test_identities`, or fewer where the set is too small for both splits.

    Raises:
        RefsrError: The raw set lacks listed identities, or the splits asked for.
    """
    columns = images.groupby("identity", sort=True, observed=True)[["root", "sex"]]
    first = columns.first()
    if params.identities != "all":
        _require_identities(first.index, params.identities)
    has_both = set(SPLITS) <= set(first["root"])
    if params.splits == "own" and not has_both:
        raise RefsrError(
            "curate.splits: own, but the raw set does not have both train/ and test/; "
            "set it to drawn, or name another set"
        )
    order = _ordered(first, params)
    roots = first["root"].to_dict()
    if params.splits == "own" or (params.splits == "auto" and has_both):
        return {split: [key for key in order if roots[key] == split] for split in SPLITS}
    tests = _test_count(len(order), params.train_identities, params.test_identities)
    return {"train": order[tests:], "test": order[:tests]}


def _require_identities(present: "pd.Index[str]", listed: tuple[str, ...]) -> None:
    missing = sorted(set(listed) - set(present))
    if missing:
        raise RefsrError(
            f"curate.identities: the raw set lacks {len(missing)} of them, "
            f"first {missing[0]}; remove them from the list"
        )


def _ordered(first: pd.DataFrame, params: Curate) -> list[str]:
    """The identities in random order, those listed and of the sex asked for."""
    rng = np.random.default_rng(params.seed)
    order = [str(first.index[at]) for at in rng.permutation(len(first))]
    if params.identities != "all":
        listed = set(params.identities)
        order = [key for key in order if key in listed]
    sexes = dict(zip(first.index.astype(str), first["sex"], strict=True))
    return _by_sex(order, sexes, params.sex)


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


def _test_count(total: int, train: int | str, test: int | str) -> int:
    """How many of `total` identities are for testing, where the splits are drawn."""
    if isinstance(test, str):
        problem = "curate.test_identities: all, but the splits are drawn"
        raise RefsrError(f"{problem}; set it to the number of identities for testing")
    trained = total if isinstance(train, str) else train
    share = test / (test + trained)
    return min(test, max(1, round(share * total)))
