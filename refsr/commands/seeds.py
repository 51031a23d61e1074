"""The command `seeds`: how much a result depends on the seed of the training."""

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refsr import steps
from refsr.commands.command import Command, Options, Parser, add_params
from refsr.io.files import file_hash
from refsr.io.paths import path_option
from refsr.tracker import tracking_uri

if TYPE_CHECKING:
    from refsr.config import Section

_STAGES = ("train_sisr", "train_refsr", "evaluate")
_MADE_BY = "seed.json"  # what a seed's folder was made by


def _add_options(parser: Parser) -> None:
    add_params(parser)
    parser.add_argument("count", type=_count, metavar="N", help="trainings, 2 or more")
    paths = {
        "--curated": "data/curated",
        "--validation": "reports/validation",
        "--output": "reports/seeds",
    }
    for name, default in paths.items():
        text = f"(default: {default})"
        parser.add_argument(
            name, type=path_option, default=Path(default), metavar="PATH", help=text
        )
    text = "people to measure: validation or test (default: validation)"
    parser.add_argument("--split", choices=["validation", "test"], default="validation", help=text)


def _count(text: str) -> int:
    if text.isascii() and text.isdecimal() and 2 <= int(text) <= 1000:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text}: a number from 2 to 1000 is expected")


def seeds(options: Options) -> None:
    """Train and evaluate with N seeds, and print the mean, the deviation and an interval of both.

    A seed whose folder was made by the same parameters and data is not trained again.
    """
    from refsr.evaluation.seeds import combine
    from refsr.io.output import Output, check_apart
    from refsr.reporting.summary import table_text

    output = Output("seeds", "--output", options.output / "combined")
    inputs = {"--curated": options.curated, "--validation": options.validation}
    check_apart({"--output": output}, inputs)
    output.check()
    metrics = combine(list(_evaluations(options)))
    text = table_text(metrics)
    with output.open(""), tempfile.TemporaryDirectory(prefix="refsr-seeds-") as made:
        (Path(made) / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        (Path(made) / "table.txt").write_text(text, encoding="utf-8")
        output.put_in_place(Path(made))
    print(text, end="")


def _evaluations(options: Options) -> Iterator[dict[str, Any]]:
    """The metrics of each seed."""
    from refsr.io import own_files
    from refsr.io.output import check_file
    from refsr.params import load_section

    sections = {stage: load_section(options.params, stage) for stage in _STAGES}
    sections["evaluate"] = sections["evaluate"].model_copy(update={"split": options.split})
    first = int(sections["train_sisr"].model_dump()["seed"])
    seeds = range(first, first + options.count)
    for seed in seeds:
        check_file(options.output / f"seed-{seed}" / _MADE_BY, [], _is_record)
    for seed in seeds:
        own = {name: _seeded(section, seed) for name, section in sections.items()}
        folder = options.output / f"seed-{seed}"
        made_by = _made_by(own, options.curated)
        record = folder / _MADE_BY
        if not (record.is_file() and record.read_text() == made_by):
            _run(own, options, folder)
            record.write_text(made_by)
        yield own_files.read_json(folder / "evaluation" / "metrics.json", "evaluate")


def _is_record(path: Path) -> bool:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and set(_STAGES) <= set(document)


def _seeded(section: "Section", seed: int) -> "Section":
    """The section of a training with this seed; those of other stages as they are."""
    from refsr.config import Training

    is_training = isinstance(section, Training)
    return section.model_copy(update={"seed": seed}) if is_training else section


def _made_by(sections: Mapping[str, "Section"], curated: Path) -> str:
    manifest = curated / "manifest.parquet"
    digest = file_hash(manifest) if manifest.is_file() else ""
    facts = {name: section.model_dump(mode="json") for name, section in sections.items()}
    return json.dumps(facts | {"manifest": digest}, indent=2) + "\n"


def _run(sections: Mapping[str, "Section"], options: Options, folder: Path) -> None:
    """Train both networks and evaluate them, into the folder of a seed."""
    uri, curated = tracking_uri(), options.curated
    sisr, refsr = folder / "sisr", folder / "refsr"
    paths: dict[str, dict[str, Any]] = {
        "train_sisr": {"validation": options.validation, "sisr": sisr},
        "train_refsr": {"sisr": sisr, "refsr": refsr},
        "evaluate": {"sisr": sisr, "refsr": refsr, "evaluation": folder / "evaluation"},
    }
    for stage in _STAGES:
        steps.run(stage, sections[stage], tracking_uri=uri, curated=curated, **paths[stage])


COMMAND = Command(
    name="seeds",
    help="train with several seeds: mean, deviation, and an interval of people and seeds",
    example="seeds 3 --curated data/curated",
    add_options=_add_options,
    run=seeds,
)
