"""The commands that are no stage: what each prints, and what it calls. Heavy libraries load where used."""

import argparse
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from refsr.errors import RefsrError
from refsr.io import marker, own_files
from refsr.redaction import hide, holds_secret

if TYPE_CHECKING:
    from refsr.config import Register

DEFAULT_TRACKING_URI = "sqlite:///mlflow.db"


def tracking_uri() -> str:
    """The MLflow store: MLFLOW_TRACKING_URI, or an SQLite file in the present folder."""
    return os.environ.get("MLFLOW_TRACKING_URI", DEFAULT_TRACKING_URI)


def inspect(options: argparse.Namespace) -> None:
    """Write the page of a curated set."""
    from refsr.reporting import inspection

    inspection.write(options.curated, options.output, options.raw)
    print(options.output)


def describe(options: argparse.Namespace) -> None:
    """Print what the networks of a variant are made of."""
    from refsr.models.describe import describe

    described = describe(options.variant, options.hr)
    if options.json:
        print(json.dumps(described, indent=2))
        return
    print(f"{'':<6} {'in training':>12} {'deployed':>12} {'GMACs':>7}")
    for name in ("sisr", "refsr"):
        model = described[name]
        counts = f"{model['parameters']:>12,} {model['parameters_deployed']:>12,}"
        print(f"{name:<6} {counts} {model['macs'] / 1e9:>7.2f}")


def import_caffe(options: argparse.Namespace) -> None:
    """Turn the authors' weights into a checkpoint."""
    from refsr.models.caffe import import_caffe

    made = import_caffe(options.file, options.output, options.hr, options.scale)
    print(f"{options.output}: release {made.model}, {made.parameters:,} parameters of {made.layers} layers")
    for why in sorted(set(made.left_out.values())):
        blobs = [blob for blob, reason in made.left_out.items() if reason == why]
        print(f"left out, {why}: {' '.join(blobs)}")


def doctor(options: argparse.Namespace) -> None:
    """Print what this machine has and lacks."""
    if options.dvc:
        return _require_no_dvc_command()
    from refsr.doctor import examine

    findings = []
    for finding in examine(tracking_uri(), options.kfp, options.s3, fix=options.fix):
        findings.append(finding)
        if not options.json:
            todo = f"\n{'':<15} {finding.todo}" if finding.todo else ""
            print(f"{finding.state:<4} {finding.check:<10} {finding.message}{todo}", flush=True)
    if options.json:
        print(json.dumps([finding._asdict() for finding in findings], indent=2))
    failed = [finding.check for finding in findings if finding.state == "fail"]
    if failed:
        raise RefsrError(f"doctor: {', '.join(failed)}: see what to do above")
    return None


def _require_no_dvc_command() -> None:
    from refsr.integrations.dvc_lock import busy

    if message := busy(Path.cwd()):
        raise RefsrError(message)


def show(options: argparse.Namespace) -> None:
    """Print the table of the last evaluation and where its pages are."""
    evaluation = options.reports / "evaluation"
    if not (evaluation / "table.txt").exists():
        raise RefsrError(f"{evaluation}: no evaluation here yet; `make demo` or `dvc repro` makes one")
    shown = evaluation / ("results.md" if options.markdown else "table.txt")
    marker.require_whole(shown)
    text = own_files.read_text(shown, "evaluate")
    if options.markdown:
        print(text, end="")
        return
    print(text)
    pages = {
        "report": evaluation / "report.html",
        "validation": options.reports / "validation" / "data_docs" / "index.html",
        "model card": options.reports / "registration" / "model_card.md",
    }
    for name, path in pages.items():
        if path.exists():
            print(f"{name:<11} {path}")
    uri = tracking_uri()
    print(f"{'MLflow':<11} {hide(uri)}")
    given = '"$MLFLOW_TRACKING_URI"' if holds_secret(uri) else shlex.quote(uri)
    print(f"{'its UI':<11} {shlex.quote(os.path.relpath(sys.executable))} -m mlflow ui --backend-store-uri {given}")


def promote(options: argparse.Namespace) -> None:
    """Make a version the champion."""
    from refsr.steps.register import promote

    params = _register_params(options)
    print(f"version {promote(tracking_uri(), params, options.version)} of {params.name} is champion")


def rollback(options: argparse.Namespace) -> None:
    """Go back to the champion before."""
    from refsr.integrations.registry import Registry

    name = _register_params(options).name
    left, now = Registry(tracking_uri(), name).rollback()
    print(f"version {now} of {name} is champion again, in place of version {left}")


def transfer(options: argparse.Namespace) -> None:
    """Copy a version to another store."""
    from refsr.steps.transfer import transfer

    params = _register_params(options)
    made, taken = transfer(options.source or tracking_uri(), options.target, params, options.version, options.name)
    there = f"version {made} of {options.name or params.name} in {hide(options.target)}"
    print(f"version {taken} of {params.name} is {there}, and candidate there")


def _register_params(options: argparse.Namespace) -> "Register":
    from refsr.params import load_section

    return cast("Register", load_section(options.params, "register"))


def upscale(options: argparse.Namespace) -> None:
    """Upscale one face."""
    from refsr.inference import images
    from refsr.inference.upscaler import fitting_note, upscale
    from refsr.integrations.registry import checkpoint_of
    from refsr.io.output import check_file
    from refsr.models.checkpoint import load_model

    images.output_format(options.output)  # what can be refused before the model is fetched
    given = {"SMALL": options.small, "--ref": options.ref, "--model": options.model}
    read = {option: Path(path) for option, path in given.items() if path and not str(path).startswith("models:")}
    check_file(options.output, read, images.is_own_image)
    small = images.read_image(options.small)
    ref = images.read_image(options.ref) if options.ref else None
    with checkpoint_of(tracking_uri(), options.model) as checkpoint:
        marker.require_whole(checkpoint)
        model = load_model(checkpoint)
    result = upscale(model, small, ref)
    images.write_image(options.output, result)
    print(f"{options.output}: {result.shape[1]}x{result.shape[0]} pixels{fitting_note(model, small)}")
