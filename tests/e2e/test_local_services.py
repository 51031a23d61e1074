"""A registry on PostgreSQL and S3, backed up and restored by the commands of the manifests."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from helpers import let_others_in

from pipelines import backup
from refsr.errors import RefsrError
from refsr.integrations.mlflow_store import open_store
from tools import local_services
from tools.local_services import S3
from tools.manifests import Manifest, containers, render

BUCKET = "mlflow"
ROOT = Path(__file__).parents[2]


class Services(NamedTuple):
    """The running services."""

    folder: Path
    s3: S3
    database: str
    server: str


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    try:
        local_services.postgres_program("initdb")
    except RefsrError as error:
        pytest.skip(f"NOT TESTED, the registry on PostgreSQL: {error}")
    folder = tmp_path_factory.mktemp("services")
    let_others_in(folder)
    with (
        local_services.s3_server(folder / "s3", BUCKET) as s3,
        local_services.postgres(folder / "postgres") as database,
        local_services.mlflow_server(folder / "mlflow", database, s3, BUCKET) as server,
    ):
        yield Services(folder, s3, database, server)


@pytest.fixture(scope="module")
def version(cluster: Services) -> str:
    """A registered version with a file."""
    mlflow = open_store(cluster.server)
    client = mlflow.MlflowClient()
    run = client.create_run(client.create_experiment("registry"))
    note = cluster.folder / "note.txt"
    note.write_text("kept on S3")
    client.log_artifact(run.info.run_id, str(note))
    client.create_registered_model("faces")
    source = f"{run.info.artifact_uri}/note.txt"
    version = client.create_model_version("faces", source, run.info.run_id).version
    client.set_registered_model_alias("faces", "champion", version)
    return str(version)


def test_artifacts_go_to_s3_through_the_server(cluster: Services, version: str) -> None:
    client = cluster.s3.client()
    (stored,) = client.list_objects_v2(Bucket=BUCKET)["Contents"]
    assert stored["Key"].endswith("/artifacts/note.txt")
    assert client.get_object(Bucket=BUCKET, Key=stored["Key"])["Body"].read() == b"kept on S3"


def test_a_dump_restores_the_registry(cluster: Services, version: str) -> None:
    client = open_store(cluster.server).MlflowClient()
    dumped = _run_manifest("CronJob", cluster)
    assert dumped.endswith(".dump")
    client.delete_registered_model("faces")
    assert not client.search_registered_models()
    assert _run_manifest("Job", cluster) == f"restored {dumped}"
    restored = client.get_model_version_by_alias("faces", "champion")
    assert restored.version == version
    file = client.download_artifacts(restored.run_id, "note.txt", str(cluster.folder))
    assert Path(file).read_text() == "kept on S3"


def test_a_dump_on_s3_restores_the_registry(cluster: Services, version: str) -> None:
    """Only the bucket remains: the volume of the back-up is empty, as in a new cluster."""
    client = open_store(cluster.server).MlflowClient()
    copied = _run_manifest("CronJob", cluster, "overlays/gpu")
    keys = [
        each["Key"]
        for each in cluster.s3.client().list_objects_v2(Bucket=BUCKET, Prefix="backups/")[
            "Contents"
        ]
    ]
    assert copied == f"s3://{BUCKET}/{keys[-1]}"
    client.delete_registered_model("faces")
    shutil.rmtree(cluster.folder / "backup")
    restored = _run_manifest("Job", cluster, "restore-s3")
    assert restored.removeprefix("restored ").endswith(Path(keys[-1]).name)
    assert client.get_model_version_by_alias("faces", "champion").version == version


def test_a_missing_bucket_fails_the_copy(
    cluster: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in (
        cluster.s3.environment | {"MLFLOW_S3_ENDPOINT_URL": cluster.s3.endpoint}
    ).items():
        monkeypatch.setenv(key, value)
    with pytest.raises(
        RefsrError, match=r"s3://nowhere/backups: cannot copy a dump to .*NoSuchBucket"
    ):
        backup.get(cluster.folder, "s3://nowhere/backups")
    with pytest.raises(RefsrError, match=r"no dump 2001\.dump; existing dumps: "):
        backup.get(cluster.folder, f"s3://{BUCKET}/backups", "2001.dump")


def test_a_server_that_exits_fails_with_its_log(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo the disk is full; exit 3"]
    with (
        pytest.raises(RefsrError, match="the disk is full"),
        local_services.serving(command, tmp_path, {}, lambda: False),
    ):
        pass


def _run_manifest(kind: str, cluster: Services, folder: str = "") -> str:
    """Run the containers of the back-up (CronJob) or the restore (Job); the last line of output."""
    folder = folder or ("overlays/local" if kind == "CronJob" else "restore")
    manifests = render(folder)
    manifest = next(
        each
        for each in manifests
        if each["kind"] == kind and not each["metadata"]["name"].endswith("reconcile")
    )
    spec: dict[str, Any] = manifest["spec"]
    pod = (spec["jobTemplate"]["spec"]["template"] if kind == "CronJob" else spec["template"])[
        "spec"
    ]
    configured = {
        each["metadata"]["name"]: each["data"] for each in manifests if each["kind"] == "ConfigMap"
    }
    (cluster.folder / "backup").mkdir(exist_ok=True)
    last = ""
    for container in containers(pod):
        maps = [configured[each["configMapRef"]["name"]] for each in container.get("envFrom", [])]
        last = _run(
            container, {key: value for each in maps for key, value in each.items()}, cluster
        )
    return last


def _run(container: Manifest, configured: dict[str, str], cluster: Services) -> str:
    """Run a container as a process with the local database, bucket and folder."""
    backups, database = str(cluster.folder / "backup"), urlsplit(cluster.database)
    given = {each["name"]: each.get("value", "") for each in container["env"]}
    programs = local_services.postgres_program("pg_dump").parent
    environment = (
        configured
        | given
        | {
            "BACKUP": backups,
            "PGHOST": str(database.hostname),
            "PGPORT": str(database.port),
            "PGPASSWORD": str(database.password),
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }
    )
    environment |= cluster.s3.environment | {"MLFLOW_S3_ENDPOINT_URL": cluster.s3.endpoint}
    environment |= {
        "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{BUCKET}",
        "BACKUPS": f"s3://{BUCKET}/backups",
    }
    command = [backups if word == "/backup" else word for word in container["command"]]
    command = [re.sub(r"\$\((\w+)\)", lambda name: environment[name[1]], word) for word in command]
    if command[0] == "python3":
        command[0] = sys.executable
    done = subprocess.run(command, env=os.environ | environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]
