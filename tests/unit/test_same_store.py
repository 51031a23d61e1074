"""Two spellings of one store are recognised; two stores are never taken for one."""

import os
from pathlib import Path

import pytest

from refsr.config import Register
from refsr.errors import RefsrError
from refsr.integrations.same_store import is_same_store
from refsr.steps.transfer import transfer

SAME_FILE = (
    "sqlite:///store/mlflow.db",
    "sqlite:///./store/mlflow.db",
    "sqlite:///store//../store/mlflow.db",
    "sqlite+pysqlite:///store/mlflow.db",
    "sqlite:///{here}/store/mlflow.db",
    "sqlite:///{here}//store/mlflow.db?timeout=5",
    "sqlite:///file:store/mlflow.db?mode=ro&uri=true",
    "sqlite:///file:{here}/store/mlflow.db?mode=ro&uri=true",
    "sqlite:///linked/mlflow.db",
    "sqlite:///link.db",
    "sqlite:///hard.db",
    "SQLITE:///store/mlflow.db",
)
SAME_FOLDER = (
    "mlruns",
    "./mlruns",
    "mlruns/",
    "{here}/mlruns",
    "file:mlruns",
    "file:{here}/mlruns/",
)
SAME_FOLDER += (
    "file://{here}/mlruns",
    "file://{here}/store/../mlruns",
    "runs",
    "file:runs",
    "FILE:mlruns",
)
SAME_SERVER = (
    "http://h.example",
    "http://h.example/",
    "http://H.Example:80",
    "HTTP://h.example:80//",
)
SAME_SERVER += (
    "http://someone:word@h.example",
    "http://h.example.",
    "http://h.example/?x=1",
    " http://h.example",
)
SAME_PATH = ("https://h/mlflow", "https://h:443/mlflow/", "https://H//mlflow")
SAME_LOCAL = (
    "http://localhost:5000",
    "http://127.0.0.1:5000/",
    "http://[::1]:5000",
    "http://LOCALHOST:5000",
)
SAME_DATABASE = (
    "postgresql://a:word@h/mlflow",
    "postgresql+psycopg://b:word@H:5432/mlflow",
    "postgresql+psycopg2://h/mlflow?sslmode=require",
    "postgres://h/mlflow",
)
GROUPS = (
    SAME_FILE,
    SAME_FOLDER,
    SAME_SERVER,
    SAME_PATH,
    SAME_LOCAL,
    SAME_DATABASE,
    ("sqlite:///other.db",),
    ("sqlite:///mlflow.db",),
    ("sqlite:///mlruns.db",),
    ("http://h.example:5000",),
    ("https://h.example",),
    ("http://h.example/mlflow",),
    ("postgresql://h/other",),
    ("postgresql://h:5433/mlflow",),
    ("mysql://h/mlflow",),
    ("postgresql:///mlflow?host=/run/one",),
    ("postgresql:///mlflow?host=/run/two",),
    ("sqlite:///file:missing.db?uri=true", "sqlite:///missing.db"),
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("store", "mlruns"):
        (tmp_path / name).mkdir()
    (tmp_path / "store/mlflow.db").touch()
    (tmp_path / "mlflow.db").touch()
    (tmp_path / "linked").symlink_to("store")
    (tmp_path / "link.db").symlink_to("linked/mlflow.db")
    (tmp_path / "runs").symlink_to("mlruns")
    os.link(tmp_path / "store/mlflow.db", tmp_path / "hard.db")
    return tmp_path


def test_spellings_of_one_store_are_one_and_others_are_not(here: Path) -> None:
    spelt = [
        (number, uri.replace("{here}", str(here)))
        for number, group in enumerate(GROUPS)
        for uri in group
    ]
    for group, one in spelt:
        for other_group, other in spelt:
            assert is_same_store(one, other) == (group == other_group), (one, other)


def test_a_transfer_to_the_same_store_is_refused_before_it_is_opened(here: Path) -> None:
    for group in (SAME_FILE, SAME_SERVER, SAME_DATABASE):
        for uri in group[1:]:
            with pytest.raises(RefsrError, match="the same store as --from; name another"):
                transfer(group[0], uri.replace("{here}", str(here)), Register(), "champion")
    assert (here / "store/mlflow.db").stat().st_size == 0
