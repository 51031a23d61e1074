"""Fuzz the readers of archives and of metadata: whatever the damage, a set is read or a RefsrError says why not.

    python tests/fuzz.py --examples 20000 --seed 1

Any other exception ends the run; the bytes that caused it stay in the folder it names. Each example is a valid file
with some bytes changed, taken out, doubled or put in, above all those that readers hang their decisions on.
"""

import argparse
import gzip
import io
import json
import shutil
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from refsr.data.sources import open_source
from refsr.data.vggface2 import Tree, is_wanted
from refsr.errors import RefsrError

HUGE, NEGATIVE = b"\x80" + b"\x7f" * 11, b"\xff" * 12  # as sizes in base 256
SPLICES = [b"\0", b"\xff", b"\n", b",", b'"', b"../", b"/", b"-1", b"9" * 12, HUGE, NEGATIVE]
CSV = b'NAME_ID,X,Y,W,H\n"n000001/0001_01",60,60,79,109\n"n000002/0001_01",-3.5,0,1e2,9,\n"n000002/0002_01",1,1,9,9\n'
META = b'Class_ID, Name, Sample_Num, Flag, Gender\nn000001, "A,_B",424,0, m,\nn000002, "C",1,1, f\n'


def fuzz_tar(examples: int, seed: int, folder: Path) -> dict[str, int]:
    """Outcomes of reading damaged tars and tar.gzs, each gzip damaged within or around its tar."""
    rng = np.random.default_rng(seed)
    originals = [_tar(form) for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)]
    outcomes = {"read": 0, "refused": 0}
    for number in range(examples):
        data = originals[number % len(originals)]
        packed = rng.random() < 0.5
        if not packed or rng.random() < 0.5:
            data = _mend_checksums(_damaged(data, rng)) if rng.random() < 0.7 else _damaged(data, rng)
            data = gzip.compress(data, 1) if packed else data
        else:
            data = _damaged(gzip.compress(data, 1), rng)
        path = folder / ("raw.tar.gz" if packed else "raw.tar")
        path.write_bytes(data)
        outcomes[_outcome(path, folder / f"work-{number}")] += 1
    return outcomes


def fuzz_csv(examples: int, seed: int, folder: Path) -> dict[str, int]:
    """Outcomes of reading damaged boxes and identity_meta.csv files."""
    rng = np.random.default_rng(seed)
    (folder / "n000001").mkdir(exist_ok=True)
    (folder / "n000001" / "0001_01.jpg").write_bytes(b"")
    outcomes = {"read": 0, "refused": 0}
    for _ in range(examples):
        for name, data in (("loose_bb_train.csv", CSV), ("identity_meta.csv", META)):
            (folder / name).write_bytes(_damaged(data, rng) if rng.random() < 0.7 else data)
        outcomes[_outcome(folder, None)] += 1
    return outcomes


def _outcome(path: Path, work: Path | None) -> str:
    try:
        tree = Tree(open_source(path, work, is_wanted))
        for row in tree.images["file"]:
            tree.source.read(row)
        tree.boxes()
        tree.landmarks()
    except RefsrError:
        return "refused"
    return "read"


def _tar(form: int) -> bytes:
    rng = np.random.default_rng(0)
    names = ["train/n000001/0001_01.jpg", "test/n000002/0001_01.jpg", f"test/n000002/{'x' * 90}.jpg"]
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


def _damaged(data: bytes, rng: np.random.Generator) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(0, len(damaged)))
        if rng.random() < 0.5 and len(damaged) > 2048:  # a header, where the decisions are
            at = at // 512 * 512 + int(rng.choice([0, 100, 124, 148, 156, 157, 257, 345, 482]))
        splice = SPLICES[rng.integers(len(SPLICES))] if rng.random() < 0.6 else rng.bytes(int(rng.integers(1, 9)))
        match rng.integers(5):
            case 0 | 1:
                damaged[at : at + len(splice)] = splice
            case 2:
                damaged[at:at] = splice
            case 3:
                del damaged[at : at + int(rng.integers(1, 600))]
            case 4:
                damaged[at:at] = damaged[at : at + 512]
        damaged = damaged or bytearray(b"\0")
    return bytes(damaged)


def _mend_checksums(data: bytes) -> bytes:
    """Give each block that may be a header its right checksum, so that its other fields are looked at."""
    mended = bytearray(data)
    for at in range(0, len(data) - 511, 512):
        if data[at + 257 : at + 262] == b"ustar":
            block = data[at : at + 148] + b" " * 8 + data[at + 156 : at + 512]
            mended[at + 148 : at + 156] = f"{sum(block):06o}\0 ".encode()
    return bytes(mended)


def main() -> None:
    """Fuzz both readers and print the outcomes as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="refsr-fuzz-"))
    outcomes = {}
    for name, fuzz in (("tar", fuzz_tar), ("csv", fuzz_csv)):
        (folder / name).mkdir()
        print(f"fuzzing {name} in {folder / name}", flush=True)
        outcomes[name] = fuzz(options.examples, options.seed, folder / name)
    shutil.rmtree(folder)
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()
