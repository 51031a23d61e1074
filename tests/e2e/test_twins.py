"""A registry as a cluster has it, on PostgreSQL and S3, backed up and restored by the commands of the manifests."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from pipelines import twins
from pipelines.manifests import containers, render
from pipelines.twins import S3
from refsr.errors import RefsrError
from refsr.services.tracking import open_store

BUCKET = "mlflow"


class Twins(NamedTuple):
    """What runs."""

    folder: Path
    s3: S3
    database: str
    server: str


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    try:
        twins.postgres_program("initdb")
    except RefsrError as error:
        pytest.skip(f"NOT TESTED, the registry on PostgreSQL: {error}")
    folder = tmp_path_factory.mktemp("twins")
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o755)  # PostgreSQL runs as a user of its own where the tests are root
    with (
        twins.s3_server(folder / "s3", BUCKET) as s3,
        twins.postgres(folder / "postgres") as database,
        twins.mlflow_server(folder / "mlflow", database, s3, BUCKET) as server,
    ):
        yield Twins(folder, s3, database, server)


@pytest.fixture(scope="module")
def version(cluster: Twins) -> str:
    """A registered version with a file."""
    mlflow = open_store(cluster.server)
    client = mlflow.MlflowClient()
    run = client.create_run(client.create_experiment("registry"))
    note = cluster.folder / "note.txt"
    note.write_text("kept on S3")
    client.log_artifact(run.info.run_id, str(note))
    client.create_registered_model("faces")
    made = client.create_model_version("faces", f"{run.info.artifact_uri}/note.txt", run.info.run_id)
    client.set_registered_model_alias("faces", "champion", made.version)
    return str(made.version)


def test_artifacts_go_to_s3_through_the_server(cluster: Twins, version: str) -> None:
    client = cluster.s3.client()
    (found,) = client.list_objects_v2(Bucket=BUCKET)["Contents"]
    assert found["Key"].endswith("/artifacts/note.txt")
    assert client.get_object(Bucket=BUCKET, Key=found["Key"])["Body"].read() == b"kept on S3"


def test_a_dump_brings_the_registry_back(cluster: Twins, version: str) -> None:
    client = open_store(cluster.server).MlflowClient()
    dumped = _run_as_the_manifest_says("CronJob", cluster)
    assert dumped.endswith(".dump")
    client.delete_registered_model("faces")
    assert not client.search_registered_models()
    assert _run_as_the_manifest_says("Job", cluster) == f"restored {dumped}"
    restored = client.get_model_version_by_alias("faces", "champion")
    assert restored.version == version
    file = client.download_artifacts(restored.run_id, "note.txt", str(cluster.folder))
    assert Path(file).read_text() == "kept on S3"


def test_a_server_whose_log_says_why_is_not_waited_for(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo the disk is full; exit 3"]
    with pytest.raises(RefsrError, match="the disk is full"), twins.serving(command, tmp_path, {}, lambda: False):
        pass


def _run_as_the_manifest_says(kind: str, cluster: Twins) -> str:
    """Run the one container of the back-up (CronJob) or restore (Job), against this database; the end of its output."""
    (manifest,) = (
        each for each in render("overlays/local" if kind == "CronJob" else "restore") if each["kind"] == kind
    )
    spec: dict[str, Any] = manifest["spec"]
    template = spec["jobTemplate"]["spec"]["template"] if kind == "CronJob" else spec["template"]
    (container,) = containers(template["spec"])
    backup = cluster.folder / "backup"
    backup.mkdir(exist_ok=True)
    database = urlsplit(cluster.database)
    environment = {each["name"]: each.get("value", "") for each in container["env"]} | {
        "BACKUP": str(backup),
        "PGHOST": str(database.hostname),
        "PGPORT": str(database.port),
        "PGPASSWORD": str(database.password),
        "PATH": f"{twins.postgres_program('pg_dump').parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(container["command"], env=os.environ | environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]
