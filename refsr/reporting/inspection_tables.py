"""The tables and charts of the page of a curated set."""

from typing import Any

import numpy as np
import pandas as pd

from refsr.dataset.framing import COLUMNS, framing
from refsr.dataset.schema import NO_VALUE, REASONS, VALUES
from refsr.reporting.charts import histogram

_FRAMING = {
    "tilt": "tilt of the eyes, degrees",
    "eyes": "distance of the eyes over the side of the crop",
    "border": "share of the crop beyond the photo",
}


def counts(rows: pd.DataFrame) -> dict[str, Any]:
    """What the table of splits says of one of them."""
    sizes = rows.groupby("identity").size()
    sexes = rows.drop_duplicates("identity")["sex"].value_counts()
    return {
        "identities": len(sizes),
        "images": len(rows),
        "least": int(sizes.min()) if len(sizes) else 0,
        "most": int(sizes.max()) if len(sizes) else 0,
        "female": int(sexes.get("f", 0)),
        "male": int(sexes.get("m", 0)),
    }


def histograms(splits: dict[str, pd.DataFrame], hr_size: int) -> dict[str, dict[str, Any] | None]:
    """Title -> chart, of what was kept."""

    def of(column: str) -> dict[str, Any] | None:
        return histogram({name: rows[column].to_numpy(float) for name, rows in splits.items()})

    def shorter(*columns: str) -> dict[str, Any] | None:
        return histogram(
            {name: rows[[*columns]].min(axis=1).to_numpy(float) for name, rows in splits.items()}
        )

    images = {
        name: rows.groupby("identity").size().to_numpy(float) for name, rows in splits.items()
    }
    lies = {name: framing(rows, hr_size) for name, rows in splits.items() if _has_places(rows)}
    framed = {
        title: histogram({name: rows[column].to_numpy() for name, rows in lies.items()})
        for column, title in _FRAMING.items()
    }
    return {
        "image, shorter side, px": shorter("width", "height"),
        "face box, shorter side, px": shorter("w", "h"),
        "images of an identity": histogram(images),
        "sharpness": of("sharpness"),
        "yaw, degrees": of("yaw"),
        "identity distance": of("identity_distance"),
        "appearance: how unlike the reference, 0 to 1": histogram(
            {
                name: rows.loc[rows["role"] == "image", "appearance"].to_numpy(float)
                for name, rows in splits.items()
            }
        ),
        **framed,
    }


def _has_places(rows: pd.DataFrame) -> bool:
    """Whether a manifest tells where landmarks lie in crops; those of older versions do not."""
    return set(COLUMNS) <= set(rows.columns)


def reasons(rejects: pd.DataFrame, summary: dict[str, Any]) -> list[dict[str, Any]]:
    """A row per reason that occurs, in the order in which curation checks.

    NaN where nothing is measured or known.
    """
    groups = dict(list(rejects.groupby("reason")))
    return [
        {
            "name": reason,
            "meaning": meaning,
            "count": len(groups[reason]),
            "measure": VALUES.get(reason, NO_VALUE).name,
            "unit": VALUES.get(reason, NO_VALUE).unit,
            "threshold": VALUES.get(reason, NO_VALUE).threshold,
            "low": float(groups[reason]["value"].min()),
            "high": float(groups[reason]["value"].max()),
            "precision": float(summary.get(f"precision.{reason}", np.nan)),
            "recall": float(summary.get(f"recall.{reason}", np.nan)),
        }
        for reason, meaning in REASONS.items()
        if reason in groups
    ]
