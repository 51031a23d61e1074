"""Folders, archives and folders of archives hold the same files."""

import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_trees import make_raw, person
from tar_files import Member, bytes_of, member, pack

from refsr.errors import RefsrError
from refsr.io import archive as io_archive
from refsr.io import sources, tar
from refsr.io.sources import open_source
from refsr.layouts.registry import needed
from refsr.layouts.tree import Tree

ROOTS = (
    ("train", "test"),
    ("vggface2/train", "vggface2/test"),
    ("vggface2_train", "vggface2_test"),
    ("", ""),
)


@settings(deadline=None, max_examples=20)
@given(
    roots=st.sampled_from(ROOTS),
    suffix=st.sampled_from((".tar", ".tar.gz", ".tgz")),
    dots=st.sampled_from(("", "./", ".//")),
    form=st.sampled_from((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)),
    folders=st.booleans(),
    long=st.sampled_from((4, 90, 180)),
    boxes=st.booleans(),
    order=st.randoms(use_true_random=False),
)
def test_an_archive_holds_what_the_folder_holds(
    tmp_path_factory: pytest.TempPathFactory,
    roots: tuple[str, str],
    suffix: str,
    dots: str,
    form: int,
    folders: bool,
    long: int,
    boxes: bool,
    order: "np.random.Generator",
) -> None:
    top = tmp_path_factory.mktemp("layout")
    long = 90 if form == tarfile.USTAR_FORMAT and long > 90 else long  # it has no room for more
    names = [
        f"{root}/{person(n)}/{'0' * long}_{n:02d}.jpg".lstrip("/")
        for n, root in enumerate(roots, 1)
    ]
    files = {name: bytes([n]) * n for n, name in enumerate(names)}
    if boxes:
        files["bb_landmark/loose_bb_train.csv"] = (
            f'NAME_ID,X,Y,W,H\n"{person(1)}/{"0" * long}_01",1,2,3,4\n'.encode()
        )
    for name, data in files.items():
        (top / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        (top / "raw" / name).write_bytes(data)
    names = list(files)
    order.shuffle(names)
    members = [member(dots + name, files[name]) for name in names]
    if folders:
        parents = sorted({str(Path(name).parent) for name in names})
        members = [member(f"{dots}{parent}/", kind=tarfile.DIRTYPE) for parent in parents] + members
    folder = Tree(top / "raw")
    packed = Tree(
        open_source(pack(top / f"raw{suffix}", members, form), top / "work", needed("vggface2"))
    )
    assert bytes_of(packed) == bytes_of(folder)
    named = [tree.with_names(tree.images).drop(columns="file") for tree in (packed, folder)]
    assert named[0].equals(named[1])
    assert packed.metadata.has_boxes == folder.metadata.has_boxes == boxes
    assert packed.metadata.boxes().equals(folder.metadata.boxes())
    assert len(packed.refused) == 0


def in_folder(folder: Path, pattern: str) -> list[Member]:
    return [
        member(str(path.relative_to(folder)), path.read_bytes()) for path in folder.glob(pattern)
    ]


def test_a_folder_may_hold_archives_beside_files(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw", train=2, test=1, views=2)
    expected = {Path(key).name: data for key, data in bytes_of(Tree(raw)).items()}
    for split in ("train", "test"):
        pack(raw / f"vggface2_{split}.tar.gz", in_folder(raw / split, "*/*"))
    pack(raw / "bb_landmark.tar", in_folder(raw, "bb_landmark/*"))
    for path in sorted(raw.rglob("*"), reverse=True):
        if path.parent != raw:
            path.unlink() if path.is_file() else path.rmdir()
    (raw / "identity_meta.csv").write_text(f"{person(1)}, a,1,1, f\n")
    tree = Tree(open_source(raw, tmp_path / "work", needed("vggface2")))
    assert {Path(key).name: data for key, data in bytes_of(tree).items()} == expected
    assert (
        tree.with_names(tree.images)["source"].iloc[0] == f"vggface2_train/{person(1)}/0001_01.jpg"
    )
    assert tree.images["root"].tolist() == ["train"] * 4 + ["test"] * 2
    assert tree.images["sex"].tolist() == ["f"] * 2 + ["?"] * 4
    assert len(tree.metadata.boxes()) == len(tree.metadata.landmarks()) == 6


def test_what_a_tar_gz_was_not_asked_to_keep_is_read_again_when_needed(tmp_path: Path) -> None:
    members = [member(f"train/{person(n)}/1.jpg", bytes([n]) * 100) for n in range(1, 5)]
    path = pack(tmp_path / "raw.tar.gz", members)
    source = open_source(path, tmp_path / "work", lambda name, size: person(1) in name)
    assert source.read(0) == b"\1" * 100
    with pytest.raises(RefsrError, match="only selected files are kept"):
        source.read(2)
    for _ in range(2):
        source.keep(np.array([0, 2]), tmp_path / "work")
        assert source.read(2) == b"\3" * 100
    with pytest.raises(RefsrError, match="only selected files"):
        source.read(3)


def test_an_archive_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(tmp_path / "raw.tar.gz", [member(f"train/{person(1)}/1.jpg", b"x")])
    first = open_source(path, tmp_path / "work", needed("vggface2")).files
    monkeypatch.setattr(tar, "walk", lambda *_: pytest.fail("read again"))
    assert open_source(path, tmp_path / "work", needed("vggface2")).files.equals(first)


def test_what_is_no_raw_set_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(RefsrError, match=r"nowhere: no such file"):
        sources.check(tmp_path / "nowhere")
    with pytest.raises(RefsrError, match=r"file.txt: neither a folder nor an archive"):
        sources.check(tmp_path / "file.txt")


def test_broken_links_and_special_files_in_a_folder_are_rejects(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw", train=1, test=1, views=2)
    folder = raw / "train" / person(1)
    (folder / "7.jpg").symlink_to(tmp_path / "gone.jpg")
    (folder / "8.jpg").symlink_to("8.jpg")
    os.mkfifo(folder / "9.jpg")
    (folder / "0003_01.jpg").symlink_to(folder / "0001_01.jpg")  # leads to a file, and is one
    source = open_source(raw)
    assert sources.fingerprint(raw)
    assert source.refused["reason"].tolist() == ["no_plain_file"] * 3
    assert source.refused["name"].tolist() == [
        f"train/{person(1)}/{number}.jpg" for number in (7, 8, 9)
    ]
    assert source.refused["detail"].str.contains("leads nowhere|neither a file nor a folder").all()
    assert f"train/{person(1)}/0003_01.jpg" in set(source.files["name"])


def test_a_kill_as_the_index_is_written_leaves_no_index_of_another_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pack(name: str) -> None:
        (tmp_path / name).write_bytes(b"x")
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            archive.add(tmp_path / name, name)

    def names() -> list[str]:
        io_archive.fill(str(tmp_path / "a.tar"), tmp_path / "work", lambda name, size: True)
        return list(pd.read_parquet(tmp_path / "work" / "index.parquet")["name"])

    def save_and_die(table: pd.DataFrame, folder: Path, *known: Any) -> None:
        save(table, folder, *known)
        raise KeyboardInterrupt

    pack("first")
    first = (tmp_path / "a.tar").read_bytes()
    assert names() == ["first"]
    pack("second")
    save = io_archive.save
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(io_archive, "save", save_and_die)
        names()
    (tmp_path / "a.tar").write_bytes(first)
    assert names() == ["first"]
