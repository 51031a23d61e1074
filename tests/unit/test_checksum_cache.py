"""An unchanged file is read once; one that changed, or may change unnoticed, again."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import make_curated

from refsr.errors import RefsrError
from refsr.io import checksum_cache, marker, own_files
from refsr.io.checksum_cache import cached


class _Reader:
    """Checksums, and the names of the files that were read for them."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.__qualname__ = "checksum"

    def __call__(self, path: Path) -> own_files.Checksum:
        self.read.append(path.name)
        return own_files.checksum(path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two files that count as settled at once."""
    monkeypatch.setattr(checksum_cache, "FRESH", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "input"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_text("before")
    return folder


def _read(folder: Path) -> list[str]:
    """The files that are read where the checksum of all is asked for; it must be right."""
    reader = _Reader()
    paths = sorted(folder.iterdir())
    with cached(reader, folder) as digest:
        assert [digest(path) for path in paths] == [own_files.checksum(path) for path in paths]
    return reader.read


def _caches(folder: Path) -> list[Path]:
    return sorted((folder.parent / "cache/refsr").iterdir())


def test_unchanged_files_are_read_once(folder: Path) -> None:
    assert _read(folder) == ["a", "b"]
    assert _read(folder) == []
    assert len(_caches(folder)) == 1


def _same_size_and_time(path: Path) -> None:
    times = path.stat()
    path.write_text("after!")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def _other_inode(path: Path) -> None:
    new = path.with_name("new")
    new.write_text("after!")
    new.rename(path)


@pytest.mark.parametrize(
    "change",
    [lambda path: path.write_text("longer than before"), _same_size_and_time, _other_inode],
    ids=["size", "content alone", "inode"],
)
def test_a_changed_file_is_read_again(folder: Path, change: Callable[[Path], object]) -> None:
    _read(folder)
    change(folder / "b")
    assert _read(folder) == ["b"]
    assert _read(folder) == []


def test_a_file_changed_a_moment_ago_is_not_remembered(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksum_cache, "FRESH", 3.0)
    assert _read(folder) == _read(folder) == ["a", "b"]


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_a_damaged_cache_is_not_used(folder: Path, content: str) -> None:
    _read(folder)
    (cache,) = _caches(folder)
    cache.write_text(content or cache.read_text().replace("6", "7"))
    assert _read(folder) == ["a", "b"]
    assert _read(folder) == []


def test_without_a_place_for_it_nothing_is_remembered(folder: Path) -> None:
    (folder.parent / "cache").write_text("no folder")
    assert _read(folder) == _read(folder) == ["a", "b"]


def test_damage_is_noticed_where_the_checksum_was_known(folder: Path) -> None:
    curated = make_curated(folder / "curated")
    marker.write(curated, "curate")
    marker.require_whole(curated)
    assert len(_caches(folder)) == 1
    pixels = curated / "hr-00000.npy"
    pixels.write_bytes(pixels.read_bytes()[:-1] + b"!")
    with pytest.raises(RefsrError, match=r"hr-00000\.npy: missing or damaged"):
        marker.require_whole(curated)
