"""Curation in parts: which identities a part extracts, and whether a part belongs to a set.

The part of an identity depends only on its name, so that a reader of an archive knows at once
which images to skip.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from refsr.config import Curate
from refsr.errors import RefsrError
from refsr.io.own_files import damaged, is_sealed, read_json, seal
from refsr.share import Share

PART = "part.json"
VERSION = "7"  # of the features and their files; those of another version are not used
_STAGE = "curate --shard"


def write(folder: Path, signature: str, params: Curate, share: Share, layout: str) -> None:
    """Write which raw set (by its signature), layout, parameters and share a part is of."""
    facts = {
        "version": VERSION,
        "raw": signature,
        "layout": layout,
        "params": params.model_dump(mode="json"),
        "share": share,
    }
    (folder / PART).write_text(json.dumps(seal(facts), indent=2) + "\n")


def check(folders: Sequence[Path], signature: str, params: Curate, layout: str) -> None:
    """Check that parts can be joined.

    Raises:
        RefsrError: A folder is no part, or is of another raw set, layout or division, or of
            other parameters.
    """
    values = params.model_dump(mode="json")
    totals = {_check_one(folder, signature, values, layout): folder for folder in folders}
    if len(totals) > 1:
        parts = ", ".join(f"{folder} is of {total}" for total, folder in sorted(totals.items()))
        raise RefsrError(f"parts of different divisions: {parts}; curate them all with the same N")


def _check_one(folder: Path, signature: str, params: dict[str, Any], layout: str) -> int:
    """Check one part; returns the total of its share."""
    path = folder / PART
    if not path.exists():
        raise RefsrError(f"{folder}: no part here; run `curate --shard I/N` to make one")
    try:
        facts = read_json(path, _STAGE)
        version, raw, own = facts["version"], facts["raw"], dict(facts["params"])
        total, own_layout = int(facts["share"][1]), facts["layout"]
    except (ValueError, TypeError, LookupError) as error:
        raise damaged(path, _STAGE, f"no {error}") from error
    if version != VERSION:
        raise RefsrError(f"{folder}: made by another version of refsr; curate it again")
    if not is_sealed(facts):
        raise damaged(path, _STAGE, "it does not match its own checksum")
    if raw != signature:
        raise RefsrError(
            f"{folder}: a part of another raw set: names or sizes differ; curate it again",
        )
    if own_layout != layout:
        way_out = "curate it again, or set data.layout"
        raise RefsrError(f"{folder}: read by data.layout {own_layout}, not {layout}; {way_out}")
    changed = [key for key, value in params.items() if own.get(key) != value]
    if changed:
        value = f"curate.{changed[0]} was {own.get(changed[0])}"
        way_out = "curate it again, or use the same ones"
        raise RefsrError(f"{folder}: made with other parameters ({value}); {way_out}")
    return total
