"""Dumps of the registry's database to S3 and back, as the manifests of k8s/ have it done.

The endpoint is MLflow's own (MLFLOW_S3_ENDPOINT_URL), else boto3's; keys are boto3's.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from refsr.console import exit_status, run_as_process
from refsr.errors import RefsrError
from refsr.io.atomic import write_file
from refsr.io.paths import path_option
from refsr.redaction import Parser, hide

DUMPS = "*.dump"  # their names are times, so the last by name is the newest


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = Parser(prog="python -m pipelines.backup", description="Dumps to S3 and back.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, told in (("put", "copy the dumps that are not there yet"), ("get", "copy a dump back")):
        command = commands.add_parser(name, help=told)
        command.add_argument("folder", type=path_option)
        command.add_argument("uri", help="s3://bucket/prefix")
        command.set_defaults(command=name)
    command.add_argument("--name", default="", help="file name of the dump (default: the newest)")
    return exit_status(lambda: _run(parser.parse_args(argv)))


def _run(options: argparse.Namespace) -> None:
    if options.command == "put":
        for name in put(options.folder, options.uri):
            print(hide(f"{options.uri}/{name}"))
    else:
        print(get(options.folder, options.uri, options.name))


def put(folder: Path, uri: str) -> list[str]:
    """Copy every dump of the folder that is not whole at `uri`; their names. Raises RefsrError where S3 refuses."""
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, prefix = _split(uri)
    try:
        client = _client()
        there = _sizes(client, bucket, prefix)
        missing = [path for path in sorted(folder.glob(DUMPS)) if there.get(path.name) != path.stat().st_size]
        for path in missing:
            client.upload_file(str(path), bucket, prefix + path.name)
    except (BotoCoreError, ClientError, OSError) as error:
        raise RefsrError(f"{uri}: the dumps of {folder} are not copied: {error}") from error
    return [path.name for path in missing]


def get(folder: Path, uri: str, name: str = "") -> Path:
    """Copy a dump into the folder, the newest unless one is named. Raises RefsrError where there is none."""
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, prefix = _split(uri)
    try:
        client = _client()
        sizes = _sizes(client, bucket, prefix)
        there = sorted(sizes)
        if not there or (name and name not in there):
            raise RefsrError(f"{uri}: no dump {name or DUMPS}; there are: {', '.join(there) or 'none'}")
        path = folder / (name or there[-1])
        if path.exists() and path.stat().st_size == sizes[path.name]:
            return path
        if path.exists():
            raise RefsrError(
                f"{path}: exists, and is not the dump of this name at {uri}; move it, or name a new folder"
            )
        write_file(path, lambda partial: client.download_file(bucket, prefix + path.name, str(partial)))
    except (BotoCoreError, ClientError, OSError) as error:
        raise RefsrError(f"{uri}: no dump is copied to {folder}: {error}") from error
    return path


def _sizes(client: Any, bucket: str, prefix: str) -> dict[str, int]:
    """Name and size of each dump under the prefix."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    found = {each["Key"].removeprefix(prefix): int(each["Size"]) for page in pages for each in page.get("Contents", [])}
    return {name: size for name, size in found.items() if Path(name).match(DUMPS) and "/" not in name}


def _split(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri)
    if parts.scheme != "s3" or not parts.netloc:
        raise RefsrError(f"{uri}: s3://bucket/prefix is expected")
    return parts.netloc, f"{parts.path.strip('/')}/".lstrip("/")


def _client() -> Any:
    import boto3

    return boto3.client("s3", endpoint_url=os.environ.get("MLFLOW_S3_ENDPOINT_URL") or None)


if __name__ == "__main__":
    run_as_process(main)
