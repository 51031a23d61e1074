"""A promotion after a person's approval: who approved a version, and when, are tags of it.

A person sets them by `approve`, or the first one in MLflow's pages. `promote --approved`, which a
CronJob runs, promotes that version once; after a rollback it needs a new approval.
"""

from datetime import UTC, datetime

from refsr.config import Register
from refsr.errors import RefsrError
from refsr.integrations.registry import Registry
from refsr.steps.register import promote

BY, AT = "approved.by", "approved.at"
PROMOTED = "approved.promoted"  # the approval that a promotion has used


def approve(tracking_uri: str, name: str, version: str, person: str) -> str:
    """Record that a person approves a version, a number or an alias; returns the number.

    Raises:
        RefsrError: There is no such version, no name of a person, or the store refuses.
    """
    if not person.strip():
        raise RefsrError("an approval needs the name of a person: pass --by NAME")
    registry = Registry(tracking_uri, name)
    version = registry.resolve(version)
    registry.set_tags(version, {BY: person, AT: _now()})
    return version


def promote_approved(tracking_uri: str, params: Register) -> tuple[str, str] | None:
    """Promote the newest version with an unused approval, if its evaluation passes the gate.

    Returns:
        The version and its approval, "approved by NAME at TIME"; None if there is none.

    Raises:
        RefsrError: It does not pass, or the store fails.
    """
    registry = Registry(tracking_uri, params.name)
    for entry in registry.entries():
        version, tags = str(entry.version), dict(entry.tags)
        if not tags.get(BY) or tags.get(PROMOTED) == _approval(tags):
            continue
        if AT not in tags:  # a tag set in MLflow's pages: the time when it was seen first
            tags[AT] = _now()
            registry.set_tags(version, {AT: tags[AT]})
        promote(tracking_uri, params, version)
        registry.set_tags(version, {PROMOTED: _approval(tags)})
        return version, _approval(tags)
    return None


def _approval(tags: dict[str, str]) -> str:
    return f"approved by {tags[BY]} at {tags.get(AT, 'an unknown time')}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
