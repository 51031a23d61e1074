"""Plant defects into a copy of a folder per person, as photos.py measures them."""

import shutil
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from refsr.errors import RefsrError
from refsr.layouts.people import is_image
from refsr.synthetic.defects import beside, rotated

Picture = np.ndarray  # (H, W, 3) uint8 BGR
LEAST = 3  # images of a person
BLUR = (0.015, 0.03, 0.045, 0.06)  # standard deviation over the width of the image


class Planted(NamedTuple):
    """A planted image: the kind, its path, and what belongs to it."""

    kind: str
    path: str  # relative to the set
    other: str = ""  # of a copy, the original; of a person under two names, the second folder
    variant: str = ""


def plant(
    raw: Path,
    target: Path,
    people: int,
    seed: int,
    *,
    empty: bool = False,
    images: tuple[int, int] = (LEAST, sys.maxsize),
) -> list[Planted]:
    """Copy some people of a set, half into train/ and half into test/, and plant defects.

    With `empty` nothing is planted. People with fewer or more `images` are left out.

    Raises:
        RefsrError: Too few people have enough images.
    """
    rng = np.random.default_rng(seed)
    least, most = images
    every = sorted(raw.rglob("*"))
    folders = [folder for folder in every if least <= len(_images(folder)) <= most]
    if len(folders) < donors_from(people):
        limit = "or more" if most == sys.maxsize else f"to {most}"
        known = f"{len(folders)} people have {least} {limit} images"
        needed = f"--people {people} needs {donors_from(people)}, some of whom are planted"
        raise RefsrError(f"{raw}: {known}; {needed}")
    shuffled = [folders[at] for at in rng.permutation(len(folders))]
    homes: list[str] = []
    for number, folder in enumerate(shuffled[:people]):
        homes.append(f"{('train', 'test')[number % 2]}/{folder.name}")
        shutil.copytree(folder, target / homes[-1])
    return [] if empty else [*_Planter(target, homes, shuffled[people:], rng).plant()]


def is_of(path: str, planted: Sequence[Planted]) -> bool:
    """Whether an image belongs to something that was planted, or to its folder."""
    return any(is_in(path, (one.path, one.other)) for one in planted)


def is_in(path: str, places: Collection[str]) -> bool:
    """Whether a file is one of these, or stands in one of these folders."""
    return path in places or path.rpartition("/")[0] in places


def donors_from(people: int) -> int:
    """The people that a set of `people` and those who are planted into it are drawn from."""
    return people + 4 * max(2, people // 12)


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if is_image(path.name))


