"""Commands about the model registry."""

import getpass
from typing import TYPE_CHECKING, cast

from refsr.commands import compare, drift, versions
from refsr.commands.command import Command, Options, Parser, add_params
from refsr.redaction import hide
from refsr.tracker import tracking_uri

if TYPE_CHECKING:
    from refsr.config import Register


def _add_version(parser: Parser, default: str) -> None:
    text = f"number or alias (default: {default})"
    parser.add_argument("version", nargs="?", default=default, help=text)


def _promote_options(parser: Parser) -> None:
    _add_version(parser, "candidate")
    _add_params(parser)

    parser.add_argument(
        "--approved",
        action="store_true",
        help="the newest version that a person has approved, if there is one; for a schedule",
    )


def _approve_options(parser: Parser) -> None:
    _add_version(parser, "candidate")
    parser.add_argument("--by", metavar="NAME", help="who approves it (default: your login)")
    _add_params(parser)


def _transfer_options(parser: Parser) -> None:
    _add_version(parser, "champion")
    parser.add_argument(
        "--from",
        dest="source",
        metavar="URI",
        help="store (default: MLFLOW_TRACKING_URI)",
    )
    parser.add_argument(
        "--to",
        dest="target",
        metavar="URI",
        required=True,
        help="store where it becomes candidate; a new SQLite file is made",
    )
    parser.add_argument(
        "--as",
        dest="name",
        metavar="NAME",
        default="",
        help="name there (default: the same)",
    )
    _add_params(parser)


def _add_params(parser: Parser) -> None:
    add_params(parser, "params file: name and gate")


def promote(options: Options) -> None:
    """Make a version the champion."""
    from refsr.steps.approval import promote_approved
    from refsr.steps.register import promote

    params = _register_params(options)
    if options.approved:
        promoted = promote_approved(tracking_uri(), params)
        if promoted:
            print(f"version {promoted[0]} of {params.name} is champion, {promoted[1]}")
        else:
            print(f"no version of {params.name} has an approval that was not used")
        return
    version = promote(tracking_uri(), params, options.version)
    print(f"version {version} of {params.name} is champion")


def approve(options: Options) -> None:
    """Approve a version: `promote --approved`, which a CronJob runs, then makes it the champion."""
    from refsr.integrations.mlflow_login import user
    from refsr.steps.approval import approve

    name = _register_params(options).name
    person = options.by or user() or getpass.getuser()
    version = approve(tracking_uri(), name, options.version, person)
    print(f"version {version} of {name} is approved by {person}")


def rollback(options: Options) -> None:
    """Go back to the champion before."""
    from refsr.integrations.registry import Registry

    name = _register_params(options).name
    left, now = Registry(tracking_uri(), name).rollback()
    print(f"version {now} of {name} is champion again, in place of version {left}")


def transfer(options: Options) -> None:
    """Copy a version to another store."""
    from refsr.steps.transfer import transfer

    params = _register_params(options)
    source = options.source or tracking_uri()
    made, taken = transfer(source, options.target, params, options.version, options.name)
    there = f"version {made} of {options.name or params.name} in {hide(options.target)}"
    print(f"version {taken} of {params.name} is {there}, and candidate there")


def _register_params(options: Options) -> "Register":
    from refsr.params import load_section

    return cast("Register", load_section(options.params, "register"))


COMMANDS = (
    *versions.COMMANDS,
    compare.COMMAND,
    drift.COMMAND,
    Command(
        name="approve",
        help="record that a person approves a version, for `promote --approved`",
        example="approve candidate --by alice",
        add_options=_approve_options,
        run=approve,
    ),
    Command(
        name="promote",
        help="make a registered version the champion, if the gate still agrees",
        example="promote candidate",
        add_options=_promote_options,
        run=promote,
    ),
    Command(
        name="rollback",
        help="make the champion before the present one champion again",
        example="rollback",
        add_options=_add_params,
        run=rollback,
    ),
    Command(
        name="transfer",
        help="copy a registered version to another MLflow store",
        example="transfer champion --to http://mlflow.example:5000",
        add_options=_transfer_options,
        run=transfer,
    ),
)
