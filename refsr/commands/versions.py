"""Commands that look at registered versions."""

import json
from typing import TYPE_CHECKING

from refsr.commands.command import Command, Options, Parser, add_params
from refsr.redaction import hide
from refsr.tracker import tracking_uri

if TYPE_CHECKING:
    from refsr.integrations.version_facts import Gain, VersionFacts
    from refsr.integrations.versions import Versions

_SHOWN = 12  # digits of a revision
_HEADER = ("version", "aliases", "gate", "identity gain", "PSNR gain dB", "data", "date", "age")


def _versions_options(parser: Parser) -> None:
    add_params(parser, "params file: name of the model")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")


def versions(options: Options) -> None:
    """Print the registered versions, newest first."""
    from refsr.integrations.version_facts import all_versions
    from refsr.reporting.terminal import aligned

    registry = registry_of(options)
    listed = list(all_versions(registry))
    if options.json:
        print(json.dumps([each.to_dict() for each in listed], indent=2))
        return
    if not listed:
        where = f"model {registry.name!r} in {hide(registry.uri)}"
        print(f"{where} has no version yet: the stage `register` makes one")
        return
    print(aligned([_HEADER, *map(_row, listed)]))
    print("\ngain: right reference minus a wrong one, mean [95% interval over identities]")


def show_version(options: Options) -> None:
    """Print what the registry knows of one version, and its model card."""
    from refsr.integrations.version_facts import one_version
    from refsr.reporting.terminal import aligned, plain

    registry = registry_of(options)
    facts = one_version(registry, options.version)
    card = registry.card(facts.version)
    if options.markdown:
        print(card, end="")
        return
    print(aligned(_lines(registry, facts)))
    print(f"\n{plain(card)}")


def registry_of(options: Options) -> "Versions":
    """The registered model that the params file names, in the present store."""
    from refsr.integrations.versions import Versions
    from refsr.params import load_section

    name = load_section(options.params, "register").model_dump()["name"]
    return Versions(tracking_uri(), str(name))


def _row(facts: "VersionFacts") -> list[str]:
    from refsr.integrations.version_facts import age

    return [
        facts.version,
        ", ".join(facts.aliases),
        facts.gate,
        _interval(facts.gain, "identity"),
        _interval(facts.gain, "psnr"),
        facts.data.removeprefix("manifest-")[:_SHOWN],
        f"{facts.created:%Y-%m-%d}",
        age(facts.created),
    ]


def _interval(gain: "Gain", metric: str) -> str:
    from refsr.evaluation.metrics import METRICS
    from refsr.integrations.version_facts import UNKNOWN
    from refsr.reporting.summary import cell

    return cell(gain[metric], METRICS[metric].digits, "+") if metric in gain else UNKNOWN


def _lines(registry: "Versions", facts: "VersionFacts") -> list[list[str]]:
    from refsr.integrations.version_facts import age

    gain = f"identity {_interval(facts.gain, 'identity')}, PSNR {_interval(facts.gain, 'psnr')} dB"
    rows = {
        "version": f"{facts.version} of {registry.name} in {hide(registry.uri)}",
        "aliases": ", ".join(facts.aliases) or "none",
        "registered": f"{facts.created:%Y-%m-%d %H:%M} UTC, age: {age(facts.created)}",
        "gate": facts.gate,
        "gain": f"{gain}: right minus wrong reference",
        "data": facts.data,
        "code": facts.commit,
        "MLflow run": facts.run_id,
        "to load": f'refsr.load("models:/{registry.name}/{facts.version}")',
    }
    return [[key, value] for key, value in rows.items()]


COMMANDS = (
    Command(
        name="versions",
        help="the registered versions: aliases, gate, gain, data revision, age",
        example="versions --json",
        add_options=_versions_options,
        run=versions,
    ),
)
