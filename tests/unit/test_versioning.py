"""Hashes DVC keeps, git's revision, and data fetched by it:
real files, a real repository, a real S3 remote.
"""

import gc
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from refsr import steps
from refsr.errors import RefsrError
from refsr.integrations.mlflow_store import open_store
from refsr.integrations.versioning import data_hash, git_revision
from refsr.io.files import file_hash
from refsr.params import parse_section
from tools.local_services import s3_server

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


def test_the_lock_tells_the_hash_of_an_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dvc.lock").write_text(LOCK)
    monkeypatch.chdir(tmp_path)
    assert data_hash(Path("data/curated")) == "2222.dir"
    assert data_hash(tmp_path / "data" / "curated") == "2222.dir"
    assert data_hash(Path("data/raw")) is None


def test_a_dvc_file_tells_the_hash_of_what_it_tracks(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text(LOCK)
    (tmp_path / "raw.dvc").write_text("outs:\n- md5: 3333.dir\n  path: raw\n")
    assert data_hash(tmp_path / "raw") == "3333.dir"


@pytest.mark.parametrize(
    "text", ["", "[]", "stages: 3", "a: b: c", "stages:\n  x:\n    outs: null"]
)
def test_a_lock_that_cannot_be_read_tells_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "dvc.lock").write_text(text)
    assert data_hash(tmp_path / "raw") is None


def test_the_hash_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_text("abc")
    assert (
        file_hash(tmp_path / "abc")
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_the_revision_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        command = [
            "git",
            "-C",
            str(tmp_path),
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            *arguments,
        ]
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


class Shared:
    """A git repository with a raw set that DVC tracks, pushed to S3;
    its own copy of the data is gone.
    """

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.folder, self.endpoint = folder, endpoint
        (folder / "data/raw/train").mkdir(parents=True)
        (folder / "data/raw/train/a.txt").write_text("one")
        self.run("git", "init", "--quiet")
        (folder / ".dvc").mkdir()
        (folder / ".dvc/.gitignore").write_text("/cache\n/tmp\n")
        remote = "[core]\nremote = shared\n['remote \"shared\"']\nurl = s3://faces/dvc\n"
        remote += f"endpointurl = {endpoint}\n"
        (folder / ".dvc/config").write_text(remote)
        self.commit("first")
        (folder / "data/raw/b.txt").write_text("two")
        self.second = self.commit("second")
        self.run("dvc", "push", "--quiet", "--all-tags")
        for copy in (".dvc/cache", "data/raw"):
            self.run("rm", "-r", copy)

    def run(self, program: str, *arguments: str) -> str:
        command = [sys.executable, "-m", "dvc"] if program == "dvc" else [program]
        if program == "git":
            command += ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(
            [*command, *arguments], cwd=self.folder, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def commit(self, tag: str) -> str:
        self.run("dvc", "add", "--quiet", "data/raw")
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", tag)
        self.run("git", "tag", tag)
        return self.run("git", "rev-parse", "HEAD")

    def fetch(self, tracking_uri: str, raw: Path, **changes: str) -> dict[str, float]:
        """The step, from a clone: as a pod sees the repository."""
        section = {
            "repository": f"file://{self.folder}",
            "path": "data/raw",
            "revision": "second",
        } | changes
        try:
            return steps.run(
                "fetch", parse_section("fetch", section), tracking_uri=tracking_uri, raw=raw
            )
        finally:
            with warnings.catch_warnings(
                action="ignore"
            ):  # the git library of DVC leaves its packs open
                gc.collect()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    with (
        pytest.MonkeyPatch.context() as patch,
        s3_server(tmp_path_factory.mktemp("s3"), "faces") as store,
    ):
        for key, value in store.environment.items():
            patch.setenv(key, value)
        yield Shared(tmp_path_factory.mktemp("shared") / "repository", store.endpoint)


def test_a_revision_brings_its_own_bytes_and_is_recorded(
    shared: Shared, tracking_uri: str, tmp_path: Path
) -> None:
    raw = tmp_path / "raw"
    assert shared.fetch(tracking_uri, raw) == {"files": 2.0, "bytes": 6.0}
    assert (raw / "train/a.txt").read_text() == "one"
    assert shared.fetch(tracking_uri, raw, revision="first") == {"files": 1.0, "bytes": 3.0}
    assert not (raw / "b.txt").exists()
    client = open_store(tracking_uri).MlflowClient()
    (experiment,) = client.search_experiments(filter_string="name = 'refsr'")
    _, second = client.search_runs([experiment.experiment_id])  # newest first
    assert second.data.tags["data.commit"] == shared.second
    hashed = shared.run("git", "show", "second:data/raw.dvc")
    assert f"md5: {second.data.tags['data.raw']}" in hashed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"revision": "third"}, "at third: .*unknown Git revision 'third'"),
        ({"path": "data/none"}, "data/none of .*DVC tracks nothing there"),
        ({"path": ".dvc/config"}, "DVC tracks nothing there"),
        ({"repository": "/nowhere"}, "No git repository was found at /nowhere"),
        ({"remote": "other"}, "remote 'other' doesn't exist"),
        ({"endpoint": "http://127.0.0.1:9"}, "check .* the credentials"),
    ],
)
def test_data_that_cannot_be_read_is_one_message(
    changes: dict[str, str], message: str, shared: Shared, tracking_uri: str, tmp_path: Path
) -> None:
    """With S3 down (the last case) as with a wrong name, nothing is left that looks fetched."""
    with pytest.raises(RefsrError, match=message):
        shared.fetch(tracking_uri, tmp_path / "raw", **changes)
    assert not (tmp_path / "raw").exists()


def test_wrong_credentials_are_refused(
    shared: Shared, tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(RefsrError, match=r"check .* the credentials"):
        shared.fetch(tracking_uri, tmp_path / "raw")


def test_a_password_in_the_repository_is_refused() -> None:
    with pytest.raises(RefsrError, match=r"fetch\.repository: .*keep it in a Secret") as caught:
        parse_section(
            "fetch",
            {"repository": "https://me:hunter2@git.example/r", "path": "a", "revision": "b"},
        )
    assert "hunter2" not in str(caught.value)
