"""Fixtures that several tests share; modules beside this one, as `helpers`,
can be imported from every test.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

# Numbers are compared to the last digit, and no two runs on a GPU agree there;
# CUDA_VISIBLE_DEVICES=0 tests on one.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# A process that a test starts in a folder of its own imports the code that is tested, not what is
# installed: an editable install may be of another checkout.
_PATHS = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, _PATHS))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[None]:
    """MLflow writes the store it was pointed at into the environment,
    where commands of later tests would find it.
    """
    before = os.environ.get("MLFLOW_TRACKING_URI")
    outcome = yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if before is not None:
        os.environ["MLFLOW_TRACKING_URI"] = before
    return outcome


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Checksums of inputs are cached in the home of a user; tests leave nothing there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store with its tables and nothing in them; to make one takes seconds."""
    from refsr.integrations.mlflow_store import open_store

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    open_store(f"sqlite:///{path}")
    return path


@pytest.fixture
def tracking_uri(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh MLflow store of the test's own; the test runs in its own folder,
    where artifacts go too.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"
