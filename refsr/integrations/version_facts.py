"""The few facts by which people choose between registered versions."""

import json
import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from refsr.errors import RefsrError
from refsr.integrations.versions import Versions

GAIN, COMPARED = "gain", "gate.champion"  # tags of a version
FIRST = "none yet"  # COMPARED of the first version
OVER = "right_minus_wrong"  # a version's gain: the right reference rather than a wrong one
UNKNOWN = "unknown"
_logger = logging.getLogger(__name__)
Gain = dict[str, dict[str, float]]  # metric -> {mean, low, high}


class VersionFacts(NamedTuple):
    """One registered version. A fact that the registry does not know is "unknown", or {}."""

    version: str
    aliases: list[str]
    champion: str  # that the gate compared it with when it was registered
    gain: Gain
    data: str  # revision of the curated set
    commit: str
    created: datetime
    run_id: str

    @property
    def gate(self) -> str:
        """The gate's verdict, in words. `register` makes no version that fails."""
        if self.champion in (UNKNOWN, FIRST):
            return UNKNOWN if self.champion == UNKNOWN else "passed as the first"
        other, _, why = self.champion.partition(", ")
        is_compared = not why.startswith("not comparable")
        return f"passed against {other}" if is_compared else f"passed, {other} not comparable"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        created = self.created.isoformat(timespec="seconds")
        return self._asdict() | {"gate": self.gate, "created": created, "age": age(self.created)}


def all_versions(registry: Versions) -> Iterator[VersionFacts]:
    """Every version of a model, newest first."""
    aliases = registry.aliases()
    for each in registry.entries():
        yield _facts(registry, each, aliases)


def one_version(registry: Versions, version: str) -> VersionFacts:
    """One version, given as a number or an alias."""
    number = registry.resolve(version)
    return _facts(registry, registry.entry(number), registry.aliases())


def gain_of(metrics: Mapping[str, Any]) -> Gain:
    """The gain that a version's metrics.json says."""
    row = metrics.get("difference", {}).get(OVER, {})
    ends = ("mean", "low", "high")
    return {metric: {end: float(interval[end]) for end in ends} for metric, interval in row.items()}


def gain_tag(metrics: Mapping[str, Any]) -> dict[str, str]:
    """The gain as a tag of a version, so that a list of versions downloads no file."""
    gain = gain_of(metrics)
    short = {key: {end: round(x, 6) for end, x in value.items()} for key, value in gain.items()}
    return {GAIN: json.dumps(short)}


def _facts(registry: Versions, entry: Any, aliases: Mapping[str, str]) -> VersionFacts:
    version, tags = str(entry.version), dict(entry.tags)
    return VersionFacts(
        version,
        sorted(alias for alias, number in aliases.items() if number == version),
        tags.get(COMPARED, UNKNOWN),
        _gain(registry, version, tags),
        tags.get("data", UNKNOWN),
        tags.get("git", UNKNOWN),
        datetime.fromtimestamp(entry.creation_timestamp / 1000, UTC),
        str(entry.run_id),
    )


def _gain(registry: Versions, version: str, tags: Mapping[str, str]) -> Gain:
    """By the tag; versions of before have it in their file alone."""
    try:
        if GAIN in tags:
            return gain_of({"difference": {OVER: json.loads(tags[GAIN])}})
        return gain_of(registry.metrics(version))
    except (RefsrError, ValueError, TypeError, KeyError, AttributeError) as error:
        _logger.warning("version %s: its gain is unknown: %s", version, error)
        return {}


def age(created: datetime) -> str:
    """How long ago a moment was, in its greatest unit."""
    seconds = max(0.0, (datetime.now(UTC) - created).total_seconds())
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length)
        if count:
            return f"{count} {unit}{'s' * (count > 1)}"
    return "now"
