"""A version moves from the store of a laptop to a server, by the words of the page,
and on to another store.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers import run_in
from registering import HR, LR, Pipeline

from refsr.config import Register
from refsr.errors import RefsrError
from refsr.integrations.mlflow_store import open_store
from refsr.integrations.registry import CHECKPOINT, Registry
from refsr.integrations.version_facts import all_versions
from refsr.steps.transfer import transfer
from tools.local_services import mlflow_server

PAGE = Path(__file__).parents[2] / "docs/how-to/cluster.md"


@pytest.fixture(scope="module")
def server(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server; what it keeps is another's than the tests' own stores."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_store, folder / "mlflow.db")
    with mlflow_server(folder / "server", f"sqlite:///{folder}/mlflow.db") as uri:
        yield uri


@pytest.fixture
def here(tracking_uri: str, tmp_path: Path) -> Pipeline:
    """A store with a champion."""
    pipeline = Pipeline(tracking_uri, tmp_path)
    pipeline.train(1)
    pipeline.register()
    return pipeline


def test_a_version_moves_by_the_words_of_the_page(
    here: Pipeline,
    server: str,
    tmp_path: Path,
) -> None:
    (words,) = re.findall(r"^python -m refsr transfer .*$", PAGE.read_text(), re.MULTILINE)
    project = (
        tmp_path / "project"
    )  # beside this test's checkpoints, whose folder is called as the package
    project.mkdir()
    (project / "params.yaml").write_text("register: {}")
    command = words.replace("http://127.0.0.1:5000", here.uri).replace(
        "http://127.0.0.1:5001",
        server,
    )
    message = f"version 1 of refsr is version 1 of refsr in {server}, and candidate there"
    assert run_in(project, *command.split()).strip().endswith(message)
    assert run_in(project, *command.split()).strip().endswith(message), (
        "what is there is copied again"
    )
    registry = Registry(server, "refsr")
    assert registry.aliases() == {"candidate": "1", "champion": "1"}
    weights = registry.fetch("1", CHECKPOINT, tmp_path / "fetched").read_bytes()
    assert weights == (here.paths["refsr"] / CHECKPOINT).read_bytes()
    (listed,) = all_versions(registry)
    assert (listed.version, listed.gate) == ("1", "passed as the first")
    assert 'refsr.load("models:/refsr/1")' in registry.entry("1").description
    assert registry.card("1").startswith("# refsr, version 1\n")
    assert listed.gain["psnr"] == pytest.approx({"mean": 2.0, "low": 1.5, "high": 2.5})
    tags = registry.tags("1")
    assert tags["transferred_from"] == f"{here.uri} models:/refsr/1"
    assert registry.metrics("1")["psnr"]["ref_right"]["mean"] == 26.0
    there = open_store(server)
    client = there.MlflowClient()
    run = client.get_run(client.get_model_version("refsr", "1").run_id)
    assert (run.info.run_name, run.info.status) == ("transfer", "FINISHED")
    assert run.data.params["register.name"] == "refsr"
    assert run.data.tags["source.stage"] == "register"
    card = Path(
        there.artifacts.download_artifacts(
            run_id=run.info.run_id,
            artifact_path="registration/model_card.md",
        )
    )
    assert f"Transferred from {here.uri} models:/refsr/1; version 1 here" in card.read_text()
    model = there.pyfunc.load_model("models:/refsr@champion")
    lr, ref = np.full((1, LR, LR, 3), 90, np.uint8), np.full((1, HR, HR, 3), 99, np.uint8)
    assert model.predict({"lr": lr, "ref": ref})["sr"].shape == (1, HR, HR, 3)


def test_a_new_file_becomes_a_store(here: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    uri = f"sqlite:///{tmp_path}/new/store.db"
    assert transfer(here.uri, uri, Register(), "champion") == ("1", "1")
    registry = Registry(uri, "refsr")
    assert registry.aliases() == {"candidate": "1", "champion": "1"}
    with pytest.raises(RefsrError, match=r"missing/store.db.*: no such folder; create it"):
        transfer(here.uri, f"sqlite:///{tmp_path}/missing/store.db", Register(), "champion")


def test_the_gate_of_the_target_is_asked(
    here: Pipeline,
    server: str,
    empty_store: Path,
    tmp_path: Path,
) -> None:
    assert transfer(here.uri, server, Register(), "champion", "judged") == ("1", "1")
    shutil.copy(empty_store, tmp_path / "other.db")
    worse = Pipeline(f"sqlite:///{tmp_path}/other.db", tmp_path)
    worse.train(2, psnr=25.9)
    worse.register()
    with pytest.raises(
        RefsrError,
        match=r"version 1 of 'refsr' is not transferred: .*\n  psnr_over_champion: ",
    ):
        transfer(worse.uri, server, Register(), "champion", "judged")
    assert Registry(server, "judged").versions() == ["1"]


def test_a_name_that_something_else_has_is_left_alone(here: Pipeline, server: str) -> None:
    client = open_store(server).MlflowClient()
    client.create_registered_model("taken")
    run = client.create_run(client.create_experiment("others"))
    client.create_model_version("taken", f"{run.info.artifact_uri}/model", run.info.run_id)
    with pytest.raises(
        RefsrError,
        match=r"'taken' .*: its version 1 is not of this project; name another with --as",
    ):
        transfer(here.uri, server, Register(), "champion", "taken")


def test_a_refused_transfer_is_explained(here: Pipeline) -> None:
    with pytest.raises(RefsrError, match="has no version '7'; there are: 1"):
        transfer(here.uri, "http://127.0.0.1:9", Register(), "7")
    with pytest.raises(RefsrError, match=r"tracking server http://127.0.0.1:9: no answer"):
        transfer(here.uri, "http://127.0.0.1:9", Register(), "champion")
    with pytest.raises(RefsrError, match="the same store as --from"):
        transfer(here.uri, here.uri, Register(), "champion")
