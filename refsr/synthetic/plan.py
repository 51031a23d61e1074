"""Plan a raw set before it is rendered: identities, their images, and the planted defects."""

from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle

import numpy as np

from refsr.config import Synthesize
from refsr.synthetic.people import person, unlikeness
from refsr.synthetic.render import Frame

KINDS = (
    "near_duplicate",
    "cross_duplicate",
    "wrong_person",
    "no_face",
    "blurred",
    "tiny",
    "truncated",
    "zero_byte",
    "not_jpeg",
    "box_outside",
    "occluded",
)
ADDED = ("occluded",)  # kinds that are planted in additional images, after all others
OF_BOXES = ("not_jpeg", "box_outside")  # kinds that are none where faces are detected
SCENES = ("bystander", "rotated")  # sound images of a set of photos
SAME = "same_person"  # a person under two names, one in train/ and one in test/
MIXED = "mixed_people"  # a whole folder with images of two people in turn
PEOPLE = 1_000_000  # seeds of people per set; people of the second half have no folder
_LIKE = 1.2  # unlikeness up to which two people look alike: a tenth of all pairs
_MIXED_PEOPLE = PEOPLE // 4  # the first seed of people in mixed folders
_SAME_PEOPLE = 2 * PEOPLE // 5  # the first seed of people under two names
_LEAST_MIXED = 6  # images of a mixed folder, enough to distinguish two people


@dataclass(frozen=True)
class Shot:
    """One image: person, view and frame; `kind` is "" for a sound image."""

    name: str  # IIII_FF
    person: int
    view: int
    frontal: bool
    frame: Frame
    quality: int  # of the JPEG
    kind: str = ""
    detail: str = ""
    original: "Shot | None" = None  # what a duplicate copies


@dataclass(frozen=True)
class Folder:
    """One identity and all its images."""

    split: str
    identity: str  # nXXXXXX; of photos "person XXXXXX"
    person: int
    shots: tuple[Shot, ...]


def plan(params: Synthesize) -> list[Folder]:
    """The folders of a raw set, in the order of their names."""
    rng = np.random.default_rng([101, params.seed])
    total = params.train_identities + params.test_identities
    is_test = np.zeros(total, bool)
    is_test[rng.choice(total, params.test_identities, replace=False)] = True
    number = np.cumsum(rng.integers(1, 9, total))
    folders = []
    for i in range(total):
        owner = params.seed * PEOPLE + i
        split = "test" if is_test[i] else "train"
        folders.append(Folder(split, _name(params, number[i]), owner, ()))
    hosts = _hosts(params, rng, total)
    spare = [sum(kind not in ADDED for kind in kinds) for kinds in hosts]
    ordinary = [_shots(params, folder, spare[i]) for i, folder in enumerate(folders)]
    complete = [_complete(params, i, folders, ordinary, hosts[i]) for i in range(total)]
    last = int(number[-1])
    mixed = [_mixed(params, i, last) for i in range(params.defects)]
    more = range(params.validation_identities)
    more_at = last + params.defects
    ordinary_set = complete + mixed + [_more(params, total + i, more_at + i) for i in more]
    return _with_scenes(params, ordinary_set, total) if params.scenes else ordinary_set


def _name(params: Synthesize, number: int) -> str:
    return f"person {number:06d}" if params.scenes else f"n{number:06d}"


def _with_scenes(params: Synthesize, folders: list[Folder], ordinary: int) -> list[Folder]:
    """With scenes in the first `ordinary` folders, and people under two names after all others."""
    rng = np.random.default_rng([106, params.seed])
    order = rng.permutation(ordinary)
    for n, kind in enumerate(kind for kind in SCENES for _ in range(params.scenes)):
        at = order[n % ordinary]
        shots = folders[at].shots
        scene = _shots_after(params, [*shots], 1)[0]
        detail = _beside(scene, rng) if kind == "bystander" else ""
        scene = replace(scene, kind=kind, detail=detail, original=None)
        folders[at] = replace(folders[at], shots=(*shots, scene))
    last = int(folders[-1].identity[-6:])
    pairs = [_two_names(params, i, last + 1 + 2 * i) for i in range(params.scenes)]
    return [*folders, *(folder for pair in pairs for folder in pair)]


def _beside(shot: Shot, rng: np.random.Generator) -> str:
    """The side of a bystander, and the seed of a person who is in no folder."""
    side = ("left", "right")[int(rng.integers(2))]
    return f"{side} {shot.person // PEOPLE * PEOPLE + int(rng.integers(PEOPLE // 2, PEOPLE))}"


def _two_names(params: Synthesize, i: int, number: int) -> tuple[Folder, Folder]:
    """A person in train/, who is to be left out, and in test/."""
    who = params.seed * PEOPLE + _SAME_PEOPLE + i
    first, second = (
        Folder(split, _name(params, number + at), who, ())
        for at, split in enumerate(("train", "test"))
    )
    shots = [replace(shot, frontal=True) for shot in _shots(params, first, params.views)]
    named = [replace(shot, kind=SAME, detail=second.identity) for shot in shots[::2]]
    return replace(first, shots=tuple(named)), replace(second, shots=tuple(shots[1::2]))


def _more(params: Synthesize, i: int, last: int) -> Folder:
    """A sound folder for training, after all others, which are the same without it."""
    folder = Folder("train", _name(params, last + 1), params.seed * PEOPLE + i, ())
    return replace(folder, shots=tuple(_shots(params, folder, 0)))


