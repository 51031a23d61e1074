"""Shards of an evaluation: what one is a part of, and whether shards can be joined."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from refsr.config import Evaluate
from refsr.errors import RefsrError
from refsr.evaluation import records
from refsr.evaluation.batches import of_share
from refsr.evaluation.openings import held_out_hash
from refsr.evaluation.protocol import Bench
from refsr.evaluation.records import Records
from refsr.io.files import file_hash
from refsr.io.own_files import damaged, read_sealed, seal
from refsr.share import Share

PART = "part.json"
VERSION = "1"  # of the records and their files; those of another version are not joined
STAGE = "evaluate --shard"
PARAMETERS = ("seed", "split", "batch_size", "robustness")  # that change the records


def facts_of(bench: Bench, params: Evaluate, paths: Mapping[str, Path]) -> dict[str, Any]:
    """What the records of a shard depend on; `paths` are the checkpoints by name."""
    networks = dict(paths) | ({"lpips": params.lpips} if params.lpips else {})
    return {
        "version": VERSION,
        "images": held_out_hash(bench.curated, bench.models.scale, params.split),
        "networks": {name: file_hash(path) for name, path in networks.items()},
        "params": {name: getattr(params, name) for name in PARAMETERS},
    }


def write(
    bench: Bench, params: Evaluate, facts: Mapping[str, Any], share: Share, folder: Path
) -> dict[str, float]:
    """Measure a share of the people of a bench into `folder`; returns how many they are."""
    test = of_share(bench.test, params.batch_size, share)
    counts = {"identities": test["person"].nunique(), "images": len(test)}
    folder.mkdir(parents=True, exist_ok=True)
    if len(test):
        records.save(records.record(bench.of(test), params), folder)
    document = seal(dict(facts) | {"share": list(share), "counts": counts})
    (folder / PART).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return {name: float(count) for name, count in counts.items()}


def read(folders: Sequence[Path], facts: Mapping[str, Any]) -> Records:
    """The records of all shards, given in any order.

    Raises:
        RefsrError: A folder is no shard, or one of other images, networks, parameters or of
            another division; a shard is missing or there twice; a file is damaged.
    """
    documents = {folder: _checked(folder, facts) for folder in folders}
    shares = {folder: Share(*each["share"]) for folder, each in documents.items()}
    ordered = _in_order(shares)
    full = [folder for folder in ordered if documents[folder]["counts"]["images"]]
    return records.join([records.load(folder, STAGE) for folder in full])


def _in_order(shares: Mapping[Path, Share]) -> list[Path]:
    """The folders by number of their share, each of which is there once."""
    totals = {share.total: folder for folder, share in shares.items()}
    if len(totals) > 1:
        parts = ", ".join(f"{folder} is of {total}" for total, folder in sorted(totals.items()))
        raise RefsrError(
            f"shards of different divisions: {parts}; evaluate them all with the same N"
        )
    folders: dict[int, Path] = {}
    for folder, share in shares.items():
        other = folders.setdefault(share.number, folder)
        if other != folder:
            raise RefsrError(f"{other} and {folder} are both shard {share}; leave one out")
    (total,) = totals
    missing = [str(Share(number, total)) for number in range(1, total + 1) if number not in folders]
    if missing:
        raise RefsrError(
            f"shard {', '.join(missing)} is missing; run `evaluate --shard {missing[0]}`, "
            "and name its folder too"
        )
    return [folders[number] for number in sorted(folders)]


def _checked(folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The document of a shard that belongs to this evaluation."""
    path = folder / PART
    if not path.exists():
        raise RefsrError(
            f"{folder}: no shard of an evaluation; run `evaluate --shard I/N` to make one"
        )
    document = read_sealed(path, STAGE)
    if document.get("version") != VERSION:
        raise RefsrError(f"{folder}: made by another version of refsr; evaluate it again")
    if missing := [key for key in (*facts, "share", "counts") if key not in document]:
        raise damaged(path, STAGE, f"no {missing[0]}")
    if document["images"] != facts["images"]:
        raise RefsrError(
            f"{folder}: a shard of other images, split or scale; evaluate it again with --curated"
        )
    if name := _different(document["networks"], facts["networks"]):
        raise RefsrError(
            f"{folder}: measured with another checkpoint of `{name}`; "
            "evaluate it again, or pass the same ones"
        )
    if name := _different(document["params"], facts["params"]):
        was = f"evaluate.{name} was {document['params'].get(name)}"
        raise RefsrError(
            f"{folder}: measured with other parameters ({was}); "
            "evaluate it again, or use the same ones"
        )
    return document


def _different(own: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """The first name whose values differ, "" without one."""
    names = [name for name in {**expected, **own} if own.get(name) != expected.get(name)]
    return names[0] if names else ""
