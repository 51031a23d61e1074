"""What a killed curation goes on from, and the outputs that a marker vouches for:
any file of them is damaged.
"""

import io
import json
import shutil
import tarfile
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from file_damage import contents
from helpers import make_curated

from fuzzing.damage import damaged
from refsr.curation.extraction import IdentityFeatures, crops_file
from refsr.curation.feature_store import Store
from refsr.curation.selection import RANKED
from refsr.io import archive as io_archive
from refsr.io import marker
from refsr.io.own_files import checksum

PEOPLE, EACH = ("n000001", "n000002"), 3
SLASH = "@"  # in the name of an example


def mutate_work(rng: np.random.Generator) -> tuple[str, bytes]:
    """A file of the work folder of a curation."""
    return _one(_work(), rng)


def read_work(path: Path) -> None:
    """As a run that goes on and as `merge` do: what is used must be as it was."""
    folder = _placed(_work(), path)
    archive = folder / "a.tar.gz"
    store = Store(folder / "measured")
    kept = [person for person in PEOPLE if person in store]
    if kept:
        store.gather(kept)
    if (
        _differs(path.read_bytes(), _work()[_name(path)])
        and len(kept) == len(PEOPLE)
        and "measured" in path.name
    ):
        raise AssertionError("damaged measurements are used")
    if path.name != "a.tar.gz":
        io_archive.require_whole(str(archive), folder / "spool")
        io_archive.fill(str(archive), folder / "spool", lambda name, size: True)
        io_archive.read_index(folder / "spool")


def _differs(data: bytes, original: bytes) -> bool:
    """Whether a damaged file says something else; white space in a JSON document says nothing."""
    try:
        return bool(json.loads(data) != json.loads(original))
    except ValueError:
        return data != original


def mutate_output(rng: np.random.Generator) -> tuple[str, bytes]:
    """A file of a curated set with its marker."""
    return _one(_output(), rng)


def read_output(path: Path) -> None:
    """The input check of a later stage: nothing but what was written passes."""
    folder = _placed(_output(), path)
    marker.require_whole(folder)
    if path.name != marker.MARKER and path.read_bytes() != _output()[_name(path)]:
        raise AssertionError("a damaged file passes")


def _one(files: dict[str, bytes], rng: np.random.Generator) -> tuple[str, bytes]:
    name = sorted(files)[rng.integers(len(files))]
    return f"/{name.replace('/', SLASH)}", damaged(files[name], rng)


def _name(path: Path) -> str:
    return path.name.replace(SLASH, "/")


def _placed(files: dict[str, bytes], path: Path) -> Path:
    """The folder of these files, one of them in the damaged form."""
    folder = path.parent / "whole"
    for name, data in (files | {_name(path): path.read_bytes()}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@cache
def _work() -> dict[str, bytes]:
    folder = Path(tempfile.mkdtemp())
    with tarfile.open(folder / "a.tar.gz", "w:gz") as archive:
        for name in ("n000001/0.jpg", "n000002/0.jpg"):
            member = tarfile.TarInfo(name)
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
    io_archive.fill(str(folder / "a.tar.gz"), folder / "spool", lambda name, size: True)
    store = Store(folder / "measured")
    for number, person in enumerate(PEOPLE):
        store.add(_measured(folder / "measured", person, number))
    store.flush()
    return _taken(folder)


def _measured(folder: Path, person: str, number: int) -> IdentityFeatures:
    rng = np.random.default_rng(number)
    texts = {"reason": "", "detail": "", "identity": person, "sha256": "0"}
    columns = {name: np.full(EACH, text, object) for name, text in texts.items()}
    columns |= {"source": np.array([f"{person}/{row}.jpg" for row in range(EACH)], object)}
    columns |= {name: rng.random(EACH) for name in RANKED if name != "lot"} | {
        "value": rng.random(EACH)
    }
    columns |= {"lot": np.arange(EACH, dtype=np.uint64), "dhash": np.arange(EACH, dtype=np.uint64)}
    columns["crop"] = np.arange(EACH)
    file = crops_file(folder, person)
    file.write_bytes(rng.bytes(300))
    thumbs = rng.integers(0, 256, (EACH, 32, 32), np.uint8)
    return IdentityFeatures(
        columns, thumbs, rng.random((EACH, 8)).astype(np.float32), checksum(file)
    )


@cache
def _output() -> dict[str, bytes]:
    folder = Path(tempfile.mkdtemp())
    make_curated(folder, identities=2)
    marker.write(folder, "curate")
    return _taken(folder)


def _taken(folder: Path) -> dict[str, bytes]:
    """All files of a folder by name; the folder is deleted."""
    files = {name: data for name, data in contents(folder).items() if data is not None}
    shutil.rmtree(folder)
    return files
