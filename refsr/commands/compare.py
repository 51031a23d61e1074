"""The command `compare`: two models on the same held-out people."""

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from refsr.commands.command import Command, Options, Parser, add_params
from refsr.io.paths import path_option, path_text
from refsr.tracker import tracking_uri

if TYPE_CHECKING:
    from refsr.config import Evaluate
    from refsr.dataset.curated import Curated
    from refsr.evaluation.protocol import Bench

_logger = logging.getLogger(__name__)
# What a model has to agree with, by the key of its configuration.
_OTHERS = {"model": "what is compared", "hr_size": "the images of {}"}
_OUTPUT = Path("reports/comparison.html")


class _Model(NamedTuple):
    """One of the two: its checkpoint, and what is known of it."""

    checkpoint: Path
    facts: dict[str, str]


def _add_options(parser: Parser) -> None:
    text = "version, alias, models:/NAME/VERSION, checkpoint or its folder"
    parser.add_argument("a", type=path_text, metavar="A", help=text)
    parser.add_argument("b", type=path_text, metavar="B", help="the same: what is compared with A")
    data = Path("data/curated")
    parser.add_argument(
        "--data", type=path_option, default=data, metavar="PATH", help=f"(default: {data})"
    )
    text = "people to measure: validation or test (default: validation)"
    parser.add_argument("--split", choices=["validation", "test"], default="validation", help=text)
    text = f"page to write (default: {_OUTPUT})"
    parser.add_argument("-o", "--output", type=path_option, default=_OUTPUT, help=text)
    parser.add_argument("--json", action="store_true", help="all numbers, as JSON")
    add_params(parser, "params file: name of the model, and the section evaluate")


def compare(options: Options) -> None:
    """Measure both models, print the paired differences and write the page."""
    from refsr.dataset.curated import Curated
    from refsr.io import marker
    from refsr.reporting import comparison, page

    params = _section(options)
    with contextlib.ExitStack() as stack:
        models = {
            name: stack.enter_context(_model(options, given))
            for name, given in (("A", options.a), ("B", options.b))
        }
        inputs = {"--data": options.data} | {key: m.checkpoint for key, m in models.items()}
        page.check(options.output, inputs.items())
        marker.require_whole(options.data)
        faces = Curated(options.data)
        bench = _bench(params, faces, models)
        _record(params, bench, models)
        compared = _compared(params, bench, models)
    page.save(comparison.render(compared), options.output)
    if options.json:
        facts = {"models": compared.models, "notes": compared.notes}
        print(json.dumps(facts | compared.result, indent=2))
        return
    print(comparison.table_text(compared))
    print(f"page  {options.output}")


def _section(options: Options) -> "Evaluate":
    from refsr.config import Evaluate
    from refsr.params import load_section

    section = load_section(options.params, "evaluate") if options.params.exists() else Evaluate()
    return Evaluate.model_validate(section.model_dump() | {"split": options.split})


@contextlib.contextmanager
def _model(options: Options, given: str) -> Iterator[_Model]:
    """A model as it was given, while the block runs."""
    if _is_path(given):
        yield _Model(_checkpoint(Path(given)), {"model": given})
        return
    with _registered(options, given) as model:
        yield model


def _is_path(given: str) -> bool:
    """Whether a checkpoint is meant, not a version: a number always is a version."""
    if given.startswith("models:/") or given.isdecimal():
        return False
    return "/" in given or given.endswith(".safetensors") or Path(given).exists()


def _checkpoint(path: Path) -> Path:
    from refsr.io import marker
    from refsr.steps.evaluate import checkpoint

    file = checkpoint(path)
    marker.require_whole(file)
    return file


