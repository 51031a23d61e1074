"""A registered version from one MLflow store to another."""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from refsr.config import Register
from refsr.errors import RefsrError
from refsr.evaluation.gate import Verdict
from refsr.integrations.mlflow_store import open_store, require_store
from refsr.integrations.model_card import description
from refsr.integrations.registry import CARD, MADE_OF, Registry
from refsr.integrations.same_store import is_same_store
from refsr.integrations.tracking import MlflowTracker, start_run
from refsr.integrations.version_facts import COMPARED
from refsr.io.own_files import read_text
from refsr.redaction import hide
from refsr.steps.register import against_champion, refusal

ORIGIN = "transferred_from"  # tag of what was transferred
MAX_TAG = 5000  # characters of a tag


class Package(NamedTuple):
    """A version outside of any store."""

    origin: str  # where it was taken from, without a password
    model: Path  # folder: all that the version carries
    registration: Path  # folder: what `register` left with the run, its model card among it
    metrics: dict[str, Any]  # the evaluation it was registered with
    tags: dict[str, str]
    run: Any  # the MLflow run it belongs to


def transfer(
    source: str,
    target: str,
    params: Register,
    version: str,
    name: str = "",
) -> tuple[str, str]:
    """Copy a version, a number or an alias, of the model `params.name` to `target`.

    There it is called `name`, or the same. There it becomes the candidate if it passes the gate of
    `params` against the champion of `target`; the first is champion too. An SQLite file that is not
    there is made. What `target` has already is not copied again. Returns the numbers there and in
    `source`.

    Raises:
        RefsrError: Both are one store, one cannot be reached, there is no such version, the gate
            fails, or `target` keeps something else by that name.
    """
    if is_same_store(source, target):
        raise RefsrError(f"--to {hide(target)}: the same store as --from; name another")
    with tempfile.TemporaryDirectory() as folder:
        # MLflow has one store at a time in a process:
        # the first is done with before the second is opened.
        number, package = _take(Registry(source, params.name), version, Path(folder))
        require_store(target)
        open_store(target)  # which makes a file that is not there yet
        there = Registry(target, name or params.name)
        _require_of_this_project(there)
        copied = there.find(**{key: package.tags[key] for key in MADE_OF})
        champion = there.champion()
        verdict = against_champion(
            there,
            package.metrics,
            package.tags["test_set"],
            params.gate,
            copied,
            champion,
        )
        if not verdict.passed:
            raise RefsrError(
                refusal(f"version {number} of {params.name!r} is not transferred", verdict),
            )
        if copied is None:
            with start_run(target, "transfer", params) as tracker:
                copied = _put(there, tracker, package, champion, verdict)
                tracker.metrics({"version": float(copied)})
        else:
            there.make_candidate(copied)
    return copied, number


def _take(registry: Registry, version: str, folder: Path) -> tuple[str, Package]:
    number = registry.resolve(version)
    tags = registry.tags(number)
    if missing := [key for key in MADE_OF if key not in tags]:
        raise RefsrError(
            f"version {number} of {registry.name!r} has no tag {missing[0]!r}: "
            "`register` did not make it"
        )
    run, model, registration = registry.download(number, folder)
    origin = f"{hide(registry.uri)} models:/{registry.name}/{number}"
    return number, Package(origin, model, registration, registry.metrics(number), tags, run)


def _put(
    registry: Registry,
    tracker: MlflowTracker,
    package: Package,
    champion: str | None,
    verdict: Verdict,
) -> str:
    """The new version; its run has what the run it comes from had, and says which that was."""
    origin = {ORIGIN: package.origin, f"{ORIGIN}.run": package.run.info.run_id}
    own = {
        key: value for key, value in package.run.data.tags.items() if not key.startswith("mlflow.")
    }
    tracker.tags(origin | {f"source.{key}": value[:MAX_TAG] for key, value in own.items()})
    tracker.params(package.run.data.params)
    tracker.metrics(package.run.data.metrics)
    tags = package.tags | {ORIGIN: package.origin, COMPARED: verdict.champion}
    version = registry.adopt(tracker, package.model, tags, champion)
    card = package.registration / CARD
    note = (
        f"\n\nTransferred from {package.origin}; version {version} here. "
        "Runs it names are those of that store.\n\n"
    )
    title, _, rest = read_text(card, "register").partition("\n")
    card.write_text(title + note + rest.lstrip("\n"), encoding="utf-8")
    tracker.artifact(package.registration, package.registration.name)
    files = [path.name for path in package.registration.iterdir()]
    facts = {
        "name": registry.name,
        "version": version,
        "lineage": tags,
        "metrics": package.metrics,
        "verdict": verdict,
    }
    registry.describe(
        version,
        package.registration,
        lambda run: description(facts, run, package.registration.name, files),
    )
    return version


def _require_of_this_project(registry: Registry) -> None:
    for version in registry.versions():
        if "checkpoint" not in registry.tags(version):
            raise RefsrError(
                f"model {registry.name!r} in {hide(registry.uri)}: its version {version} is not of "
                "this project; name another with --as NAME"
            )
