"""Outliers are separated from the members of a group."""

import numpy as np
import pytest

from refsr.curation import mixed_folders, outliers
from refsr.io import arrays

GROUPS, MEMBERS, SIZE = 12, 6, 32


@pytest.fixture
def people() -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of 12 groups of 6 that lie 0.3 about centres 1.4 apart, and their groups."""
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 1 / np.sqrt(SIZE), (GROUPS, SIZE))
    spread = rng.normal(0, 0.3 / np.sqrt(SIZE), (GROUPS, MEMBERS, SIZE))
    embeddings = (centres[:, None] + spread).reshape(-1, SIZE).astype(np.float32)
    return embeddings, np.repeat([f"n{i:06d}" for i in range(GROUPS)], MEMBERS)


def _wrong(embeddings: np.ndarray, groups: np.ndarray, most: float, yaw: float = 0.0) -> np.ndarray:
    return outliers.wrong_persons(embeddings, groups, np.full(len(groups), yaw), most)


def test_the_distance_is_to_the_centre_of_the_others() -> None:
    line = np.array([[0.0], [1.0], [2.0], [9.0]], np.float32)
    distance, z_score = outliers.fit(line, np.array(["a"] * 4))
    # The others of 0 are 1, 2, 9: medoid 2 and the nearest to it 1, so that their centre is 1.5;
    # and so on.
    np.testing.assert_allclose(distance, [1.5, 0.0, 1.5, 8.5])
    assert np.isneginf(z_score).all()


def test_one_alone_is_no_wrong_person() -> None:
    distance, z_score = outliers.fit(np.ones((1, 4), np.float32), np.array(["a"]))
    assert distance[0] == 0
    assert np.isneginf(z_score).all()
    assert not _wrong(np.ones((1, 4), np.float32), np.array(["a"]), 0.6).any()


def test_z_score_is_the_distance_in_deviations_of_those_to_the_others() -> None:
    embeddings = np.array([[0.0], [2], [10], [10], [20], [20], [30], [30], [40], [40]], np.float32)
    groups = np.repeat(list("abcde"), 2)
    _, z_score = outliers.fit(embeddings, groups)
    others = np.array([10.0, 20, 30, 40])
    assert z_score[0] == pytest.approx((2 - others.mean()) / others.std(), rel=1e-4)


def test_members_are_kept_and_wrong_persons_are_not(people: tuple[np.ndarray, np.ndarray]) -> None:
    embeddings, groups = people
    assert not _wrong(embeddings, groups, 1.0).any()
    embeddings[[0, 20]] = embeddings[[20, 0]]
    assert np.flatnonzero(_wrong(embeddings, groups, 9.0)).tolist() == [0, 20]
    few = np.isin(
        groups, ["n000000", "n000003"]
    )  # too few groups to say what is usual: the distance alone decides
    assert np.flatnonzero(_wrong(embeddings[few], groups[few], 1.0)).tolist() == [0, 8]
    assert not _wrong(embeddings[few], groups[few], 9.0).any()


def test_two_wrong_persons_of_six_do_not_move_the_group(
    people: tuple[np.ndarray, np.ndarray],
) -> None:
    embeddings, groups = people
    embeddings[[0, 1]] = embeddings[[20, 30]]
    assert np.flatnonzero(_wrong(embeddings, groups, 9.0)).tolist() == [0, 1]


def test_what_varies_in_all_groups_makes_no_wrong_person(
    people: tuple[np.ndarray, np.ndarray],
) -> None:
    embeddings, groups = people
    pose = np.random.default_rng(2).normal(0, 1, len(groups)).astype(np.float32)
    embeddings[:, 0] += pose
    _, plain = outliers.fit(embeddings, groups)
    assert (plain > -1.9).any()
    assert not _wrong(embeddings, groups, 9.0).any()


def test_a_face_in_profile_may_be_less_near_its_own_person(
    people: tuple[np.ndarray, np.ndarray],
) -> None:
    embeddings, groups = people
    embeddings[0] = 0.4 * embeddings[0] + 0.6 * embeddings[20]
    white = outliers.whitened(embeddings, groups)
    score = outliers.fit(white, groups)[1][0]
    assert -1.9 < score < -0.6
    for yaw, is_wrong in ((0.0, True), (20.0, True), (np.nan, True), (40.0, False), (-40.0, False)):
        assert _wrong(embeddings, groups, 9.0, yaw)[0] == is_wrong
    assert _wrong(embeddings, groups, 0.3, 40.0)[0]  # too far for any pose


def test_the_centres_of_many_rows_are_worked_through_in_blocks(
    people: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = outliers.fit(*people)
    monkeypatch.setattr(arrays, "BLOCK", 7)
    np.testing.assert_allclose(outliers.fit(*people)[1], whole[1], rtol=1e-5)


def test_some_groups_stand_for_all_others(
    people: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    embeddings, groups = people
    monkeypatch.setattr(outliers, "_COHORT", 8)
    embeddings[[0, 20]] = embeddings[[20, 0]]
    assert np.flatnonzero(_wrong(embeddings, groups, 9.0)).tolist() == [0, 20]


def test_a_centre_without_one_is_that_of_the_others() -> None:
    group = np.random.default_rng(3).normal(size=(9, 5)).astype(np.float32)
    distance, centre = outliers._among(group)
    for row in range(len(group)):
        others = np.delete(group, row, axis=0)
        between = np.linalg.norm(others[:, None] - others[None], axis=2)
        near = others[np.argsort(between[between.sum(axis=1).argmin()])[:4]]
        assert distance[row] == pytest.approx(
            np.linalg.norm(group[row] - near.mean(axis=0)), rel=1e-5
        )
    between = np.linalg.norm(group[:, None] - group[None], axis=2)
    near = group[np.argsort(between[between.sum(axis=1).argmin()])[:5]]
    np.testing.assert_allclose(centre, near.mean(axis=0), rtol=1e-5)


def test_a_group_of_two_people_is_mixed_and_one_of_many_poses_is_not(
    people: tuple[np.ndarray, np.ndarray],
) -> None:
    embeddings, groups = people
    assert mixed_folders.mixed(embeddings, groups, 9.0) == []
    embeddings[[0, 1, 2]] = (
        embeddings[[20, 21, 22]] + 0.01
    )  # half of the first group is of another person
    embeddings[6] = embeddings[30]  # one stranger makes no second person
    embeddings[12:15] += np.float32(0.15)  # two poses of one
    (group,) = mixed_folders.mixed(embeddings, groups, 9.0)
    assert group.rows.tolist() == [0, 1, 2, 3, 4, 5]
    assert group.second.tolist() in ([0, 1, 2], [3, 4, 5])
    assert 0.9 < group.apart < 2


def test_among_too_few_groups_only_the_distance_tells_two_people(
    people: tuple[np.ndarray, np.ndarray],
) -> None:
    embeddings, groups = (part[:18] for part in people)
    embeddings[:3] = people[0][20:23]
    assert mixed_folders.mixed(embeddings, groups, 9.0) == []
    assert [group.rows[0] for group in mixed_folders.mixed(embeddings, groups, 0.9)] == [0]
