"""The users of an MLflow server with a login, and what each may do: `python -m pipelines.users`.

MLflow grants rights on all aliases of a model or on none. So the tasks of a pipeline log runs and
read models; the task `register` and people with the role `promote` change models.
"""

import argparse
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.command_line import run_command
from refsr.console import run_as_process
from refsr.errors import RefsrError
from refsr.integrations.mlflow_store import explained, ignored, open_store, quiet
from refsr.integrations.registry import DESCRIPTION
from refsr.integrations.tracking import experiment_id
from refsr.io.paths import file_errors_as_messages, path_option
from refsr.io.servers import is_server
from refsr.redaction import Parser

LOGGING = {"experiment": "EDIT", "run": "MANAGE"}  # an EDIT of runs would not allow to delete one
MODELS = {"registered_model": "MANAGE"}  # the lock of a promotion is a model that is deleted
# Role: MLflow's type of resource and the right on all of them. Every user may read everything.
ROLES: dict[str, dict[str, str]] = {
    "tasks": LOGGING,
    "register": LOGGING | MODELS,
    "promote": MODELS,
    "serve": {},
}
WORKSPACE = "default"  # of a server without workspaces
EXISTS = "RESOURCE_ALREADY_EXISTS"  # MLflow's error code
USERNAME, PASSWORD = "username", "password"  # keys of a Secret of type basic-auth


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = Parser(prog="python -m pipelines.users", description="Users of an MLflow server.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    apply = commands.add_parser("apply", help="create roles and users, as the folder has them")
    apply.add_argument("folder", type=path_option, help="ROLE/username and ROLE/password")
    apply.add_argument("--name", default="refsr", help="registered model (default: refsr)")
    apply.set_defaults(command=_apply)
    person = commands.add_parser("add", help="create a user for a person; prints the password")
    person.add_argument("name")
    person.add_argument("--role", choices=ROLES, default="promote", help="(default: promote)")
    person.set_defaults(command=_add)
    return run_command(parser, argv)


def _apply(options: argparse.Namespace) -> None:
    """Bring the server to this state; run again, it changes only what differs."""
    users = read_users(options.folder)
    uri = _tracking_uri()
    mlflow = open_store(uri)
    with explained(uri):
        client = _auth_client(mlflow, uri)
        for role, grants in ROLES.items():
            _grant(client, _role(client, role), grants)
        for role, (name, password) in users.items():
            _ensure_user(client, name, password, role)
            print(f"{name}: role {role}")
        # Whoever creates a thing may do everything with it, so no task creates these.
        store = mlflow.MlflowClient()
        experiment_id(store)
        with ignored(EXISTS):
            store.create_registered_model(options.name, description=DESCRIPTION)


def _add(options: argparse.Namespace) -> None:
    uri = _tracking_uri()
    mlflow = open_store(uri)
    password = secrets.token_urlsafe(18)
    with explained(uri):
        client = _auth_client(mlflow, uri)
        _ensure_user(client, options.name, password, options.role)
    print(f"{options.name}: role {options.role}, password {password}")


def read_users(folder: Path) -> dict[str, tuple[str, str]]:
    """Role: name and password, from the Secrets that are mounted at folder/ROLE.

    Raises:
        RefsrError: The folder is missing, or a role is, or a file is empty.
    """
    users: dict[str, tuple[str, str]] = {}
    for role in ROLES:
        values = [_read(folder / role / key) for key in (USERNAME, PASSWORD)]
        users[role] = (values[0], values[1])
    return users


def _read(path: Path) -> str:
    with file_errors_as_messages():
        value = path.read_text(encoding="utf-8").strip()
    if not value:
        raise RefsrError(f"{path}: is empty; write the value there (docs/how-to/cluster.md)")
    return value


def _tracking_uri() -> str:
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not is_server(uri):
        raise RefsrError(f"MLFLOW_TRACKING_URI is {uri!r}; set it to http://HOST:PORT of a server")
    return uri


def _auth_client(mlflow: Any, uri: str) -> Any:
    """MLflow's client of its login. Raises RefsrError if the server has none."""
    try:
        from mlflow.server import get_app_client

        with quiet():
            client = get_app_client("basic-auth", tracking_uri=uri)
    except ImportError as error:
        raise RefsrError(f"{error.msg}; pip install 'refsr[server]' adds it") from error
    try:
        client.list_roles(WORKSPACE)
    except mlflow.MlflowException as error:
        if error.get_http_status_code() != 404:
            raise
        raise RefsrError(f"{uri}: no login; start it with --app-name basic-auth") from error
    return client


def _role(client: Any, name: str) -> Any:
    existing = {role.name: role for role in client.list_roles(WORKSPACE)}
    return existing.get(name) or client.create_role(WORKSPACE, name)


def _grant(client: Any, role: Any, grants: Mapping[str, str]) -> None:
    """Give a role these rights and no others."""
    missing = dict(grants)
    for each in client.list_role_permissions(role.id):
        is_right = missing.get(each.resource_type) == each.permission
        if is_right and each.resource_pattern == "*":
            del missing[each.resource_type]
        else:
            client.remove_role_permission(each.id)
    for resource, permission in missing.items():
        client.add_role_permission(role.id, resource, "*", permission)


def _ensure_user(client: Any, name: str, password: str, role: str) -> None:
    """Create a user, or set the password of the existing one, and assign the role."""
    created = None
    with ignored(EXISTS):
        created = client.create_user(name, password)
    if created is None:
        client.update_user_password(name, password)
    with ignored(EXISTS):
        client.assign_role(name, _role(client, role).id)


if __name__ == "__main__":
    run_as_process(main)
