"""Which identities and images are taken, and how far an image differs from the reference."""

import numpy as np
import pandas as pd
import pytest

from refsr.config import Curate
from refsr.curation import selection, splits
from refsr.errors import RefsrError

LEAST = Curate().min_reference_probability
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
        (
            {"yaw": [0, 90], "h": [100, 900], "red": [0, 255], "green": [255, 0], "blue": [0, 255]},
            2.0,
            1.0,
        ),
        ({"yaw": [0, float("nan")], "h": [100, 200]}, 0.6, (1 + 0.5) / 3),
    ],
)
def test_appearance_is_the_mean_of_its_terms(
    columns: dict[str, list[float]], apart: float, expected: float
) -> None:
    embeddings = np.array([[0.0, 0], [0, apart]])
    differs = selection.appearance(group(**columns), embeddings, 0)
    assert differs == pytest.approx([0, expected])


def test_the_most_different_of_each_pose_come_first() -> None:
    differs = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    yaw = np.array([-40.0, -30, -50, 5, np.nan, 35])
    assert selection._varied(differs, yaw).tolist() == [0, 3, 5, 1, 2, 4]


def images(count: int, **columns: object) -> dict[str, np.ndarray]:
    """So many images of an identity as selection sees them, whole and frontal, their lots drawn."""
    rng = np.random.default_rng(0)
    usual = {
        "x": 9,
        "y": 9,
        "w": 80,
        "h": 90,
        "width": 200,
        "height": 200,
        "red": 9,
        "green": 9,
        "blue": 9,
        "yaw": 0,
    }
    usual["face_probability"] = 1
    drawn = {"sharpness": rng.random(count), "lot": rng.permutation(count).astype(np.uint64)}
    given = {name: np.asarray(values, float) for name, values in columns.items()}
    return {name: np.full(count, float(value)) for name, value in usual.items()} | drawn | given


def test_a_reference_is_sharp_frontal_and_whole_and_else_the_least_turned() -> None:
    group = images(4, sharpness=[0.5, 0.9, 0.8, 0.7], yaw=[5, 40, -10, np.nan], x=[9, 9, 0, 9])
    assert selection._by_reference_quality(group, LEAST).tolist() == [3, 0, 2, 1]
    assert selection._by_reference_quality(images(3, yaw=[50, -30, 70]), LEAST).tolist() == [
        1,
        0,
        2,
    ]


def test_a_reference_shows_a_face_for_certain_be_it_less_sharp_or_turned() -> None:
    group = images(
        4,
        sharpness=[0.9, 0.8, 0.3, 0.5],
        yaw=[0, 0, 60, 0],
        face_probability=[0.94, 0.6, 0.99, np.nan],
    )
    assert selection._by_reference_quality(group, LEAST).tolist() == [3, 2, 0, 1]


def test_training_images_are_taken_by_random_key_whatever_others_exist() -> None:
    group = images(50)
    order, _ = selection.ranked(group, np.zeros((50, 2)), "train", LEAST)
    assert order[0] == group["sharpness"].argmax()
    assert (np.diff(group["lot"][order[1:]].astype(int)) > 0).all()
    stay = np.sort(order[np.r_[0, 5:50]])
    fewer, _ = selection.ranked(
        {name: values[stay] for name, values in group.items()}, np.zeros((46, 2)), "train", LEAST
    )
    assert stay[fewer].tolist() == order[np.r_[0, 5:50]].tolist()


def test_candidates_are_twice_as_many_as_are_taken_and_hold_what_is_taken_later() -> None:
    params = Curate.model_validate(
        {"train_images": {"min": 2, "max": 10}, "test_images": {"min": 1, "max": 4}}
    )
    rng = np.random.default_rng(1)
    group, embeddings = images(300, yaw=rng.uniform(-70, 70, 300)), rng.normal(0, 0.1, (300, 8))
    chosen = selection.candidates(group, embeddings, params)
    assert 20 <= len(chosen) <= selection.most_candidates(params) == 38
    assert (np.diff(chosen) > 0).all()
    for split, most in (("train", 10), ("test", 5)):
        order, _ = selection.ranked(group, embeddings, split, LEAST)
        assert set(order[: 2 * most]) <= set(chosen)
    few = images(12)
    assert selection.candidates(few, np.zeros((12, 8)), params).tolist() == list(range(12))


