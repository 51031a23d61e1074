"""Commands that look at this machine and at what was made."""

import json
import os
import shlex
import sys
from pathlib import Path

from refsr.commands.command import Command, Options, Parser, add_params
from refsr.commands.versions import show_version
from refsr.errors import RefsrError
from refsr.io import marker, own_files
from refsr.io.paths import path_option
from refsr.redaction import hide, holds_secret
from refsr.tracker import tracking_uri


def _doctor_options(parser: Parser) -> None:
    parser.add_argument(
        "--s3", metavar="S3_URI", help="list this too: s3://bucket or s3://bucket/prefix"
    )
    parser.add_argument(
        "--kfp",
        default=os.environ.get("KFP_ENDPOINT"),
        metavar="URL",
        help="API (KFP_ENDPOINT)",
    )
    parser.add_argument(
        "--fix",
        action="store_true",
        help="close runs in MLflow whose process is gone, or that have ended at Kubeflow",
    )
    parser.add_argument("--json", action="store_true", help="the findings as JSON")
    parser.add_argument(
        "--dvc", action="store_true", help="only fail if another DVC command is at work here"
    )


def doctor(options: Options) -> None:
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


def _show_options(parser: Parser) -> None:
    text = "show this registered version instead, a number or an alias"
    parser.add_argument("version", nargs="?", help=text)
    add_params(parser, "params file: name of the model")
    parser.add_argument(
        "--reports",
        type=path_option,
        default=Path("reports"),
        help="folder of the reports (default: reports)",
    )
    parser.add_argument(
        "--markdown", action="store_true", help="every table of it, as a Markdown page"
    )


def show(options: Options) -> None:
    """Print the table of the last evaluation and where its pages are, or a registered version."""
    if options.version:
        return show_version(options)
    evaluation = options.reports / "evaluation"
    if not (evaluation / "table.txt").exists():
        advice = "no evaluation here yet; `make demo` or `dvc repro` makes one"
        raise RefsrError(f"{evaluation}: {advice}")
    shown = evaluation / ("results.md" if options.markdown else "table.txt")
    marker.require_whole(shown)
    text = own_files.read_text(shown, "evaluate")
    if options.markdown:
        print(text, end="")
        return None
    print(text)
    return _show_places(options.reports)


def _show_places(reports: Path) -> None:
    pages = {
        "report": reports / "evaluation" / "report.html",
        "validation": reports / "validation" / "report.html",
        "model card": reports / "registration" / "model_card.md",
    }
    for name, path in pages.items():
        if path.exists():
            print(f"{name:<11} {path}")
    uri = tracking_uri()
    print(f"{'MLflow':<11} {hide(uri)}")
    given = '"$MLFLOW_TRACKING_URI"' if holds_secret(uri) else shlex.quote(uri)
    python = shlex.quote(os.path.relpath(sys.executable))
    command = f"{python} -m mlflow ui --backend-store-uri {given}"
    print(f"{'its UI':<11} {command}")


def _params_options(parser: Parser) -> None:
    add_params(parser, "params file to complete")


def complete_params(options: Options) -> None:
    """Write out the parameters that a params file leaves out."""
    from refsr.integrations.params_file import complete

    added = complete(options.params)
    print("\n".join([*added, f"{options.params}: {len(added)} parameters added"]))


COMMANDS = (
    Command(
        name="doctor",
        help="what this machine has and lacks, and what to do",
        example="doctor --s3 s3://bucket/faces",
        add_options=_doctor_options,
        run=doctor,
    ),
    Command(
        name="show",
        help="the table of the last evaluation, or what a registered version is",
        example="show champion",
        add_options=_show_options,
        run=show,
    ),
    Command(
        name="params",
        help="write out the parameters that a params file leaves out",
        example="params --params params.yaml",
        add_options=_params_options,
        run=complete_params,
    ),
)
