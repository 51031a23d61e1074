"""Curation in parts: which identities a part measures, and whether a part is one of the set it is to be joined to.

An identity's part hangs on its own name alone, so that whoever streams an archive knows at once what is not theirs.
"""

import json
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from refsr.config import Curate
from refsr.errors import RefsrError
from refsr.io.own_files import damaged, is_sealed, read_json, seal

PART = "part.json"
VERSION = "6"  # of what is measured and how it is kept: one that was made by another is of no use


class Share(NamedTuple):
    """The part `number` (from 1) of `total`."""

    number: int
    total: int

    def holds(self, identity: str) -> bool:
        """Whether the identity belongs to this part."""
        return zlib.crc32(identity.encode()) % self.total == self.number - 1


WHOLE = Share(1, 1)


def parse_share(text: str) -> Share:
    """`2/8` as a Share. Raises RefsrError where it is none."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    if match and 1 <= int(match[1]) <= int(match[2]):
        return Share(int(match[1]), int(match[2]))
    raise RefsrError(f"--shard {text}: I/N is expected, with I from 1 to N, e.g. 1/8 ... 8/8")


def write(folder: Path, signature: str, params: Curate, share: Share, layout: str) -> None:
    """Say of what raw set, read by which layout, and parameters this part is."""
    facts = {
        "version": VERSION,
        "raw": signature,
        "layout": layout,
        "params": params.model_dump(mode="json"),
        "share": share,
    }
    (folder / PART).write_text(json.dumps(seal(facts), indent=2) + "\n")


def check(folders: Sequence[Path], signature: str, params: Curate, layout: str) -> None:
    """Compare parts with the set they are to be joined to.

    Raises:
        RefsrError: A folder is no part of this raw set, layout, these parameters, or one division.
    """
    totals: dict[int, Path] = {}
    for folder in folders:
        if not (folder / PART).exists():
            raise RefsrError(f"{folder}: no part here; `curate --shard I/N` makes one")
        try:
            facts = read_json(folder / PART, "curate --shard")
            version, raw, own = facts["version"], facts["raw"], dict(facts["params"])
            total, own_layout = int(facts["share"][1]), facts["layout"]
        except (ValueError, TypeError, LookupError) as error:
            raise damaged(folder / PART, "curate --shard", f"no {error}") from error
        if version != VERSION:
            raise RefsrError(f"{folder}: measured by another version of refsr; curate it again by this one")
        if not is_sealed(facts):
            raise damaged(folder / PART, "curate --shard", "it does not fit its own checksum")
        if raw != signature:
            raise RefsrError(f"{folder}: a part of another raw set: names or sizes differ; curate it again")
        if own_layout != layout:
            raise RefsrError(
                f"{folder}: read by data.layout {own_layout}, not {layout}; curate it again, or set data.layout"
            )
        changed = [key for key, value in params.model_dump(mode="json").items() if own.get(key) != value]
        if changed:
            told = f"curate.{changed[0]} was {own.get(changed[0])}"
            raise RefsrError(f"{folder}: measured by other parameters ({told}); curate it again, or give it the same")
        totals[total] = folder
    if len(totals) > 1:
        told = ", ".join(f"{folder} is of {total}" for total, folder in sorted(totals.items()))
        raise RefsrError(f"parts of different divisions: {told}; curate them all with the same N")
