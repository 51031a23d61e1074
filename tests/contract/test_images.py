"""The image: its packages are those of constraints.txt, hash by hash, and its programs import."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from setuptools import find_packages

from components.trainjob.spec import ENTRYPOINT
from tools import images, manifests

ROOT = Path(__file__).parents[2]
LOCKS = ["cpu.lock", "gpu.lock"]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.sub(r"\[.*", "", name)).lower()


def _pins(text: str) -> dict[str, str]:
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s\\]+)", text, re.MULTILINE)
    return {_plain(name): version.partition("+")[0] for name, version in pins}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_the_versions_of_constraints_txt(lock: str) -> None:
    pinned, constraints = (
        _pins((ROOT / "containers" / lock).read_text()),
        _pins((ROOT / "constraints.txt").read_text()),
    )
    assert {name: pinned[name] for name in pinned.keys() & constraints} == {
        name: constraints[name] for name in pinned.keys() & constraints
    }


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_every_dependency(lock: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    named = [extras[name] for name in ("kfp", "onnx", "serve", "server")]
    names = [*project["dependencies"], *(each for extra in named for each in extra)]
    names += [
        line.partition("==")[0]
        for line in (ROOT / "weights.txt").read_text().splitlines()
        if "==" in line
    ]
    pinned = _pins((ROOT / "containers" / lock).read_text())
    assert [name for name in names if _plain(name) not in pinned] == [], "make lock"


@pytest.mark.parametrize("lock", [*LOCKS, "build.lock"])
def test_every_pin_has_a_hash_and_no_address(lock: str) -> None:
    text = (ROOT / "containers" / lock).read_text()
    entries = re.split(r"^(?=[A-Za-z])", text, flags=re.MULTILINE)[1:]
    assert entries
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in text


def test_locks_stay_if_one_cannot_be_resolved(tmp_path: Path) -> None:
    """An unreachable index once left an empty cpu.lock."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "containers", tmp_path / "containers")
    for name in ("pyproject.toml", "constraints.txt", "weights.txt"):
        (tmp_path / name).touch()
    uv = tmp_path / ".venv/bin/uv"
    uv.parent.mkdir(parents=True)
    (tmp_path / ".venv/ready").touch()
    uv.write_text('#!/bin/sh\ncase "$*" in *torch-backend*) echo no index >&2; exit 2;; esac\n')
    uv.chmod(0o755)
    done = subprocess.run(["make", "lock"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode and "no index" in done.stderr
    for lock in (ROOT / "containers").glob("*.lock"):
        assert (tmp_path / "containers" / lock.name).read_bytes() == lock.read_bytes(), lock.name


def test_only_the_gpu_image_has_cuda() -> None:
    assert not [
        name
        for name in _pins((ROOT / "containers/cpu.lock").read_text())
        if name.startswith("nvidia")
    ]
    assert [
        name
        for name in _pins((ROOT / "containers/gpu.lock").read_text())
        if name.startswith("nvidia")
    ]


def test_the_overlays_use_the_built_image(tmp_path: Path) -> None:
    manifests.write_image("registry.example:5000/faces/refsr-cpu:0123", tmp_path)
    written = (tmp_path / "image/kustomization.yaml").read_text()
    assert 'newName: registry.example:5000/faces/refsr-cpu, newTag: "0123"}' in written
    manifests.write_image("registry.example/refsr-cpu:0123@sha256:abc", tmp_path)
    written = (tmp_path / "image/kustomization.yaml").read_text()
    assert 'newTag: "0123", digest: "sha256:abc"}' in written


def test_a_pushed_image_is_named_by_its_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = ["localhost/refsr-cpu@sha256:1", "registry:5000/faces/refsr-cpu@sha256:2"]
    monkeypatch.setattr(images, "_inspect", lambda image: {"RepoDigests": digests})
    pushed = "registry:5000/faces/refsr-cpu:0123"
    assert images.with_digest(pushed) == f"{pushed}@sha256:2"
    assert images.with_digest("other/refsr-cpu:0123") == "other/refsr-cpu:0123"


def test_existing_wheels_are_not_downloaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wheels of another lock are downloaded."""
    lock = "six==1.17.0 --hash=sha256:" + "0" * 64
    (tmp_path / "containers").mkdir()
    for name in ("cpu", "build"):
        (tmp_path / "containers" / f"{name}.lock").write_text("")
    monkeypatch.setattr(images, "ROOT", tmp_path)
    monkeypatch.setattr(images, "CONTAINERS", tmp_path / "containers")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    folder = tmp_path / "build/wheels/cpu"
    folder.mkdir(parents=True)
    (folder / "complete").write_text(images.lock_state("cpu"))
    assert images.fetch_wheels("cpu") == folder
    (tmp_path / "containers/cpu.lock").write_text(lock)
    with pytest.raises(images.RefsrError, match="pip could not download"):
        images.fetch_wheels("cpu")


def test_an_image_of_another_revision_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tmp_path / "engine"
    engine.write_text(
        """#!/bin/sh\n[ "$1" != image ] || echo '[{"Config": {"Env": ["REFSR_REVISION=1"]}}]'\n"""
    )
    engine.chmod(0o755)
    monkeypatch.setenv("CONTAINER_ENGINE", str(engine))
    monkeypatch.setattr(images, "fetch_wheels", lambda target: tmp_path)
    assert images.build("cpu", "1") == "localhost/refsr-cpu:1"
    with pytest.raises(images.RefsrError, match="another revision"):
        images.build("cpu", "2")


PROJECT = "/opt/project/"  # on the path of the image's Python, by project.pth


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of /opt/project: those of the distribution,
    and those the Containerfile copies.
    """
    folder = tmp_path_factory.mktemp("project")
    include = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    for name in find_packages(str(ROOT), include=include["find"]["include"]):
        if "." not in name:
            shutil.copytree(ROOT / name, folder / name)
    text = (ROOT / "containers/Containerfile").read_text()
    for source, name in re.findall(rf"^COPY (\S+) {PROJECT}(\S+)$", text, re.MULTILINE):
        shutil.copytree(ROOT / source, folder / name)
    return folder


def _modules() -> set[str]:
    """Modules of this repository that manifests, tasks and TrainJobs run."""
    manifests_ = "".join(path.read_text() for path in (ROOT / "k8s").rglob("*.yaml"))
    named = set(re.findall(r"-m, ((?:refsr|pipelines|components)[\w.]*)", manifests_))
    return {*named, ENTRYPOINT[-1], "components.shell", "refsr"}


def test_the_image_has_the_modules_that_pods_run(project: Path) -> None:
    """`find_spec` locates a module without its imports; nothing outside /opt/project may match."""
    modules = sorted(_modules())
    assert {"pipelines.backup", "components.trainjob.entrypoint"} <= set(modules)
    code = "import sys; from importlib.util import find_spec\n"
    code += "for name in sys.argv[1:]: print(find_spec(name).origin)"
    origins = _run_in(project, "-c", code, *modules).splitlines()
    assert len(origins) == len(modules)
    assert all(Path(origin).is_relative_to(project) for origin in origins)
    assert not (project / "tools").exists()


def test_the_back_up_runs_in_the_image(project: Path) -> None:
    assert "s3://bucket/prefix" in _run_in(project, "-m", "pipelines.backup", "put", "--help")


def _run_in(project: Path, *arguments: str) -> str:
    """Run Python as in the image: in another folder, with the project on its path."""
    environment = os.environ | {"PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-P", *arguments]
    done = subprocess.run(
        command, cwd=project.parent, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_docker_20_10_can_build() -> None:
    """It knows no variable in the source of a mount, and mounts only with BuildKit."""
    text = (ROOT / "containers/Containerfile").read_text()
    sources = re.findall(r"--mount=\S*\bsource=([^,\s]+)", text)
    assert sources
    assert not [source for source in sources if "$" in source]
