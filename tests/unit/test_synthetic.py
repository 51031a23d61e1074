"""The rendered raw set: what is drawn, what is planted, what is written."""

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from refsr.config import Synthesize
from refsr.steps.synthesize import synthesize
from refsr.synthetic.dataset import write_raw
from refsr.synthetic.people import person, unlikeness, view
from refsr.synthetic.plan import KINDS, MIXED, Folder, plan
from refsr.synthetic.render import Frame, Model, model, render
from refsr.synthetic.surface import BACK, atlas, ball, tube
from refsr.tracker import NullTracker

SMALL = Synthesize(
    train_identities=3, test_identities=2, views=3, min_size=64, max_size=96, defects=1
)
FRAME = Frame(width=90, height=110, box_height=66, x=48, y=57)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic") / "raw"
    write_raw(SMALL, folder, workers=1)
    return folder


@pytest.fixture(scope="module")
def built() -> Model:
    return model(3)


def _planted(raw: Path) -> list[dict[str, str]]:
    with (raw / "planted_defects.csv").open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def _boxes(raw: Path) -> dict[str, tuple[int, int, int, int]]:
    boxes = {}
    for split in ("train", "test"):
        rows = (raw / "bb_landmark" / f"loose_bb_{split}.csv").read_text().splitlines()
        assert rows[0] == "NAME_ID,X,Y,W,H"
        for row in rows[1:]:
            name, *numbers = row.split(",")
            assert name == f'"{name[1:-1]}"'
            x, y, w, h = map(int, numbers)
            boxes[f"{split}/{name[1:-1]}.jpg"] = (x, y, w, h)
    return boxes


def _read(path: Path) -> np.ndarray:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB))


