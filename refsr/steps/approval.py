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
    """Promote the version that was approved last, unless that was done.

    Its evaluation must pass the gate of `params`.

    Returns:
        The version and its approval, "approved by NAME at TIME"; None if there is nothing to do.

    Raises:
        RefsrError: It does not pass, or the store fails.
    """
    registry = Registry(tracking_uri, params.name)
    approved = _newest(registry)
    if approved is None:
        return None
    version, tags = approved
    promote(tracking_uri, params, version)
    registry.set_tags(version, {PROMOTED: _approval(tags)})
    return version, _approval(tags)


def _newest(registry: Registry) -> tuple[str, dict[str, str]] | None:
    """The version that was approved last, and its tags; None if its approval is used."""
    approved = {}
    for entry in registry.entries():
        version, tags = str(entry.version), dict(entry.tags)
        if not tags.get(BY):
            continue
        if AT not in tags:  # a tag set in MLflow's pages: the time when it was seen first
            tags[AT] = _now()
            registry.set_tags(version, {AT: tags[AT]})
        approved[version] = tags
    last = max(approved, key=lambda version: approved[version][AT], default="")
    is_used = last and approved[last].get(PROMOTED) == _approval(approved[last])
    return (last, approved[last]) if last and not is_used else None


def _approval(tags: dict[str, str]) -> str:
    return f"approved by {tags[BY]} at {tags[AT]}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
