"""Hostile members of archives are rejects; an archive that is cut or damaged is refused by name."""

import gzip
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_trees import make_raw, person, put
from tar_files import bytes_of, member, pack

from refsr.dataset.schema import REASONS
from refsr.errors import RefsrError
from refsr.io import tar
from refsr.io.sources import open_source
from refsr.layouts.registry import needed
from refsr.layouts.tree import Tree

HOSTILE = [
    ("unsafe_name", member(f"../{person(1)}/1.jpg", b"x")),
    ("unsafe_name", member(f"train/../../{person(1)}/2.jpg", b"x")),
    ("unsafe_name", member(f"/train/{person(1)}/3.jpg", b"x")),
    ("unsafe_name", member(f"train/{person(1)}/4\n.jpg", b"x")),
    ("unsafe_name", member(f"train/{person(1)}/5\udcff.jpg", b"x")),
    ("no_plain_file", member(f"train/{person(1)}/6.jpg", kind=tarfile.SYMTYPE, link="/etc/passwd")),
    (
        "no_plain_file",
        member(f"train/{person(1)}/7.jpg", kind=tarfile.LNKTYPE, link="../../secret"),
    ),
    ("no_plain_file", member(f"train/{person(1)}/8.jpg", kind=tarfile.CHRTYPE)),
    ("no_plain_file", member(f"train/{person(1)}/9.jpg", kind=tarfile.FIFOTYPE)),
    ("duplicate_name", member(f"train/{person(1)}/0.jpg", b"second")),
]


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_hostile_members_are_refused_each_with_its_reason(tmp_path: Path, suffix: str) -> None:
    members = [member(f"train/{person(1)}/0.jpg", b"first"), *(hostile for _, hostile in HOSTILE)]
    path = pack(tmp_path / f"raw{suffix}", [*members, member(f"train/{person(2)}/0.jpg", b"last")])
    tree = Tree(open_source(path, tmp_path / "work", needed("vggface2")))
    assert bytes_of(tree) == {
        f"train/{person(1)}/0.jpg": b"first",
        f"train/{person(2)}/0.jpg": b"last",
    }
    assert sorted(tree.refused["reason"]) == sorted(reason for reason, _ in HOSTILE)
    assert set(tree.refused["reason"]) <= set(REASONS)
    assert {path.name for path in tmp_path.iterdir()} == {path.name, "work"}  # nothing was unpacked


def test_an_absurdly_large_image_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refsr.layouts.tree.MAX_FILE", 10)
    put(tmp_path, "train", 1, "0001_01", b"x" * 11)
    put(tmp_path, "train", 1, "0002_01", b"x" * 10)
    tree = Tree(tmp_path)
    assert tree.with_names(tree.images)["source"].tolist() == [f"train/{person(1)}/0002_01.jpg"]
    assert tree.refused[["identity", "reason", "value"]].to_numpy().tolist() == [
        [person(1), "oversized_file", 11]
    ]


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("archives")
    rng = np.random.default_rng(0)
    members = [member(f"train/{person(n)}/1.jpg", rng.bytes(700)) for n in range(1, 5)]
    return {
        suffix: pack(folder / f"raw{suffix}", members).read_bytes()
        for suffix in (".tar", ".tar.gz")
    }


@settings(deadline=None, max_examples=40)
@given(data=st.data(), suffix=st.sampled_from((".tar", ".tar.gz")))
def test_a_cut_archive_is_named_with_the_byte(
    tmp_path_factory: pytest.TempPathFactory,
    archives: dict[str, bytes],
    data: st.DataObject,
    suffix: str,
) -> None:
    whole = archives[suffix]
    end = (
        4 * (512 + 1024) if suffix == ".tar" else len(whole) - 1
    )  # what follows in a tar is its end mark
    cut = data.draw(st.integers(0, end))
    path = tmp_path_factory.mktemp("cut") / f"raw{suffix}"
    path.write_bytes(whole[:cut])
    with pytest.raises(RefsrError, match=r"raw\.tar.*: cut .*byte \d+.*download the archive again"):
        open_source(path, path.parent / "work", needed("vggface2"))


def test_a_wrong_checksum_is_refused(tmp_path: Path, archives: dict[str, bytes]) -> None:
    damaged = bytearray(archives[".tar.gz"])
    damaged[-8] ^= 1  # of the CRC-32
    (tmp_path / "raw.tar.gz").write_bytes(damaged)
    with pytest.raises(RefsrError, match=r"damaged near byte \d+: .*download the archive again"):
        open_source(tmp_path / "raw.tar.gz", tmp_path / "work", needed("vggface2"))


def test_a_gzip_bomb_is_not_read_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar, "_ROOM", 2**20)
    info = tarfile.TarInfo("zeros")
    info.size = 2**26
    with gzip.open(tmp_path / "raw.tar.gz", "wb") as file:
        file.write(info.tobuf() + bytes(info.size + 1024))
    with pytest.raises(RefsrError, match="expands more than"):
        open_source(tmp_path / "raw.tar.gz", tmp_path / "work", needed("vggface2"))


def test_a_size_no_archive_could_hold_is_a_cut_archive(tmp_path: Path) -> None:
    info = tarfile.TarInfo(f"train/{person(1)}/1.jpg")
    info.size = 2**60
    (tmp_path / "raw.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    with pytest.raises(RefsrError, match="cut at byte"):
        open_source(tmp_path / "raw.tar")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"\0" * 100_000, r":1: a line of 65536 bytes and more"),
        (b"NAME_ID" + b",X" * 1_000_000, r":1: a line of 65536 bytes and more"),
        (b'NAME_ID,X,Y,W,H\n"n000001/1",\0,1,1,1\n', r":2: .*mend the line"),
        (b"\r" * 70_000, ":1: a line of"),
    ],
)
def test_an_absurd_csv_is_named_by_line(tmp_path: Path, content: bytes, fault: str) -> None:
    make_raw(tmp_path, 1, 1, 1)
    (tmp_path / "bb_landmark" / "loose_bb_train.csv").write_bytes(content)
    with pytest.raises(RefsrError, match=rf"loose_bb_train\.csv{fault}"):
        Tree(tmp_path).metadata.boxes()
