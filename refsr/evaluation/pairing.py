"""Which references each held-out image gets, fixed by the manifest and a seed."""

import numpy as np
import pandas as pd

from refsr.errors import RefsrError

MORE = ("second", "third", "fourth")  # references beside the first
MISSING = -1


def pairs(table: pd.DataFrame, seed: int, split: str = "test") -> pd.DataFrame:
    """A row per image of a held-out split: `row`, `person`, `source`, and rows of its references.

    Rows are positions in the manifest `table`. `right` is the person's own. `wrong` is another's:
    persons are put in a random order by `seed`, once, and each gets the reference of the next, so
    that nobody gets his own and every reference is the wrong one exactly once. `second`, `third`
    and `fourth` are the person's other images, never the held-out one itself; MISSING where there
    are too few. Raises RefsrError for fewer than two persons, or no
    image to restore.
    """
    test = table.reset_index(drop=True).query("split == @split")
    references = test[test["role"] == "reference"]
    right = pd.Series(references.index, index=references["identity"])
    persons = np.random.default_rng(seed).permutation(sorted(right.index))
    if len(persons) < 2:
        raise RefsrError(
            f"the {split} split has {len(persons)} identities with a reference; "
            f"two are needed: set curate.{split}_identities and curate again"
        )
    following = pd.Series(np.roll(persons, -1), index=persons)
    images = test[(test["role"] == "image") & test["identity"].isin(right.index)]
    if images.empty:
        raise RefsrError(
            f"the {split} split has no image beside the references; set curate.test_images.min "
            "and curate again"
        )
    person = images["identity"].to_numpy()
    wrong_person = following[person].to_numpy()
    fixed = {
        "row": images.index.to_numpy(),
        "person": person,
        "source": images["source"].to_numpy(),
        "right": right[person].to_numpy(),
        "wrong": right[wrong_person].to_numpy(),
        "wrong_person": wrong_person,
    }
    return pd.DataFrame(fixed).join(_more_references(images))


def _more_references(images: pd.DataFrame) -> pd.DataFrame:
    """The other images of each image's person, in the order of the manifest: MORE, by position."""
    own = images.groupby("identity").groups
    others = [
        [row for row in own[person] if row != image] for image, person in images["identity"].items()
    ]
    filled = [(rows + [MISSING] * len(MORE))[: len(MORE)] for rows in others]
    return pd.DataFrame(filled, columns=list(MORE), dtype=np.int64)


def add_lookalikes(
    test: pd.DataFrame,
    references: pd.DataFrame,
    cosine: np.ndarray,
) -> pd.DataFrame:
    """`test` with `nearest` and `farthest`: references of other people, by identity.

    They are the rows of the references most and least like the person's own. `references` has
    `person` and `right`, a row per person; `cosine` (P, P) is the likeness of their references.
    """
    itself = np.eye(len(cosine), dtype=bool)
    place = pd.Series(range(len(references)), index=references["person"])[test["person"]].to_numpy()
    rows = references["right"].to_numpy()
    nearest = rows[np.where(itself, -np.inf, cosine).argmax(1)]
    farthest = rows[np.where(itself, np.inf, cosine).argmin(1)]
    return test.assign(nearest=nearest[place], farthest=farthest[place])
