"""Params files: YAML with values, keys and characters changed."""

from pathlib import Path

import numpy as np

from fuzzing.damage import damaged
from refsr.config import SECTIONS
from refsr.errors import RefsrError
from refsr.params import load_section

ORIGINAL = (Path(__file__).parents[2] / "params/tiny.yaml").read_bytes()
VALUES = [
    "yes",
    "0100",
    "1:30",
    "2024-01-01",
    ".nan",
    ".inf",
    "-1",
    "1e400",
    "9" * 40,
    "[]",
    "{}",
    "null",
    "''",
]
VALUES += [
    "&a [*a]",
    "!!python/object:os.system x",
    "[" * 3000,
    "{a: " * 3000,
    "2**9",
    "~",
    "0x7f",
    "*b",
    "|",
]


def mutate(rng: np.random.Generator) -> tuple[str, bytes]:
    """The tiny profile with a value replaced, or with damaged bytes."""
    if rng.random() < 0.4:
        return ".yaml", damaged(ORIGINAL, rng)
    lines = ORIGINAL.decode().splitlines()
    valued = [n for n, line in enumerate(lines) if ": " in line]
    at = valued[rng.integers(len(valued))]
    lines[at] = f"{lines[at].partition(': ')[0]}: {VALUES[rng.integers(len(VALUES))]}"
    return ".yaml", "\n".join(lines).encode()


def read(path: Path) -> None:
    """Every section of it; the first refusal is raised at the end."""
    refused = []
    for name in SECTIONS:
        try:
            load_section(path, name)
        except RefsrError as error:
            refused.append(error)
    if refused:
        raise refused[0]
