"""Commands that run a step: the stages of the flow. A step's options are its own named paths."""

import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from refsr import steps
from refsr.commands import rehearse
from refsr.commands.command import Command, Options, Parser, add_params
from refsr.io.paths import path_option, path_text
from refsr.tracker import tracking_uri

if TYPE_CHECKING:
    from refsr.config import Curate, Section

_TEXTS = {
    "synthesize": ("render a raw set of faces", "synthesize --raw data/rendered"),
    "curate": (
        "raw set -> identity groups of aligned crops",
        "curate --raw data/rendered --curated data/curated",
    ),
    "validate": (
        "check a curated set against its expectations",
        "validate --curated data/curated --validation reports/validation",
    ),
    "train_sisr": (
        "train the single-image network",
        "train-sisr --curated data/curated --validation reports/validation --sisr models/sisr",
    ),
    "train_refsr": (
        "train the reference network, from the single-image one",
        "train-refsr --curated data/curated --sisr models/sisr --refsr models/refsr",
    ),
    "evaluate": (
        "measure models on people they were not trained on",
        "evaluate --model models:/refsr@champion --data data/curated",
    ),
    "register": (
        "quality gate, then a version in the registry",
        (
            "register --curated data/curated --sisr models/sisr --refsr models/refsr"
            " --evaluation reports/evaluation --registration reports/registration"
        ),
    ),
}
# What `evaluate` offers beside the names of its paths: any model on any curated set, into a folder
# of its own.
_ALSO = {("evaluate", "refsr"): "--model", ("evaluate", "curated"): "--data"}
_DEFAULTS = {
    ("evaluate", "sisr"): None,
    ("evaluate", "evaluation"): Path("reports/model"),
    ("merge_evaluation", "sisr"): None,
}
_HELP = {
    ("evaluate", "refsr"): (
        "checkpoint, its folder, or a registered version: models:/NAME@ALIAS, models:/NAME/VERSION"
    ),
    ("evaluate", "sisr"): "checkpoint or its folder; without it there is no SISR arm",
    ("merge", "parts"): "folder of `curate --shard`",
    ("merge_evaluation", "parts"): "folder of `evaluate --shard`",
}
_MERGED = {"curate": "merge", "evaluate": "merge-evaluation"}  # stage -> what joins its shards
_RAW_SET = (
    "folder, .tar, .tar.gz or a folder of these; each also as s3://bucket/key "
    "(default: data.raw of params)"
)


def step_command(step: str, text: str, example: str) -> Command:
    """The command of a step: its name in kebab-case; the step's own name is the old one."""
    name = step.replace("_", "-")
    return Command(
        name=name,
        help=text,
        example=example,
        add_options=partial(_add_options, name=step),
        run=_run,
        old_name=step if step != name else "",
        stage=step,
    )


def _add_options(command: Parser, name: str) -> None:
    add_params(command)
    for port, kind in steps.ports(steps.load(name)).items():
        _add_path(command, name, port, kind)
    command.set_defaults(stage=name, options=[])
    if name in ("curate", "merge"):
        text = "vggface2, people (a folder per person) or auto (default: data.layout of params)"
        command.add_argument("--layout", metavar="NAME", help=text)
        command.set_defaults(options=["layout"])
    if name in rehearse.STAGES:
        rehearse.add_options(command)
    if name in ("evaluate", "merge_evaluation"):
        text = "test or validation (default: evaluate.split of params)"
        command.add_argument("--split", choices=["test", "validation"], help=text)
    if name in _MERGED:
        text = f"measure the I-th of N parts only, for `{_MERGED[name]}`"
        command.add_argument("--shard", metavar="I/N", help=text)
        command.set_defaults(options=["shard"])
    if name == "curate":
        command.add_argument(
            "--dry-run",
            action="store_true",
            help="say what would be read, and read no image",
        )
        command.set_defaults(options=["layout", "shard"])


def _add_path(command: Parser, name: str, port: str, kind: str) -> None:
    key, options = (name, port), [f"--{port.replace('_', '-')}"]
    if kind == "inputs":
        command.add_argument(
            port,
            type=path_option,
            nargs="+",
            metavar="PART",
            help=_HELP[key],
        )
        return
    if kind == "raw set":
        command.add_argument(*options, type=path_text, metavar="PATH_OR_URI", help=_RAW_SET)
        return
    options += [_ALSO[key]] if key in _ALSO else []
    needed = {"default": _DEFAULTS[key]} if key in _DEFAULTS else {"required": True}
    text = _HELP.get(key, kind)
    command.add_argument(*options, type=path_option, metavar="PATH", help=text, **needed)


def _run(options: Options) -> None:
    from refsr.params import load_data, load_section

    stage = options.stage
    section = load_section(options.params, steps.SIDE_STEPS.get(stage, stage))
    kinds = steps.ports(steps.load(stage))
    for port, kind in kinds.items():
        # Read here, not written into a command: a shell would take a path apart.
        if kind == "raw set":
            data = load_data(options.params)
            options.layout = options.layout or data.layout
            if getattr(options, port) is None:
                setattr(options, port, data.raw)
    if getattr(options, "split", None):
        section = section.model_copy(update={"split": options.split})
    if rehearse.is_asked(options):
        return rehearse.rehearse(options, section)
    if getattr(options, "dry_run", False):
        return _preview(options.raw, section, options.layout)
    named = {key: value for key in (*kinds, *options.options) if (value := getattr(options, key))}
    steps.checked_outputs(stage, kinds, named)  # before a model is fetched
    with contextlib.ExitStack() as stack:
        paths = {key: _fetched(value, stack) for key, value in named.items()}
        metrics = steps.run(stage, section, tracking_uri=tracking_uri(), **paths)
    written = [str(named[port]) for port, kind in kinds.items() if kind.endswith("output")]
    _print_metrics(stage, metrics, ", ".join(written))
    return None


def _print_metrics(stage: str, metrics: dict[str, float], written: str) -> None:
    if stage in ("curate", "merge"):  # a row for each reason why images were left out
        print("\n".join(f"{key:<28} {value:>12,.6g}" for key, value in metrics.items()))
        print(f"{stage}: -> {written}")
        return
    shown = ", ".join(f"{key} {value:.6g}" for key, value in list(metrics.items())[:6])
    print(f"{stage}: {shown}{', ...' if len(metrics) > 6 else ''} -> {written}")


def _preview(raw: str, params: "Section", layout: str) -> None:
    from refsr.curation.preview import preview

    for key, value in preview(cast("Curate", params), raw, layout).items():
        print(f"{key:<28} {value:>14,}" if isinstance(value, int) else f"{key:<28} {value}")


def _fetched(path: Any, stack: contextlib.ExitStack) -> Any:
    """`path` itself; of a registered version its checkpoint, until the stack is closed."""
    if not str(path).startswith("models:"):
        return path
    from refsr.integrations.registry import checkpoint_of

    return stack.enter_context(checkpoint_of(tracking_uri(), str(path)))


COMMANDS = tuple(
    step_command(name, *_TEXTS.get(name, (f"stage {name}", f"{name.replace('_', '-')} --help")))
    for name in steps.STEPS
)
