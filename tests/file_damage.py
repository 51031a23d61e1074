"""Ways to damage a file that the pipeline wrote;
each changes the file at a path, whatever its kind.
"""

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def noise(path: Path) -> None:
    """Random bytes over the middle."""
    data = bytearray(path.read_bytes())
    start, end = len(data) // 4, len(data) - len(data) // 4
    data[start:end] = np.random.default_rng(0).bytes(end - start)
    path.write_bytes(data)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def other_kind(path: Path) -> None:
    """A sound file of the format that holds something else."""
    if path.suffix == ".parquet":
        pd.DataFrame({"other": [1]}).to_parquet(path)
    elif path.suffix == ".npy":
        np.save(path, np.zeros((2, 2)))
    else:
        path.write_text('["other"]' if path.suffix == ".json" else "other")


def wrong_value(path: Path) -> None:
    """The right form, with a value that cannot be."""
    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
        table[_first_number(table)] = -1
        table.to_parquet(path, index=False)
    elif path.suffix == ".npy":
        array = np.load(path)
        path.write_bytes(_saved(array[::-1] if len(array) > 1 else np.concatenate([array, array])))
    elif path.suffix == ".json":
        document = path.read_text()
        changed = re.sub(r"(?<=[ \[:])\d[\d.]*(?=[,\]}\n])", "-1", document, count=1)
        path.write_text(changed if changed != document else json.dumps({"what": float("nan")}))
    else:
        data = bytearray(path.read_bytes())
        data[-1] ^= 0x11
        path.write_bytes(data)


WAYS: dict[str, Callable[[Path], None]] = {
    "half": half,
    "empty": empty,
    "noise": noise,
    "folder": folder,
    "other kind": other_kind,
    "wrong value": wrong_value,
}


def kinds(root: Path) -> dict[str, Path]:
    """One file of each kind below a folder, by its name with all numbers and hashes replaced."""
    files: dict[str, Path] = {}
    for path in sorted(each for each in root.rglob("*") if each.is_file()):
        name = re.sub(r"[0-9a-f]{8,}|\d+", "#", str(path.relative_to(root)))
        files.setdefault(name, path)
    return files


def damaged(path: Path) -> Iterator[str]:
    """The file damaged in each way, one after another; whole again in the end."""
    data = path.read_bytes()
    for way, damage in WAYS.items():
        damage(path)
        changed = path.is_dir() or path.read_bytes() != data
        try:
            if changed:  # an empty file cannot be emptied
                yield way
        finally:
            if path.is_dir():
                path.rmdir()
            path.write_bytes(data)


def contents(root: Path) -> dict[str, bytes | None]:
    """All that a folder holds, by name."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
    }


def _first_number(table: pd.DataFrame) -> Any:
    numbers = table.select_dtypes("number").columns
    return numbers[0] if len(numbers) else table.columns[0]


def _saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()
