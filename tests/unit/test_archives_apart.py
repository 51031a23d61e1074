"""Archives of one name in several folders of a raw set, or of one name but for their suffix,
are kept apart.
"""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from refsr.io import archive as io_archive
from refsr.io.marker import MARKER
from refsr.io.sources import Source, open_source


def make_tar(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def bytes_of(source: Source) -> dict[str, bytes]:
    return {name: source.read(row) for row, name in enumerate(source.files["name"])}


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz"])
@pytest.mark.parametrize("folders", [("train", "test"), ("a/b", "a/c"), (".", "deep/er")])
def test_archives_of_one_name_in_two_folders_give_their_own_bytes(
    tmp_path: Path, suffix: str, folders: tuple[str, str]
) -> None:
    expected = {}
    for folder in folders:
        make_tar(
            tmp_path / "raw" / folder / f"images{suffix}", {"n000001/0.jpg": folder.encode() * 9}
        )
        prefix = "" if folder == "." else f"{folder}/"
        expected[f"{prefix}images/n000001/0.jpg"] = folder.encode() * 9
    for _ in range(2):  # once read, once found
        assert bytes_of(open_source(tmp_path / "raw", tmp_path / "work")) == expected


def test_what_was_not_kept_is_read_again_from_the_archive_it_is_in(tmp_path: Path) -> None:
    for folder in ("train", "test"):
        make_tar(tmp_path / "raw" / folder / "images.tar.gz", {"n000001/0.jpg": folder.encode()})
    source = open_source(tmp_path / "raw", tmp_path / "work", lambda name, size: False)
    source.keep(np.arange(len(source.files)), tmp_path / "work")
    assert bytes_of(source) == {
        f"{folder}/images/n000001/0.jpg": folder.encode() for folder in ("train", "test")
    }


def test_a_tar_beside_a_tar_gz_of_its_name(tmp_path: Path) -> None:
    """Both unpack to one folder: all of both is there,
    and of a name that both hold the first counts.
    """
    make_tar(tmp_path / "raw/x.tar", {"n000001/0.jpg": b"plain", "n000001/both.jpg": b"first"})
    make_tar(tmp_path / "raw/x.tar.gz", {"n000001/1.jpg": b"packed", "n000001/both.jpg": b"second"})
    make_tar(tmp_path / "raw/x.tgz", {"n000001/2.jpg": b"packed too"})
    for kept in (True, False):
        work = tmp_path / f"work-{kept}"
        source = open_source(tmp_path / "raw", work, lambda name, size, kept=kept: kept)
        source.keep(np.arange(len(source.files)), work)
        names = {"0": b"plain", "both": b"first", "1": b"packed", "2": b"packed too"}
        assert bytes_of(source) == {f"x/n000001/{name}.jpg": data for name, data in names.items()}
        assert source.refused[["name", "reason"]].to_numpy().tolist() == [
            ["x/n000001/both.jpg", "duplicate_name"]
        ]


def test_an_archive_that_changed_is_read_anew(tmp_path: Path) -> None:
    raw, work = tmp_path / "raw", tmp_path / "work"
    for content in (b"before", b"after!"):
        make_tar(raw / "train/images.tar.gz", {"n000001/0.jpg": content})
        make_tar(raw / "test/images.tar.gz", {"n000001/0.jpg": b"the same"})
        assert bytes_of(open_source(raw, work))["train/images/n000001/0.jpg"] == content


def test_parts_are_joined_by_the_place_in_the_set(tmp_path: Path) -> None:
    for folder in ("train", "test"):
        make_tar(tmp_path / "raw" / folder / "images.tar.gz", {"n000001/0.jpg": folder.encode()})
    open_source(tmp_path / "raw", tmp_path / "part")
    (tmp_path / "raw").rename(tmp_path / "elsewhere")
    source = open_source(tmp_path / "elsewhere", tmp_path / "work", known=[tmp_path / "part"])
    assert bytes_of(source) == {
        f"{folder}/images/n000001/0.jpg": folder.encode() for folder in ("train", "test")
    }
    assert not (tmp_path / "work").exists()  # all of it was known


def test_folders_of_archives_by_uri() -> None:
    places = [
        "s3://bucket/raw/train/images.tar.gz",
        "s3://bucket/raw/test/images.tar.gz",
        "s3://bucket/raw/images.tar.gz",
    ]
    places += [
        "s3://bucket/raw/images.tar",
        "s3://bucket/raw/images.tgz",
        "s3://bucket/raw/" + "x" * 250 + ".tar",
    ]
    names = [io_archive.folder_name("s3://bucket/raw", place) for place in places]
    assert len(set(names)) == len(places)
    assert max(map(len, names)) < 100
    assert names[0] == io_archive.folder_name(
        "/data/raw", "/data/raw/train/images.tar.gz"
    )  # a copy of the set


@pytest.mark.parametrize("suffix", ["", ".tar", ".tar.gz"])
def test_the_marker_of_an_output_is_no_file_of_a_raw_set(tmp_path: Path, suffix: str) -> None:
    files = {MARKER: b"{}", "n000001/0.jpg": b"image", f"deep/{MARKER}": b"{}"}
    raw = tmp_path / f"raw{suffix}"
    if suffix:
        make_tar(raw, files)
    else:
        for name, data in files.items():
            (raw / name).parent.mkdir(parents=True, exist_ok=True)
            (raw / name).write_bytes(data)
    assert bytes_of(open_source(raw, tmp_path / "work")) == {"n000001/0.jpg": b"image"}
