"""Copy dumps of the MLflow database to S3 and back; the manifests of k8s/ run these commands.

The endpoint is MLFLOW_S3_ENDPOINT_URL, else boto3's own; boto3 looks up the keys.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipelines.command_line import run_command
from refsr.console import run_as_process
from refsr.errors import RefsrError
from refsr.io import s3
from refsr.io.atomic import write_file
from refsr.io.paths import path_option, require_folder, require_writable
from refsr.io.servers import is_url
from refsr.redaction import Parser, hide

DUMPS = "*.dump"  # names are times: the last one by name is the newest
ATTEMPTS = 5  # of a request


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    description = "Copy dumps of the MLflow database to S3 and back."
    parser = Parser(prog="python -m pipelines.backup", description=description)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, function, text in (
        ("put", _put, "copy the dumps that S3 does not have"),
        ("get", _get, "copy a dump from S3"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("folder", type=path_option)
        command.add_argument("uri", help="s3://bucket/prefix")
        command.set_defaults(command=function)
    command.add_argument("--name", default="", help="file name of the dump (default: the newest)")
    return run_command(parser, argv)


def _put(options: argparse.Namespace) -> None:
    for name in put(options.folder, options.uri):
        print(hide(f"{options.uri}/{name}"))


def _get(options: argparse.Namespace) -> None:
    print(get(options.folder, options.uri, options.name))


def put(folder: Path, uri: str) -> list[str]:
    """Copy the dumps of the folder that are missing or incomplete at `uri`; their names.

    Raises RefsrError if S3 refuses.
    """
    bucket, prefix = _split(uri)
    try:
        client = _client()
        sizes = _sizes(client, bucket, prefix)
        dumps = sorted(folder.glob(DUMPS))
        missing = [path for path in dumps if sizes.get(path.name) != path.stat().st_size]
        for path in missing:
            client.upload_file(str(path), bucket, prefix + path.name)
    except (*s3.ERRORS, OSError) as error:
        raise RefsrError(f"{uri}: cannot copy the dumps of {folder}: {error}") from error
    return [path.name for path in missing]


def get(folder: Path, uri: str, name: str = "") -> Path:
    """Copy a dump to the folder: the named one, else the newest. Raises RefsrError without one."""
    require_folder(folder.absolute())
    require_writable(folder)
    bucket, prefix = _split(uri)
    try:
        client = _client()
        sizes = _sizes(client, bucket, prefix)
        name = _choose(uri, sorted(sizes), name)
        path = folder / name
        if path.exists() and path.stat().st_size == sizes[name]:
            return path
        if path.exists():
            raise RefsrError(
                f"{path}: exists and differs from the dump of this name at {uri}; "
                "move it, or pass a new folder"
            )
        key = prefix + name
        write_file(path, lambda partial: client.download_file(bucket, key, str(partial)))
    except (*s3.ERRORS, OSError) as error:
        raise RefsrError(f"{uri}: cannot copy a dump to {folder}: {error}") from error
    return path


def _choose(uri: str, names: list[str], name: str) -> str:
    if not names or (name and name not in names):
        raise RefsrError(
            f"{uri}: no dump {name or DUMPS}; existing dumps: {', '.join(names) or 'none'}"
        )
    return name or names[-1]


def _sizes(client: Any, bucket: str, prefix: str) -> dict[str, int]:
    """Name and size in bytes of each dump under the prefix."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    objects = [each for page in pages for each in page.get("Contents", [])]
    sizes = {each["Key"].removeprefix(prefix): int(each["Size"]) for each in objects}
    return {
        name: size for name, size in sizes.items() if Path(name).match(DUMPS) and "/" not in name
    }


def _split(uri: str) -> tuple[str, str]:
    if not is_url(uri, "s3"):
        raise RefsrError(f"{uri}: not a URI of S3; pass s3://bucket/prefix")
    parts = urlsplit(uri)
    return parts.netloc, f"{parts.path.strip('/')}/".lstrip("/")


def _client() -> Any:
    endpoint = os.environ.get("MLFLOW_S3_ENDPOINT_URL") or None
    return s3.new_client(endpoint, attempts=ATTEMPTS)


if __name__ == "__main__":
    run_as_process(main)