def _mixed(params: Synthesize, i: int, last: int) -> Folder:
    """A folder after all others, with images of two people in turn."""
    first = params.seed * PEOPLE + _MIXED_PEOPLE + 100 * i
    others = range(first + 1, first + 100)
    second = next(each for each in others if unlikeness(person(first), person(each)) > _LIKE)
    folder = Folder("test" if i % 5 == 4 else "train", _name(params, last + 1 + i), first, ())
    shots = _shots(params, folder, max(params.views, _LEAST_MIXED) - params.views)
    mixed = [
        replace(shot, person=who, kind=MIXED, detail=f"seed {who}")
        for shot, who in zip(shots, cycle((first, second)), strict=False)
    ]
    return replace(folder, shots=tuple(mixed))


def _hosts(params: Synthesize, rng: np.random.Generator, total: int) -> list[list[str]]:
    """The kinds of defect that each folder gets, spread evenly."""
    hosts: list[list[str]] = [[] for _ in range(total)]
    order = rng.permutation(total)
    planted = [kind for kind in KINDS if not (params.scenes and kind in OF_BOXES)]
    for n, kind in enumerate(kind for kind in planted for _ in range(params.defects)):
        hosts[order[n % total]].append(kind)
    return hosts


def _shots(params: Synthesize, folder: Folder, spare: int) -> list[Shot]:
    """The sound images of a folder, then `spare` more for defects. Names rise, with gaps."""
    rng = np.random.default_rng([102, params.seed, folder.person])
    count = params.views + spare
    names = np.cumsum(rng.integers(1, 5, count))
    frontal = set(range(max(2, params.views // 3)))
    views = [*rng.permutation(params.views), *range(params.views, count)]
    return [
        Shot(
            name=f"{names[i]:04d}_{rng.choice([1, 1, 1, 2, 3]):02d}",
            person=folder.person,
            view=int(views[i]),
            frontal=int(views[i]) in frontal,
            frame=_frame(params, rng),
            quality=int(rng.integers(80, 96)),
        )
        for i in range(count)
    ]


def _shots_after(params: Synthesize, shots: list[Shot], count: int) -> list[Shot]:
    """More images of a folder, with names and views after these."""
    rng = np.random.default_rng([105, params.seed, shots[0].person])
    last = int(shots[-1].name[:4])
    return [
        replace(shots[0], name=f"{last + n:04d}_01", view=len(shots) + n, frame=_frame(params, rng))
        for n in range(1, count + 1)
    ]


def _frame(params: Synthesize, rng: np.random.Generator) -> Frame:
    """A loose crop: the face box has about 0.6 of its height, and may cross its border."""
    clip = partial(np.clip, a_min=params.min_size, a_max=params.max_size)
    height = int(clip(165 * np.exp(rng.normal(0, 0.28))))
    width = int(clip(height * rng.uniform(0.8, 1.0)))
    box = min(max(rng.uniform(0.52, 0.66) * height, 62.0), 0.8 * height)
    x = width / 2 + rng.normal(0, 0.05) * width
    y = height * (0.53 + rng.normal(0, 0.03))
    if rng.random() < 0.08:
        x += rng.choice([-1, 1]) * 0.12 * width
    return Frame(width, height, float(box), float(x), float(y))


def _complete(
    params: Synthesize, i: int, folders: list[Folder], ordinary: list[list[Shot]], kinds: list[str]
) -> Folder:
    """The folder with its spare shots turned into defects."""
    rng = np.random.default_rng([103, params.seed, i])
    shots = ordinary[i][: params.views]
    spare = ordinary[i][params.views :]
    spare += _shots_after(params, ordinary[i], len(kinds) - len(spare))
    for shot, kind in zip(spare, kinds, strict=True):
        other = int((i + rng.integers(1, len(folders))) % len(folders))
        spoiled = replace(shot, kind=kind)
        if kind in ("near_duplicate", "cross_duplicate"):
            source = i if kind == "near_duplicate" else other
            original = ordinary[source][int(rng.integers(params.views))]
            spoiled = _copy(spoiled, folders[source], original)
        elif kind == "wrong_person":
            spoiled = _impostor(spoiled, folders[other], rng)
        elif kind == "tiny":
            factor = int(rng.integers(18, 31)) / max(_size(shot.frame))
            spoiled = replace(spoiled, frame=_scaled(shot.frame, factor))
        shots.append(spoiled)
    return replace(folders[i], shots=tuple(shots))


def _copy(shot: Shot, source: Folder, original: Shot) -> Shot:
    path = f"{source.split}/{source.identity}/{original.name}.jpg"
    return replace(shot, original=original, detail=path)


def _impostor(shot: Shot, other: Folder, rng: np.random.Generator) -> Shot:
    """A person of another folder or of none, in a view that is used nowhere else.

    The person does not look like the owner: dlib's network could not distinguish the two.
    """
    view = 1000 + shot.view
    owner = person(shot.person)
    if rng.random() < 0.5 and unlikeness(owner, person(other.person)) > _LIKE:
        return replace(shot, person=other.person, view=view, detail=other.identity)
    seed = shot.person
    while seed == shot.person or unlikeness(owner, person(seed)) <= _LIKE:
        seed = shot.person // PEOPLE * PEOPLE + int(rng.integers(PEOPLE // 2, PEOPLE))
    return replace(shot, person=seed, view=view, detail=f"seed {seed}")


def _size(frame: Frame) -> tuple[int, int]:
    return frame.width, frame.height


def _scaled(frame: Frame, factor: float) -> Frame:
    width, height = (max(8, int(side * factor)) for side in _size(frame))
    return Frame(width, height, frame.box_height * factor, frame.x * factor, frame.y * factor)
