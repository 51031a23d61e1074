"""Archives, tar and tar.gz, damaged within or around the tar."""

import gzip
import io
import tarfile
from functools import cache
from pathlib import Path

import numpy as np

from fuzzing.damage import damaged
from fuzzing.tables import CSV, read_tree

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
SUFFIXES = (".tar", ".tar.gz")


def mutate(rng: np.random.Generator) -> tuple[str, bytes]:
    """A damaged archive, plain or packed."""
    data = _tar(FORMATS[rng.integers(len(FORMATS))])
    if rng.random() < 0.5:
        return ".tar", _damaged_tar(data, rng)
    if rng.random() < 0.5:
        return ".tar.gz", gzip.compress(_damaged_tar(data, rng), 1, mtime=0)
    return ".tar.gz", damaged(gzip.compress(data, 1, mtime=0), rng)


def read(path: Path) -> None:
    """Read all of it, with what may be kept beside it."""
    read_tree(path, path.parent / "work")


def _damaged_tar(data: bytes, rng: np.random.Generator) -> bytes:
    changed = damaged(data, rng)
    return _mend_checksums(changed) if rng.random() < 0.7 else changed


@cache
def _tar(form: int) -> bytes:
    rng = np.random.default_rng(0)
    names = [
        "train/n000001/0001_01.jpg",
        "test/n000002/0001_01.jpg",
        f"test/n000002/{'x' * 90}.jpg",
    ]
    files = {name: rng.bytes(300) for name in names} | {"bb_landmark/loose_bb_train.csv": CSV}
    if form != tarfile.USTAR_FORMAT:
        files[f"train/n000001/{'y' * 200}.jpg"] = rng.bytes(10)
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return target.getvalue()


def _mend_checksums(data: bytes) -> bytes:
    """Give each block that may be a header its right checksum,
    so that its other fields are looked at.
    """
    mended = bytearray(data)
    for at in range(0, len(data) - 511, 512):
        if data[at + 257 : at + 262] == b"ustar":
            block = data[at : at + 148] + b" " * 8 + data[at + 156 : at + 512]
            mended[at + 148 : at + 156] = f"{sum(block):06o}\0 ".encode()
    return bytes(mended)
