"""An MLflow server with a login: each user may do what its role says, and a refusal is one line."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from registering import Pipeline

from pipelines import users
from refsr import doctor
from refsr.__main__ import main
from refsr.errors import RefsrError
from refsr.integrations.mlflow_store import open_store
from refsr.integrations.pipeline_runs import end_pipeline
from refsr.integrations.registry import CHECKPOINT, Registry
from refsr.integrations.tracking import PARENT, experiment_id, pipeline_run
from tools.local_services import mlflow_server

ROOT = Path(__file__).parents[2]
Login = Callable[..., str]
DENIED = "403, tasks may not do this; log in as a user who may"


def password(name: str) -> str:
    return f"{name}-password-1"


def settings(folder: Path, database: str) -> dict[str, str]:
    """The login of k8s/, with the users in this database."""
    documents = yaml.safe_load_all((ROOT / "k8s/base/mlflow.yaml").read_text())
    (text,) = (each["data"]["auth.ini"] for each in documents if "auth.ini" in each.get("data", ()))
    text = re.sub("(?m)^database_uri = .*", f"database_uri = {database}", text)
    (folder / "auth.ini").write_text(text)
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_USERNAME": "admin",
        "MLFLOW_AUTH_ADMIN_PASSWORD": password("admin"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "for forms",
    }


@pytest.fixture(scope="module")
def server(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("login")
    shutil.copy(empty_store, folder / "mlflow.db")
    database = f"sqlite:///{folder}/mlflow.db"
    with mlflow_server(folder / "server", database, login=settings(folder, database)) as uri:
        yield uri


@pytest.fixture
def login(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Login:
    """Log in as a user, and let the commands use this server."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("register: {}\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)

    def log_in(name: str, secret: str = "") -> str:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", secret or password(name))
        return server

    return log_in


def secrets(folder: Path) -> Path:
    """The Secrets of the users, as k8s/base/users.yaml mounts them."""
    for role in users.ROLES:
        (folder / role).mkdir(parents=True)
        (folder / role / "username").write_text(role)
        (folder / role / "password").write_text(password(role))
    return folder


def test_users_do_what_their_roles_say(
    login: Login, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = login("admin")
    folder = secrets(tmp_path / "users")
    (folder / "serve/password").write_text("an earlier password")
    assert users.main(["apply", str(folder)]) == 0
    (folder / "serve/password").write_text(password("serve"))
    assert users.main(["apply", str(folder)]) == 0
    _tasks_log_runs(login)
    login("register")
    pipeline = Pipeline(uri, tmp_path)
    for seed in (1, 2):
        pipeline.train(seed)
        pipeline.register()
    _only_a_person_promotes(login, capsys)
    login("serve")
    assert Registry(uri, "refsr").fetch("champion", CHECKPOINT, tmp_path).is_file()
    with pytest.raises(RefsrError, match="403, serve may not do this"):
        end_pipeline(uri, "p1", "FAILED", {})
    assert not [each for each in Registry(uri, "refsr").aliases() if "lock" in each]


def _tasks_log_runs(login: Login) -> None:
    """Also those of the task `register`, which another user has."""
    uri = login("register")
    client = open_store(uri).MlflowClient()
    tags = {PARENT: pipeline_run(client, "p1")}
    child = client.create_run(experiment_id(client), tags=tags)
    login("tasks")
    assert end_pipeline(uri, "p1", "FINISHED", {"kfp.state": "SUCCEEDED"}) == "FINISHED"
    client = open_store(uri).MlflowClient()
    runs = (pipeline_run(client, "p1"), child.info.run_id)
    assert [client.get_run(run).info.status for run in runs] == ["FINISHED", "KILLED"]


def _only_a_person_promotes(login: Login, capsys: pytest.CaptureFixture[str]) -> None:
    uri = login("tasks")
    for words in (["promote"], ["approve"], ["rollback"]):
        capsys.readouterr()
        assert main(words) == 1, words
        printed = capsys.readouterr().err
        refused = DENIED if words != ["rollback"] else "there is none to go back to"
        assert refused in printed
        assert len(printed.splitlines()) == 1
    assert Registry(uri, "refsr").aliases() == {"champion": "1", "candidate": "2"}
    login("admin")
    capsys.readouterr()
    assert users.main(["add", "alice", "--role", "promote"]) == 0
    alice = re.search(r"alice: role promote, password (\S+)", capsys.readouterr().out)
    assert alice
    login("alice", alice[1])
    assert main(["approve"]) == 0
    login("promote")
    assert main(["promote", "--approved"]) == 0
    printed = capsys.readouterr().out
    assert "version 2 of refsr is approved by alice" in printed
    assert "version 2 of refsr is champion, approved by alice at 20" in printed
    assert Registry(uri, "refsr").champion() == "2"


@pytest.mark.parametrize(
    ("name", "message"),
    [("", "401, it asks for a login"), ("admin", "401, the login of admin is refused")],
)
def test_the_doctor_reports_a_login_that_is_refused(
    name: str, message: str, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = login(name, "wrong password")
    if not name:
        monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    finding = doctor.tracking(uri)
    assert finding.state == "fail"
    assert message in finding.message
    assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in finding.todo
    assert "wrong password" not in finding.message


def test_users_of_a_server_without_a_login_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    assert users.main(["apply", str(secrets(tmp_path / "users"))]) == 1
    assert "set it to http://HOST:PORT of a server" in capsys.readouterr().err
    (tmp_path / "users/tasks/password").write_text("")
    assert users.main(["apply", str(tmp_path / "users")]) == 1
    assert "tasks/password: is empty" in capsys.readouterr().err
