"""What goes into the image is what constraints.txt says, hash by hash."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tools import images, manifests

ROOT = Path(__file__).parents[2]
LOCKS = ["cpu.lock", "gpu.lock"]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.sub(r"\[.*", "", name)).lower()


def _pins(text: str) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s\\]+)", text, re.MULTILINE)
    return {_plain(name): version.partition("+")[0] for name, version in found}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_what_the_environment_has(lock: str) -> None:
    pinned, constraints = _pins((ROOT / "containers" / lock).read_text()), _pins((ROOT / "constraints.txt").read_text())
    assert {name: pinned[name] for name in pinned.keys() & constraints} == {
        name: constraints[name] for name in pinned.keys() & constraints
    }


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_all_that_is_asked_for(lock: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["kfp"], *extras["server"]]
    wanted += [line.partition("==")[0] for line in (ROOT / "weights.txt").read_text().splitlines() if "==" in line]
    pinned = _pins((ROOT / "containers" / lock).read_text())
    assert [name for name in wanted if _plain(name) not in pinned] == [], "make lock"


@pytest.mark.parametrize("lock", [*LOCKS, "build.lock"])
def test_every_pin_has_a_hash_and_no_address(lock: str) -> None:
    text = (ROOT / "containers" / lock).read_text()
    entries = re.split(r"^(?=[A-Za-z])", text, flags=re.MULTILINE)[1:]
    assert entries
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in text


def test_no_lock_is_touched_where_one_cannot_be_made(tmp_path: Path) -> None:
    """An index that is not reached once left an empty cpu.lock behind."""
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
    assert not [name for name in _pins((ROOT / "containers/cpu.lock").read_text()) if name.startswith("nvidia")]
    assert [name for name in _pins((ROOT / "containers/gpu.lock").read_text()) if name.startswith("nvidia")]


def test_the_overlays_get_the_image_that_was_built(tmp_path: Path) -> None:
    manifests.write_image("registry.example:5000/faces/refsr-cpu:0123", tmp_path)
    written = (tmp_path / "image/kustomization.yaml").read_text()
    assert 'newName: registry.example:5000/faces/refsr-cpu, newTag: "0123"' in written


def test_wheels_that_are_there_are_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor are they taken for those of another lock."""
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


def test_an_image_that_says_it_is_of_another_revision_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tmp_path / "engine"
    engine.write_text("""#!/bin/sh\n[ "$1" != image ] || echo '[{"Config": {"Env": ["REFSR_REVISION=1"]}}]'\n""")
    engine.chmod(0o755)
    monkeypatch.setenv("CONTAINER_ENGINE", str(engine))
    monkeypatch.setattr(images, "fetch_wheels", lambda target: tmp_path)
    assert images.build("cpu", "1") == "localhost/refsr-cpu:1"
    with pytest.raises(images.RefsrError, match="another revision"):
        images.build("cpu", "2")
