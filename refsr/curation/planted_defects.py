"""How well curation finds planted defects, where the raw set lists them in planted_defects.csv."""

import csv
import io

import numpy as np
import pandas as pd

from refsr.errors import RefsrError
from refsr.io.sources import Source

PLANTED = "planted_defects.csv"  # path,kind,detail; `detail` of a copy is the original's path
# Reasons for which an image is left out before its defect can be seen.
UNSEEN = ("unselected", "no_box", "no_landmarks", "small_box", "cut", "extreme_pose")
COPIES = ("near_duplicate", "cross_duplicate")
SOUND = ("bystander", "rotated")  # to be kept, with the face of the folder's person
OF_MANIFEST = ("source", "x", "w", "width")  # columns by which these are scored
# Reasons that have nothing to do with the image itself.
NOT_ITS_OWN = ("too_few", "surplus", "unselected", "no_reference")
REASON = {"occluded": "no_face"}  # kind -> reason, where they differ
_HEADER = ["path", "kind", "detail"]
_WAY_OUT = "render the raw set again"


def read_planted(source: Source) -> pd.DataFrame | None:
    """The planted defects, columns path, kind, detail; None where the raw set lists none.

    Raises:
        RefsrError: The list cannot be read; the message names file and line.
    """
    names = source.files["name"]
    likely = np.flatnonzero(names.str.endswith(PLANTED)).tolist()
    lists = [row for row in likely if names[row].rpartition("/")[2] == PLANTED]
    if not lists:
        return None
    rows = _rows(source.read(lists[0]), f"{source.uri}/{names[lists[0]]}")
    planted = pd.DataFrame(rows[1:], columns=rows[0], dtype=object)
    folder = names[lists[0]].removesuffix(PLANTED)  # paths are relative to it
    copies = planted["kind"].isin(COPIES)
    planted["path"] = folder + planted["path"]
    planted.loc[copies, "detail"] = folder + planted.loc[copies, "detail"]
    return planted


def _rows(data: bytes, path: str) -> list[list[str]]:
    """The rows of the list, its header first. Raises RefsrError where it is no such list."""
    try:
        text = io.StringIO(data.decode("utf-8"), newline="")
        rows = list(csv.reader(text))
    except (UnicodeDecodeError, csv.Error) as error:
        raise RefsrError(f"{path}: cannot be read ({error}); {_WAY_OUT}") from error
    if not rows or rows[0] != _HEADER:
        raise RefsrError(f"{path}:1: the header path,kind,detail is expected; {_WAY_OUT}")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(_HEADER):
            raise RefsrError(
                f"{path}:{number}: path, kind and detail are expected, not {row}; {_WAY_OUT}",
            )
    return rows


def score(planted: pd.DataFrame, rejects: pd.DataFrame, kept: pd.DataFrame) -> dict[str, float]:
    """precision.<kind> and recall.<kind> of the reasons of rejects against the planted defects.

    `kept` has the columns OF_MANIFEST of the manifest. Of the kinds in SOUND the recall is the
    share that is kept.

    Either image of a planted copy may be the one that is left out. Images left out for a reason
    in UNSEEN do not count.
    """
    unread = set(rejects.loc[rejects["reason"].isin(UNSEEN), "source"])
    scores = {}
    sound = planted["kind"].isin(SOUND)
    seen = planted[~planted["path"].isin(unread) & ~sound]
    for kind, rows in seen.groupby(seen["kind"].replace(REASON), sort=True):
        pairs = zip(rows["path"], rows["detail"], strict=True)
        accepted = [{path, detail} if kind in COPIES else {path} for path, detail in pairs]
        rejected = set(rejects.loc[rejects["reason"] == kind, "source"])
        right = rejected & set().union(*accepted)
        hits = sum(bool(rejected & paths) for paths in accepted)
        scores[f"precision.{kind}"] = len(right) / len(rejected) if rejected else 0.0
        scores[f"recall.{kind}"] = hits / len(accepted)
    return scores | _score_sound(planted[sound], rejects, kept)


def _score_sound(
    planted: pd.DataFrame, rejects: pd.DataFrame, kept: pd.DataFrame
) -> dict[str, float]:
    """The share of images that are kept with their own face, of those that could be."""
    skipped = set(rejects.loc[rejects["reason"].isin(NOT_ITS_OWN), "source"])
    faces = kept.set_index("source")
    scores = {}
    for kind, rows in planted[~planted["path"].isin(skipped)].groupby("kind", sort=True):
        hits = [
            path in faces.index and has_own_face(faces.loc[path], detail)
            for path, detail in zip(rows["path"], rows["detail"], strict=True)
        ]
        scores[f"recall.{kind}"] = sum(hits) / len(hits)
    return scores


def has_own_face(face: pd.Series, beside: str) -> bool:
    """Whether a box lies on the person's half; `beside` begins with the side of a bystander."""
    if not beside:
        return True
    is_left = face["x"] + face["w"] / 2 < face["width"] / 2
    return bool(is_left == beside.startswith("right"))
