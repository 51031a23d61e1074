"""What `train-sisr` and `train-refsr` offer beside training: each writes no output of the stage."""

from pathlib import Path
from typing import Any

from refsr.commands.command import Options, Parser
from refsr.errors import RefsrError

OVERFIT_STEPS = 200
STAGES = ("train_sisr", "train_refsr")


def add_options(command: Parser) -> None:
    """--dry-run, --overfit-one-batch and --profile."""
    group = command.add_argument_group("instead of training").add_mutually_exclusive_group()
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="print the network, its memory and the time of a step, and write nothing",
    )
    group.add_argument(
        "--overfit-one-batch",
        action="store_true",
        help=f"train {OVERFIT_STEPS} steps on one batch, print the losses, and write nothing",
    )
    group.add_argument(
        "--profile",
        type=int,
        metavar="N",
        help="train N steps and write trace-STAGE.json, for chrome://tracing or Perfetto",
    )


def is_asked(options: Options) -> bool:
    """Whether one of these was given, of a stage that has them."""
    names = ("dry_run", "overfit_one_batch", "profile")
    return options.stage in STAGES and any(
        getattr(options, name) not in (False, None) for name in names
    )


def rehearse(options: Options, params: Any) -> None:
    """Do what was asked, and print it.

    Raises:
        RefsrError: The inputs do not fit, or N is not from 1 to 1000.
    """
    from refsr.training import rehearsal

    if options.profile is not None and not 1 <= options.profile <= 1000:
        raise RefsrError(f"--profile {options.profile}: give a number of steps from 1 to 1000")
    model, faces = _prepared(options, params)
    if options.dry_run:
        for title, text in rehearsal.estimate(model, faces, params).items():
            print(f"{title:<12} {text}")
    elif options.overfit_one_batch:
        for step, parts in rehearsal.overfit(model, faces, params, OVERFIT_STEPS):
            shown = ", ".join(f"{name} {value:.4g}" for name, value in parts.items())
            print(f"step {step:>4}: {shown}")
    else:
        path = Path(f"trace-{options.stage}.json")
        print(rehearsal.profile(model, faces, params, options.profile, path))
        print(f"{options.stage}: {options.profile} steps -> {path}")


def _prepared(options: Options, params: Any) -> tuple[Any, Any]:
    """The network and the curated set of a stage."""
    from refsr.dataset.curated import Curated
    from refsr.steps import train_refsr, train_sisr

    faces = Curated(options.curated, columns=())
    if options.stage == "train_sisr":
        return train_sisr.network(params, faces), faces
    return train_refsr.network(params, faces, options.sisr)[0], faces
