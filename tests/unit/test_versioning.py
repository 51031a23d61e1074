"""Hashes DVC keeps, and git's revision, from real files and a real repository."""

import subprocess
from pathlib import Path

import pytest

from refsr.services.versioning import data_hash, file_hash, git_revision

LOCK = """
schema: '2.0'
stages:
  curate:
    cmd: python -m refsr curate
    deps:
    - path: data/raw
      hash: md5
      md5: 1111.dir
    outs:
    - path: data/curated
      hash: md5
      md5: 2222.dir
"""


def test_the_lock_tells_the_hash_of_an_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dvc.lock").write_text(LOCK)
    monkeypatch.chdir(tmp_path)
    assert data_hash(Path("data/curated")) == "2222.dir"
    assert data_hash(tmp_path / "data" / "curated") == "2222.dir"
    assert data_hash(Path("data/raw")) is None


def test_a_dvc_file_tells_the_hash_of_what_it_tracks(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text(LOCK)
    (tmp_path / "raw.dvc").write_text("outs:\n- md5: 3333.dir\n  path: raw\n")
    assert data_hash(tmp_path / "raw") == "3333.dir"


@pytest.mark.parametrize("text", ["", "[]", "stages: 3", "a: b: c", "stages:\n  x:\n    outs: null"])
def test_a_lock_that_cannot_be_read_tells_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "dvc.lock").write_text(text)
    assert data_hash(tmp_path / "raw") is None


def test_the_hash_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_text("abc")
    assert file_hash(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_revision_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert git_revision(tmp_path) == (None, False)
    git("init")
    assert git_revision(tmp_path) == (None, False)
    (tmp_path / "code.py").write_text("1")
    git("add", ".")
    git("commit", "-m", "first")
    assert git_revision(tmp_path) == (git("rev-parse", "HEAD"), False)
    (tmp_path / "code.py").write_text("2")
    assert git_revision(tmp_path) == (git("rev-parse", "HEAD"), True)


def test_without_git_there_is_no_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_revision() == (None, False)