def test_splits_are_the_sets_own_or_drawn() -> None:
    few = Curate(train_identities=6, test_identities=3, validation_identities=0)
    own = splits.draw(PEOPLE, few)
    assert (set(own["train"]), set(own["test"])) == (
        set(PEOPLE["identity"][:8]),
        set(PEOPLE["identity"][8:]),
    )
    drawn = splits.draw(PEOPLE, few.model_copy(update={"splits": "drawn"}))
    assert len(drawn["test"]) == 3
    assert sorted(drawn["train"] + drawn["test"]) == PEOPLE["identity"].tolist()
    assert set(drawn["test"]) != set(own["test"])
    with pytest.raises(RefsrError, match="splits"):
        splits.draw(PEOPLE[:8], Curate(splits="own"))
    with pytest.raises(RefsrError, match="test_identities"):
        splits.draw(PEOPLE[:8], Curate(test_identities="all"))


MANY = pd.DataFrame(
    {
        "identity": [f"n{number:06d}" for number in range(300)],
        "root": ["train", "train", "test"] * 100,
        "sex": ["f", "m", "m"] * 100,
    }
)


@pytest.mark.parametrize("own", ["own", "drawn"])
@pytest.mark.parametrize("sex", ["any", "balanced"])
def test_validation_people_are_taken_from_those_for_training_and_change_nobody_else(
    own: str, sex: str
) -> None:
    asked = {"splits": own, "sex": sex, "train_identities": 40, "test_identities": 50}
    orders = [
        splits.draw(MANY, Curate.model_validate(asked | {"validation_identities": count}))
        for count in (0, 10)
    ]
    without, order = orders
    assert sorted(key for keys in order.values() for key in keys) == MANY["identity"].tolist()
    assert order["test"] == without["test"] if own == "own" else len(order["test"]) == 50
    assert set(order["validation"]) < set(without["train"])
    assert len(order["validation"]) >= 15  # more than are needed, as of each split
    if own == "own":
        assert order["train"][:50] == without["train"][:50]
    if sex == "balanced":
        sexes = MANY.set_index("identity")["sex"]
        assert sexes[order["validation"][:10]].tolist() == ["f", "m"] * 5
    assert set(splits.draw(MANY, Curate())["validation"]) == set(
        splits.draw(MANY, Curate(validation_identities=43))["validation"]
    )  # a tenth of 428


def test_sets_too_small_for_all_splits_are_shared_out() -> None:
    few, none = (
        splits.draw(PEOPLE[:count], Curate(splits="drawn", validation_identities=60))
        for count in (12, 2)
    )
    assert {split: len(keys) for split, keys in few.items()} == {
        "train": 6,
        "validation": 0,
        "test": 6,
    }
    assert none["validation"] == [] and len(none["train"]) == len(none["test"]) == 1
    crowded = splits.draw(PEOPLE, Curate(train_identities=1, validation_identities=99))
    assert len(crowded["train"]) == 1


def test_sexes_are_taken_as_asked_for() -> None:
    def sexes(**params: object) -> list[str]:
        order = splits.draw(
            PEOPLE,
            Curate.model_validate(
                {"splits": "drawn", "test_identities": 1, "validation_identities": 0} | params
            ),
        )
        return PEOPLE.set_index("identity")["sex"][[*order["test"], *order["train"]]].tolist()

    assert sexes(sex="f") == ["f"] * 3
    assert sexes(sex="m") == ["m"] * 7
    balanced = sexes(sex="balanced")
    assert sorted(balanced) == sorted(PEOPLE["sex"])
    assert balanced[:6] == ["f", "m"] * 3


def test_identities_can_be_listed_and_must_be_there() -> None:
    listed = ["n000009", "n000001", "n000002"]
    order = splits.draw(PEOPLE, Curate.model_validate({"identities": listed}))
    assert sorted(order["train"] + order["test"]) == sorted(listed)
    with pytest.raises(RefsrError, match=r"1 of them, first n000077"):
        splits.draw(PEOPLE, Curate.model_validate({"identities": [*listed, "n000077"]}))