def test_a_picture_has_its_size_box_and_landmarks(built: Model) -> None:
    picture = render(built, view(0, built.who, frontal=True), FRAME)
    assert picture.image.shape == (110, 90, 3)
    assert picture.image.dtype == np.uint8
    x, y, w, h = picture.box
    assert h == pytest.approx(66)
    assert (x + w / 2, y + h / 2) == pytest.approx((48, 57))
    left_eye, right_eye, nose, left_mouth, right_mouth = picture.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < nose[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


@pytest.mark.parametrize("yaw", [-0.35, 0.0, 0.35])
def test_landmarks_lie_where_the_eyes_are_drawn(built: Model, yaw: float) -> None:
    """What changes when the eyes close lies around their landmarks,
    whatever way the head is turned.
    """
    frame = Frame(width=300, height=360, box_height=230, x=150, y=190)
    looks = [replace(view(1, built.who), yaw=yaw, blink=blink) for blink in (1.0, 0.1)]
    awake, asleep = (render(built, look, frame) for look in looks)
    change = np.abs(awake.image.astype(float) - asleep.image).sum(2)
    change[change < 60] = 0
    between = int(awake.landmarks[:2, 0].mean())
    for half, start, mark in zip(
        np.hsplit(change, [between]), (0, between), awake.landmarks[:2], strict=True
    ):
        rows, columns = half.nonzero()
        weight = half[rows, columns]
        centre = np.average([columns + start, rows], axis=1, weights=weight)
        assert np.abs(centre - mark).max() < 8


def test_rendering_is_deterministic_and_views_differ(built: Model) -> None:
    first = render(model(3), view(1, person(3)), FRAME).image
    again = render(built, view(1, built.who), FRAME).image
    other = render(built, view(2, built.who), FRAME).image
    assert np.array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 10


def test_turning_the_head_moves_the_nose_sideways(built: Model) -> None:
    base = view(0, built.who, frontal=True)

    def offset(yaw: float) -> float:
        marks = render(built, replace(base, yaw=yaw), FRAME).landmarks
        return float(marks[2, 0] - marks[:2, 0].mean())

    assert offset(-0.4) < offset(0.0) - 2 < offset(0.4) - 4


def test_every_person_can_be_built() -> None:
    for seed in range(12):
        picture = render(model(seed), view(0, person(seed), frontal=True), FRAME)
        assert picture.image.std() > 10


def test_people_differ_in_every_trait() -> None:
    people = [person(seed) for seed in range(60)]
    assert {p.male for p in people} == {True, False}
    assert len({p.hair.style for p in people}) > 12
    assert 0.1 < np.mean([p.glasses is not None for p in people]) < 0.45
    assert len({p.eyes.iris for p in people}) > 4


def test_hidden_triangles_of_solid_surfaces_are_left_out() -> None:
    sphere = ball(np.zeros(3), 1.0, (255, 0, 0), 0.1)
    shown = atlas([sphere]).triangles
    assert 0.4 < len(shown) / len(atlas([replace(sphere, solid=False)]).triangles) < 0.75
    assert (sphere.carried.reshape(-1, 10)[shown[:, 0], 2] > BACK).all()


def test_a_tube_keeps_its_radius_around_its_path() -> None:
    path = np.stack([np.linspace(0, 3, 20), np.zeros(20), np.zeros(20)], 1)
    rod = tube(path, 0.25, (0, 0, 0), 0.0)
    assert np.allclose(np.linalg.norm(rod.position[..., 1:], axis=-1), 0.25, atol=1e-6)


def test_the_plan_gives_every_identity_its_views_and_every_kind_its_number() -> None:
    params = Synthesize(train_identities=9, test_identities=4, views=5, defects=3)
    folders = plan(params)
    assert Counter(folder.split for folder in folders[:-3]) == {"train": 9, "test": 4}
    kinds = Counter(shot.kind for folder in folders for shot in folder.shots)
    assert kinds == {"": 13 * 5, MIXED: 3 * 6} | dict.fromkeys(KINDS, 3)
    for folder in folders[:-3]:
        names = [shot.name for shot in folder.shots]
        assert names == sorted(set(names))
        assert sum(shot.frontal for shot in folder.shots if not shot.kind) >= 2
    _check_sizes(params, folders)


def test_hidden_faces_are_added_to_a_set_that_is_as_it_would_be_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    params = Synthesize(train_identities=9, test_identities=4, views=5, defects=3)
    shots = [shot for folder in plan(params) for shot in folder.shots]
    monkeypatch.setattr("refsr.synthetic.plan.KINDS", KINDS[: KINDS.index("occluded")])
    without = [shot for folder in plan(params) for shot in folder.shots]
    assert [shot for shot in shots if shot.kind != "occluded"] == without


def test_people_for_validation_come_after_all_others_who_stay_the_same() -> None:
    params = Synthesize(train_identities=9, test_identities=4, views=5, defects=3)
    folders = plan(params.model_copy(update={"validation_identities": 2}))
    others, more = folders[:-2], folders[-2:]
    assert others == plan(params)
    assert all(folder.split == "train" and len(folder.shots) == 5 for folder in more)
    assert not {folder.person for folder in more} & {
        shot.person for folder in others for shot in folder.shots
    }
    assert len({folder.identity for folder in folders}) == len(folders)


def _check_sizes(params: Synthesize, folders: list[Folder]) -> None:
    frames = [shot.frame for folder in folders for shot in folder.shots if shot.kind != "tiny"]
    sides = [side for frame in frames for side in (frame.width, frame.height)]
    assert params.min_size <= min(sides) and max(sides) <= params.max_size


def test_a_wrong_person_is_never_the_owner_of_the_folder() -> None:
    folders = plan(Synthesize(train_identities=2, test_identities=1, views=2, defects=20))
    for folder in folders:
        for shot in folder.shots:
            if shot.kind == "wrong_person":
                assert unlikeness(person(shot.person), person(folder.person)) > 1.2
            if shot.kind == "cross_duplicate":
                assert shot.original is not None and shot.original.person != folder.person
            if shot.kind == "near_duplicate":
                assert shot.original is not None and shot.original.person == folder.person


def test_a_mixed_folder_is_half_of_one_person_and_half_of_another() -> None:
    folders = plan(Synthesize(train_identities=2, test_identities=1, views=7, defects=5))
    mixed = folders[3:]
    assert [folder.identity for folder in folders] == sorted(
        {folder.identity for folder in folders}
    )
    people = [Counter(shot.person for shot in folder.shots) for folder in mixed]
    assert [sorted(counts.values()) for counts in people] == [[3, 4]] * 5
    assert len({who for counts in people for who in counts}) == 10
    assert {folder.split for folder in mixed} == {"train", "test"}


def test_people_are_as_unlike_as_is_said() -> None:
    pairs = [unlikeness(person(a), person(a + 1)) for a in range(0, 120, 2)]
    assert unlikeness(person(3), person(3)) == 0
    assert np.mean(pairs) == pytest.approx(1.41, abs=0.05)
    assert np.mean(np.array(pairs) <= 1.2) == pytest.approx(0.1, abs=0.07)


def test_the_tree_holds_what_was_planned(raw: Path) -> None:
    files = sorted(str(path.relative_to(raw)) for path in raw.rglob("*.jpg"))
    assert len(files) == 5 * 3 + len(KINDS) + 6
    assert sorted(_boxes(raw)) == files
    assert Counter(row["kind"] for row in _planted(raw)) == dict.fromkeys(KINDS, 1) | {MIXED: 6}
    for split in ("train", "test"):
        lines = (raw / "bb_landmark" / f"loose_landmark_{split}.csv").read_text().splitlines()
        assert lines[0] == "NAME_ID,P1X,P1Y,P2X,P2Y,P3X,P3Y,P4X,P4Y,P5X,P5Y"
        assert all(len(line.split(",")) == 11 for line in lines)


def test_each_defect_is_what_it_says(raw: Path) -> None:
    by_kind = {row["kind"]: row for row in _planted(raw)}
    data = {kind: (raw / row["path"]).read_bytes() for kind, row in by_kind.items()}
    assert data["zero_byte"] == b""
    assert data["not_jpeg"].startswith(b"\x89PNG")
    assert data["truncated"].startswith(b"\xff\xd8") and not data["truncated"].endswith(b"\xff\xd9")
    assert max(_read(raw / by_kind["tiny"]["path"]).shape[:2]) < 32
    for kind in ("near_duplicate", "cross_duplicate"):
        copy, original = (_read(raw / by_kind[kind][key]) for key in ("path", "detail"))
        a, b = (
            cv2.resize(image, (24, 24), interpolation=cv2.INTER_AREA).ravel()
            for image in (copy, original)
        )
        assert np.corrcoef(a, b)[0, 1] > 0.95
    same = {
        kind: by_kind[kind]["path"].split("/")[1] == by_kind[kind]["detail"].split("/")[1]
        for kind in by_kind
        if kind.endswith("duplicate")
    }
    assert same == {"near_duplicate": True, "cross_duplicate": False}


def test_only_box_outside_lies_outside(raw: Path) -> None:
    planted = {row["path"]: row["kind"] for row in _planted(raw)}
    for path, (x, y, w, h) in _boxes(raw).items():
        if planted.get(path) in ("zero_byte", "truncated"):
            continue
        height, width = _read(raw / path).shape[:2]
        overlaps = x < width and y < height and x + w > 0 and y + h > 0
        assert overlaps == (planted.get(path) != "box_outside")


def test_identity_meta_has_the_published_quirks(raw: Path) -> None:
    lines = (raw / "identity_meta.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "Class_ID, Name, Sample_Num, Flag, Gender"
    assert sum(line.endswith(",") for line in lines[1:]) == 1
    assert sum(",_Jr." in line for line in lines) == 1
    for line in lines[1:]:
        identity, flag = line.split(",")[0], line.rstrip(",").split(",")[-2]
        assert (raw / ("train" if flag == "1" else "test") / identity).is_dir()


def test_bytes_do_not_depend_on_the_number_of_workers(raw: Path, tmp_path: Path) -> None:
    write_raw(SMALL, tmp_path, workers=2)
    files = sorted(path.relative_to(raw) for path in raw.rglob("*") if path.is_file())
    assert files == sorted(
        path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()
    )
    assert all((raw / path).read_bytes() == (tmp_path / path).read_bytes() for path in files)


def test_another_seed_gives_other_people() -> None:
    first, second = ({folder.person for folder in plan(replace_seed(seed))} for seed in (0, 1))
    assert not first & second


def replace_seed(seed: int) -> Synthesize:
    return SMALL.model_copy(update={"seed": seed})


class _Images(NullTracker):
    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def image(self, image: np.ndarray, key: str, step: int | None = None) -> None:
        self.shapes.append(image.shape)


def test_the_step_reports_counts_and_a_contact_sheet(tmp_path: Path) -> None:
    tracker = _Images()
    params = Synthesize(
        train_identities=1, test_identities=1, views=2, min_size=64, max_size=80, defects=0
    )
    metrics = synthesize(params, tracker, raw=tmp_path / "raw")
    assert (metrics["identities"], metrics["images"]) == (2, 4)
    assert metrics["images_per_second"] > 0
    assert tracker.shapes == [(768, 768, 3)]
