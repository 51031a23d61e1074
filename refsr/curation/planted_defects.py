"""How well curation finds what was planted, where the raw set tells what was (planted_defects.csv)."""

import csv
import io

import numpy as np
import pandas as pd

from refsr.errors import RefsrError
from refsr.io.sources import Source

PLANTED = "planted_defects.csv"  # path,kind,detail; of a copy, `detail` is the path of the original
UNSEEN = ("unselected", "no_box", "no_landmarks", "small_box", "cut", "extreme_pose")
COPIES = ("near_duplicate", "cross_duplicate")
REASON = {"occluded": "no_face"}  # a face that is hidden cannot be told from none; elsewhere kind and reason are one


def read_planted(source: Source) -> pd.DataFrame | None:
    """The planted defects, columns path, kind, detail; None where the raw set has no such file.

    Raises RefsrError naming the file and line where one cannot be read.
    """
    names = source.files["name"]
    likely = np.flatnonzero(names.str.endswith(PLANTED)).tolist()
    found = [row for row in likely if names[row].rpartition("/")[2] == PLANTED]
    if not len(found):
        return None
    path = f"{source.uri}/{names[found[0]]}"
    try:
        rows = list(csv.reader(io.StringIO(source.read(found[0]).decode("utf-8"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise RefsrError(f"{path}: cannot be read ({error}); render the raw set again") from error
    if not rows or rows[0] != ["path", "kind", "detail"]:
        raise RefsrError(f"{path}:1: the header path,kind,detail is expected; render the raw set again")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != 3:
            raise RefsrError(
                f"{path}:{number}: path, kind and detail are expected, not {row}; render the raw set again"
            )
    planted = pd.DataFrame(rows[1:], columns=rows[0], dtype=object)
    top = names[found[0]].removesuffix(PLANTED)  # paths are told from where the file stands
    copies = planted["kind"].isin(COPIES)
    planted["path"] = top + planted["path"]
    planted.loc[copies, "detail"] = top + planted.loc[copies, "detail"]
    return planted


def score(planted: pd.DataFrame, rejects: pd.DataFrame) -> dict[str, float]:
    """precision.<kind> and recall.<kind> of the reject reasons against what was planted.

    Of a planted copy either image may be the one left out. Images left out before anyone looked at them (UNSEEN) do not
    count.
    """
    unread = set(rejects.loc[rejects["reason"].isin(UNSEEN), "source"])
    scores = {}
    seen = planted[~planted["path"].isin(unread)]
    for kind, rows in seen.groupby(seen["kind"].replace(REASON), sort=True):
        pairs = zip(rows["path"], rows["detail"], strict=True)
        found = set(rejects.loc[rejects["reason"] == kind, "source"])
        accepted = [{path, detail} if kind in COPIES else {path} for path, detail in pairs]
        right = found & set().union(*accepted)
        scores[f"precision.{kind}"] = len(right) / len(found) if found else 0.0
        scores[f"recall.{kind}"] = sum(bool(found & paths) for paths in accepted) / len(accepted)
    return scores