@contextlib.contextmanager
def _registered(options: Options, given: str) -> Iterator[_Model]:
    from refsr.commands.versions import registry_of
    from refsr.integrations.registry import checkpoint_of
    from refsr.integrations.version_facts import one_version
    from refsr.integrations.versions import Versions

    if given.startswith("models:/"):
        name, _, version = given.removeprefix("models:/").replace("@", "/").partition("/")
        registry = Versions(tracking_uri(), name)
    else:
        registry, version = registry_of(options), given
    facts = one_version(registry, version)
    shown = {
        "model": f"version {facts.version} of {registry.name}",
        "alias": ", ".join(facts.aliases),
        "registered": f"{facts.created:%Y-%m-%d}",
        "gate": facts.gate,
        "data": facts.data,
        "commit": facts.commit,
    }
    with checkpoint_of(registry.uri, f"models:/{registry.name}/{facts.version}") as file:
        yield _Model(file, {key: text for key, text in shown.items() if text})


def _bench(params: "Evaluate", faces: "Curated", models: Mapping[str, _Model]) -> "Bench":
    from refsr.evaluation.networks import load_models
    from refsr.evaluation.pairing import pairs
    from refsr.evaluation.protocol import Bench
    from refsr.evaluation.scoring import Scorer

    _require_alike(faces, models)
    test = pairs(faces.table, params.seed, params.split)
    paths = {name: model.checkpoint for name, model in models.items()}
    # The evaluation's own model has more conditions; here both have the same.
    networks = load_models({"refsr": paths["A"], **paths}, faces.hr_size)
    return Bench(faces, networks, Scorer(networks.device), test)


def _require_alike(faces: "Curated", models: Mapping[str, _Model]) -> None:
    from refsr.errors import RefsrError
    from refsr.models.checkpoint import read_checkpoint

    configs = {name: read_checkpoint(model.checkpoint)[0] for name, model in models.items()}
    expected = {"model": "refsr", "hr_size": faces.hr_size, "scale": configs["A"].get("scale")}
    for name, config in configs.items():
        for key, value in expected.items():
            if config.get(key) != value:
                title = f"{name}, {models[name].facts['model']}"
                other = "A" if key == "scale" else _OTHERS[key].format(faces.folder)
                raise RefsrError(
                    f"{title}: its {key} is {config.get(key)}, that of {other} is {value}; "
                    "compare reference models of one scale and size"
                )


def _record(params: "Evaluate", bench: "Bench", models: Mapping[str, _Model]) -> None:
    """Test people are not looked at without a record of it."""
    if params.split != "test":
        return
    from refsr.evaluation.openings import record
    from refsr.integrations.tracking import start_run

    for model in models.values():
        with start_run(tracking_uri(), "compare", params) as tracker:
            record(tracker, bench.curated, bench.models.scale, model.checkpoint)


def _compared(params: "Evaluate", bench: "Bench", models: Mapping[str, _Model]) -> Any:
    from refsr.evaluation import comparison
    from refsr.evaluation.numbers import data_of
    from refsr.reporting.comparison import Compared, chosen_strips

    table, scale = comparison.measured(bench, params.batch_size)
    result = comparison.summary(table, params.bootstrap, params.seed)
    return Compared(
        {name: model.facts for name, model in models.items()},
        {"data": data_of(params, bench), "identity_scale": scale} | result,
        table,
        chosen_strips(bench, table, params.strips),
        list(_notes(bench, models)),
    )


def _notes(bench: "Bench", models: Mapping[str, _Model]) -> Iterator[str]:
    from refsr.integrations.version_facts import UNKNOWN
    from refsr.integrations.versioning import data_revision

    revision = data_revision(bench.curated.folder)
    for name, model in models.items():
        trained = model.facts.get("data", UNKNOWN)
        if trained not in (UNKNOWN, revision):
            yield (
                f"{name} was trained on data revision {trained}, and these people are of "
                f"{revision}: some of them may have been in its training"
            )


COMMAND = Command(
    name="compare",
    help="two models on the same held-out people: paired differences and a page",
    example="compare champion candidate --data data/curated",
    add_options=_add_options,
    run=compare,
)
