"""Which identities and images are taken, and how different from the reference an image is said to look."""

import numpy as np
import pandas as pd
import pytest

from refsr.config import Curate
from refsr.data import curation, selection
from refsr.errors import RefsrError

PEOPLE = pd.DataFrame(
    {
        "identity": [f"n{i:06d}" for i in range(12)],
        "root": ["train"] * 8 + ["test"] * 4,
        "sex": ["f"] * 3 + ["m"] * 7 + ["?"] * 2,
    }
)


def group(**columns: list[float]) -> pd.DataFrame:
    size = len(next(iter(columns.values())))
    usual = {"yaw": 0.0, "red": 100.0, "green": 100.0, "blue": 100.0, "w": 80.0, "h": 100.0}
    return pd.DataFrame({key: columns.get(key, [value] * size) for key, value in usual.items()})


@pytest.mark.parametrize(
    ("columns", "apart", "expected"),
    [
        ({"yaw": [0, -30]}, 0.0, 30 / 60 / 4),
        ({"yaw": [-60, 60]}, 0.0, 1 / 4),
        ({"yaw": [0, 0]}, 0.3, 0.5 / 4),
        ({"red": [0, 255], "green": [0, 255], "blue": [0, 255]}, 0.0, 1 / 4),
        ({"red": [0, 51], "green": [0, 51], "blue": [0, 51]}, 0.0, 0.4 / 4),
        ({"h": [100, 200]}, 0.0, 0.5 / 4),
        ({"yaw": [0, 90], "h": [100, 900], "red": [0, 255], "green": [255, 0], "blue": [0, 255]}, 2.0, 1.0),
        ({"yaw": [0, float("nan")], "h": [100, 200]}, 0.6, (1 + 0.5) / 3),
    ],
)
def test_appearance_is_the_mean_of_its_terms(columns: dict[str, list[float]], apart: float, expected: float) -> None:
    embeddings = np.array([[0.0, 0], [0, apart]])
    differs = selection.appearance(group(**columns), embeddings, 0)
    assert differs == pytest.approx([0, expected])


def test_the_most_different_of_each_pose_come_first() -> None:
    differs = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    yaw = np.array([-40.0, -30, -50, 5, np.nan, 35])
    assert selection._varied(differs, yaw).tolist() == [0, 3, 5, 1, 2, 4]


def test_splits_are_the_sets_own_or_drawn() -> None:
    own = curation.draw(PEOPLE, Curate(train_identities=6, test_identities=3))
    assert (set(own["train"]), set(own["test"])) == (set(PEOPLE["identity"][:8]), set(PEOPLE["identity"][8:]))
    drawn = curation.draw(PEOPLE, Curate(splits="drawn", train_identities=6, test_identities=3))
    assert len(drawn["test"]) == 3
    assert sorted(drawn["train"] + drawn["test"]) == PEOPLE["identity"].tolist()
    assert set(drawn["test"]) != set(own["test"])
    with pytest.raises(RefsrError, match="splits"):
        curation.draw(PEOPLE[:8], Curate(splits="own"))
    with pytest.raises(RefsrError, match="test_identities"):
        curation.draw(PEOPLE[:8], Curate(test_identities="all"))


def test_sexes_are_taken_as_asked_for() -> None:
    def sexes(**params: object) -> list[str]:
        order = curation.draw(PEOPLE, Curate.model_validate({"splits": "drawn", "test_identities": 1} | params))
        return PEOPLE.set_index("identity")["sex"][order["test"] + order["train"]].tolist()

    assert sexes(sex="f") == ["f"] * 3
    assert sexes(sex="m") == ["m"] * 7
    balanced = sexes(sex="balanced")
    assert sorted(balanced) == sorted(PEOPLE["sex"])
    assert balanced[:6] == ["f", "m"] * 3


def test_identities_can_be_listed_and_must_be_there() -> None:
    listed = ["n000009", "n000001", "n000002"]
    order = curation.draw(PEOPLE, Curate.model_validate({"identities": listed}))
    assert sorted(order["train"] + order["test"]) == sorted(listed)
    with pytest.raises(RefsrError, match=r"1 of them .* n000077"):
        curation.draw(PEOPLE, Curate.model_validate({"identities": [*listed, "n000077"]}))