class _Planter:
    """Plants into the folders `homes` of a set; what others have to show comes from `donors`."""

    def __init__(
        self,
        root: Path,
        homes: Sequence[str],
        donors: Sequence[Path],
        rng: np.random.Generator,
    ) -> None:
        self._root, self._rng = root, rng
        self._sources = {home: _images(root / home) for home in homes}
        self._donors = list(donors)
        self._count = max(2, len(homes) // 12)  # of a kind
        self._planted: Counter[str] = Counter()  # images by home

    def plant(self) -> Iterator[Planted]:
        """Plant every kind."""
        yield from self._people()
        for home in self._some(self._count):
            yield self._put(home, "wrong_person", _encoded(_read(self._donor()[0])))
        plain: dict[str, Callable[[Picture], bytes]] = {
            "no_face": lambda image: _encoded(self._no_face(image)),
            "truncated": lambda image: _encoded(image)[: len(_encoded(image)) // 2],
            "rotated": lambda image: rotated(image[..., ::-1], 92, 6),
        }
        for kind, change in plain.items():
            for home in self._some(self._count, more=True):
                yield self._put(home, kind, change(self._take(home)))
        for side in ("left", "right"):
            for home in self._some(self._count, more=True):
                both = beside(self._take(home), _read(self._donor()[0]), side)
                yield self._put(home, "bystander", _encoded(both), variant=side)
        for strength in BLUR:
            for home in self._some(self._count // 2, more=True):
                image = self._take(home)
                soft = cv2.GaussianBlur(image, (0, 0), strength * image.shape[1])
                yield self._put(home, "blurred", _encoded(soft), variant=f"{strength:g}")
        yield from self._copies()

    def _people(self) -> Iterator[Planted]:
        """One person under two names, and two people in one folder."""
        large = [home for home, own in self._sources.items() if len(own) >= 2 * LEAST - 1]
        for home in large[: self._count]:
            split, name = home.split("/")
            second = f"{'test' if split == 'train' else 'train'}/{name} the second"
            (self._root / second).mkdir(parents=True)
            for path in self._sources[home][LEAST - 1 :]:
                path.rename(self._root / second / path.name)
            yield Planted("same_person", home, second)
            del self._sources[home]  # nothing more is planted there
        for home in self._some(self._count // 2):
            own, others = self._sources.pop(home), self._donor()
            for number, path in enumerate(others[: len(own)]):
                (self._root / home / f"other {number}.jpg").write_bytes(path.read_bytes())
            for path in own[len(others) :]:  # each person has half of the folder
                path.unlink()
            yield Planted("mixed_people", home)

    def _copies(self) -> Iterator[Planted]:
        """Of images in the same folder, and in another one."""
        for name, copy in COPIES.items():
            for home, other in zip(self._some(self._count), self._some(self._count), strict=True):
                original = self._sources[home][0]
                data = _encoded(copy(_read(original)))
                path = str(original.relative_to(self._root))
                yield self._put(home, "near_duplicate", data, path, name)
                if other != home:
                    yield self._put(other, "cross_duplicate", data, path, name)

    def _some(self, count: int, *, more: bool = False) -> list[str]:
        """Folders in random order, those in which least was planted first.

        With `more`, those that have more images than are needed come before these.
        """
        homes = [*self._sources]
        shuffled = [homes[at] for at in self._rng.permutation(len(homes))]
        return sorted(shuffled, key=lambda home: self._cost(home, more))[:count]

    def _cost(self, home: str, more: bool) -> tuple[bool, int]:
        """By which the folders are sorted."""
        return more and len(self._sources[home]) <= LEAST, self._planted[home]

    def _take(self, home: str) -> Picture:
        """An image of a person, whose file is removed."""
        path = self._sources[home].pop()
        image = _read(path)
        path.unlink()
        return image

    def _donor(self) -> list[Path]:
        """The images of somebody who is not in the set; nobody is taken twice."""
        return _images(self._donors.pop())

    def _put(
        self,
        home: str,
        kind: str,
        data: bytes,
        other: str = "",
        variant: str = "",
    ) -> Planted:
        self._planted[home] += 1
        path = f"{home}/planted {kind} {self._planted[home]:03d}.jpg"
        (self._root / path).write_bytes(data)
        return Planted(kind, path, other, variant)

    def _no_face(self, image: Picture) -> Picture:
        """The colours of an image, in any order."""
        coarse = cv2.resize(image, (9, 9), interpolation=cv2.INTER_AREA).reshape(-1, 3)
        mixed = self._rng.permutation(coarse).reshape(9, 9, 3)
        return cv2.resize(mixed, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)


def _read(path: Path) -> Picture:
    return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)


def _encoded(image: Picture, quality: int = 92) -> bytes:
    data: bytes = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    return data


def _cropped(image: Picture) -> Picture:
    """Without 6% of its width and its height."""
    height, width = image.shape[:2]
    return np.ascontiguousarray(image[round(0.06 * height) :, : width - round(0.06 * width)])


def _marked(image: Picture) -> Picture:
    height, width = image.shape[:2]
    place, scale, white = (width // 12, round(0.9 * height)), width / 400, (255, 255, 255)
    font = cv2.FONT_HERSHEY_SIMPLEX
    return cv2.putText(image.copy(), "(c) agency", place, font, scale, white, 1, cv2.LINE_AA)


COPIES: dict[str, Callable[[Picture], Picture]] = {
    "re-encoded": lambda image: cv2.imdecode(np.frombuffer(_encoded(image, 60), np.uint8), 1),
    "scaled": lambda image: cv2.resize(image, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA),
    "cropped": _cropped,
    "contrast": lambda image: cv2.convertScaleAbs(image, alpha=1.3, beta=-30),
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
    "watermarked": _marked,
}
