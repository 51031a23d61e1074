"""Columns of the manifest of a curated set and of its rejects; reasons of rejects."""

from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd

SPLITS = ("train", "validation", "test")
HELD_OUT = SPLITS[1:]


class Column(NamedTuple):
    """A column's type, as pandas names it, and its meaning."""

    dtype: str
    meaning: str


_POINTS = (
    "eye on the left",
    "eye on the right",
    "nose tip",
    "mouth left",
    "mouth right",
)


def _landmarks(prefix: str, pixels: str) -> dict[str, Column]:
    meaning = "{}, {}, " + pixels + "; NaN where there are no landmarks"
    return {
        f"{prefix}p{number}{axis}": Column("float32", meaning.format(point, axis))
        for number, point in enumerate(_POINTS, 1)
        for axis in "xy"
    }


_IN_CROP = _landmarks("hr_", "pixels of the HR image")
CROP_LANDMARKS = tuple(_IN_CROP)

MANIFEST: dict[str, Column] = {
    "identity": Column(
        "str", "name of its folder: VGGFace2's class, nXXXXXX, or the person's name"
    ),
    "split": Column("str", "train, validation or test; an identity is in one of them only"),
    "role": Column("str", "reference or image; each identity has exactly one reference"),
    "source": Column("str", "the raw file, relative to the raw folder"),
    "shard": Column("int32", "number of the shard, hr-<shard>.npy"),
    "index": Column("int32", "position in the shard"),
    "x": Column("float32", "left edge of the face box, source pixels, clamped to the image"),
    "y": Column("float32", "top edge of the face box"),
    "w": Column("float32", "width of the face box"),
    "h": Column("float32", "height of the face box"),
    "width": Column("int32", "width of the source image, pixels"),
    "height": Column("int32", "height of the source image, pixels"),
    **_landmarks("", "source pixels"),
    **_IN_CROP,
    "yaw": Column(
        "float32",
        "turn of the head from the landmarks, degrees, 0 is frontal; NaN without landmarks",
    ),
    "sharpness": Column(
        "float32",
        "share of the HR image's variation that a blur removes, 0 to 1; see image_stats.sharpness",
    ),
    "dhash": Column("uint64", "difference hash of the HR image; see image_stats.difference_hash"),
    "sha256": Column("str", "of the source file's bytes, hexadecimal"),
    "sex": Column("str", "m, f, or ? where the raw set does not say"),
    "identity_distance": Column(
        "float32",
        "face embedding to the centre of its identity; see outliers.distances",
    ),
    "appearance": Column(
        "float32",
        "how different it looks from its reference, 0 to 1; see selection.appearance",
    ),
}

# Columns a user may add after those of MANIFEST.
OPTIONAL: dict[str, Column] = {
    "skin_tone": Column("str", "skin tone, from metadata; the evaluation reports it as a slice"),
}

REJECTS: dict[str, Column] = {
    "source": Column("str", "the raw file, relative to the raw folder"),
    "identity": Column("str", "its folder"),
    "reason": Column("str", "one of REASONS"),
    "value": Column("float64", "the value measured; NaN where there is none"),
    "detail": Column("str", "the limit in words, or the image it is a copy of"),
}

REASONS: dict[str, str] = {
    "unsafe_name": "the name leads out of the archive, or is not printable UTF-8",
    "no_plain_file": "a link in an archive or one that leads nowhere, a device or the like",
    "duplicate_name": "an earlier member of the archive has this name",
    "oversized_file": "the file has more bytes than are read",
    "zero_byte": "the file is empty",
    "not_jpeg": (
        "the content is not a JPEG, whatever the name says; "
        "in a set without box files, nor a PNG, WebP, BMP, AVIF or HEIF that can be decoded"
    ),
    "truncated": "the image ends too early or is damaged: the decoder fails or warns",
    "tiny": "a side of the image is under 32 px",
    "oversized": "the image has more pixels than are decoded",
    "costly": "decoding would take too long, or a process was killed while it decoded the image",
    "no_box": "the box files do not tell of it",
    "box_outside": "the box lies wholly outside the image",
    "cut": "more of the face box than max_cut lies outside the image",
    "no_landmarks": "there are no landmarks to align the crop by",
    "small_box": "the shorter side of the box is under min_box",
    "extreme_pose": "turned by more than max_yaw",
    "blurred": "less sharp than min_sharpness",
    "no_face": "the box holds no face, or one of which little is seen",
    "mixed_people": "its folder holds two people, each about half",
    "near_duplicate": "the same picture as another of this identity",
    "cross_duplicate": "the same picture as another of another identity, which it fits better",
    "wrong_person": "the face is not that of the others in its folder",
    "same_person": "its identity is the same person as another one of a later split",
    "no_reference": "none of its identity's faces is certain enough for a reference",
    "too_few": "its identity is left with too few images",
    "surplus": "its identity has more images than are asked for",
    "unselected": "its identity is not needed",
}


class Value(NamedTuple):
    """The `value` of a reject: its name, its unit, and the parameter of `curate` that limits it."""

    name: str
    unit: str = ""
    threshold: str = ""


NO_VALUE = Value("")
# By reason; reasons without a value are absent.
VALUES: dict[str, Value] = {
    "oversized_file": Value("size", "bytes"),
    "zero_byte": Value("size", "bytes"),
    "truncated": Value("size", "bytes"),
    "tiny": Value("shorter side", "px"),
    "oversized": Value("size", "px"),
    "costly": Value("scans"),
    "cut": Value("share of the box outside", "", "max_cut"),
    "small_box": Value("shorter side", "px", "min_box"),
    "extreme_pose": Value("yaw", "°", "max_yaw"),
    "blurred": Value("sharpness", "", "min_sharpness"),
    "no_face": Value("probability of a face", "", "min_face_probability"),
    "near_duplicate": Value("likeness"),
    "cross_duplicate": Value("likeness"),
    "wrong_person": Value("identity distance", "", "max_identity_distance"),
    "mixed_people": Value("distance of the two", "", "max_identity_distance"),
    "same_person": Value("deviations from the distance of two people"),
    "no_reference": Value("probability of a face", "", "min_reference_probability"),
    "too_few": Value("left", "images"),
    "surplus": Value("appearance"),
}


def columns_of(present: Iterable[str]) -> dict[str, Column]:
    """The columns required of a manifest: MANIFEST, and those of OPTIONAL that are present."""
    names = set(present)
    return MANIFEST | {name: column for name, column in OPTIONAL.items() if name in names}


def conform(table: pd.DataFrame, columns: dict[str, Column]) -> pd.DataFrame:
    """These columns of a table, in order and with their types. Raises KeyError for missing ones."""
    dtypes = {key: column.dtype for key, column in columns.items()}
    return table[list(columns)].astype(dtypes).reset_index(drop=True)
