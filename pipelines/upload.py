"""Store a pipeline on the server, with the values of a params file as defaults of its inputs."""

import argparse
import json
import tempfile
from pathlib import Path

import kfp
from kfp_server_api import ApiException, V2beta1Pipeline

from pipelines.compile import object_name
from pipelines.connection import api, endpoint_of, id_of
from pipelines.images import tag_of
from pipelines.submit import Submission, prepare, print_requests, write_package
from refsr.errors import RefsrError
from refsr.redaction import hide

DEFAULT_PROFILE = "params"  # params.yaml needs no suffix in the name of the pipeline
EQUALS = "EQUALS"


def upload(options: argparse.Namespace) -> None:
    """Store the pipeline as a version on the server, to be started from the UI.

    Each params file has a pipeline of its own there, whose inputs have its values as defaults. The
    image's tag names the version.
    """
    submission = prepare(options)
    target = submission.target
    name = stored_name(submission, options.params)
    version = object_name(tag_of(submission.image))
    with tempfile.TemporaryDirectory() as folder:
        package = write_package(submission, options, Path(folder), submission.arguments)
        if options.dry_run:
            print(hide(f"dry run, not uploaded to {target.endpoint}: {name}, version {version}"))
            print_requests(package)
            return
        with api(target) as client:
            page = _upload(client, submission, package, (name, version))
    print(hide(f"{endpoint_of(target)}{page}: uploaded {name}, version {version}"))
    print(f"its {len(submission.arguments)} inputs have the values of {options.params} as defaults")


def stored_name(submission: Submission, params: Path) -> str:
    """The name of the pipeline on the server: that of the graph, and of the params file."""
    graph: str = submission.pipeline.name
    return graph if params.stem == DEFAULT_PROFILE else object_name(f"{graph}-{params.stem}")


def pipeline_id(client: kfp.Client, name: str, namespace: str | None) -> str | None:
    """The id of a stored pipeline; None without one. Multi-user Kubeflow needs the namespace."""
    predicate = {"operation": EQUALS, "key": "display_name", "stringValue": name}
    page = client.list_pipelines(
        namespace=namespace,
        filter=json.dumps({"predicates": [predicate]}),
    )
    pipelines = page.pipelines or []
    return str(pipelines[0].pipeline_id) if pipelines else None


def _upload(
    client: kfp.Client,
    submission: Submission,
    package: Path,
    names: tuple[str, str],
) -> str:
    """Upload a version; returns the path of its page. Raises RefsrError if it exists."""
    name, version = names
    namespace = submission.target.namespace
    stored = pipeline_id(client, name, namespace) or _create(client, submission, name)
    try:
        created = client.upload_pipeline_version(str(package), version, pipeline_id=stored)
    except ApiException as error:
        if error.status != 409:
            raise
        raise RefsrError(
            f"{submission.target.endpoint}: {name} has a version {version}, and versions never "
            "change; commit, or pass --image with another tag (`diff` shows the changes)"
        ) from error
    version_id = id_of(created, "pipeline_version_id")
    return f"/#/pipelines/details/{stored}/version/{version_id}"


def _create(client: kfp.Client, submission: Submission, name: str) -> str:
    """Create a pipeline without a version: `upload_pipeline` would name its first one itself."""
    body = V2beta1Pipeline(
        display_name=name,
        name=name,
        description=submission.pipeline.description,
        namespace=submission.target.namespace,
    )
    return id_of(client._pipelines_api.pipeline_service_create_pipeline(body), "pipeline_id")
