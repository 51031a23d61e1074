"""The model registry: the versions of one registered model, and its aliases.

`candidate` is the version registered last, `champion` the version in use. The tag
`former_champions` of the registered model lists the champions before, newest last. Only the alias
decides which version is champion, so a promotion that is killed between the two writes does no
harm. The champion changes under a lock, and only if it is still the version of the comparison.
"""

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from refsr.errors import RefsrError
from refsr.integrations.mlflow_lock import Held, locked
from refsr.integrations.mlflow_store import explained, quiet
from refsr.integrations.served_model import DATA, log_model
from refsr.integrations.tracking import MlflowTracker
from refsr.integrations.versions import (
    CANDIDATE,
    CARD,
    CHAMPION,
    CHECKPOINT,
    FORMER,
    METRICS,
    REGISTRATION,
    Versions,
)
from refsr.io.own_files import reading
from refsr.redaction import hide

__all__ = [
    "CANDIDATE",
    "CARD",
    "CHAMPION",
    "CHECKPOINT",
    "MADE_OF",
    "METRICS",
    "REGISTRATION",
    "ChampionChangedError",
    "Registry",
    "checkpoint_of",
    "registered_name",
]

MADE_OF = ("checkpoint", "evaluation", "test_set")  # tags: equal in these is the same version
DESCRIPTION = "Reference-based face super-resolution"


class ChampionChangedError(RefsrError):
    """The champion is no longer the version of the comparison."""


class Registry(Versions):
    """The versions of a model in one store, and the changes to them.

    Every method raises RefsrError if the store fails, or if the given version does not exist.
    """

    def log(self, checkpoint: Path, metrics: Path, example: Mapping[str, np.ndarray]) -> Any:
        """Log checkpoint, metrics and serving code as a model of the open run.

        Args:
            checkpoint: The file that is stored as CHECKPOINT.
            metrics: The file that is stored as METRICS.
            example: An input, {"lr", "ref"} of (N, h, w, 3) uint8.

        Returns:
            MLflow's description of the model.
        """
        files = {CHECKPOINT: checkpoint, METRICS: metrics}
        with explained(self.uri), quiet():
            return log_model(self._mlflow, self.name, files, example)

    def add(
        self,
        tracker: MlflowTracker,
        model: Any,
        tags: Mapping[str, str],
        expected: str | None,
    ) -> str:
        """Register a logged model as a version, and make it the candidate.

        The first version becomes champion too. If another process has registered a version with
        the same tags MADE_OF, that version is used.

        Args:
            tracker: The open run.
            model: What `log` returned.
            tags: The tags of the version.
            expected: The champion that the gate compared with; None if there was none.

        Returns:
            The version.

        Raises:
            ChampionChangedError: Another version is champion now. Nothing is changed then.
        """
        return self._add(tracker, model.model_uri, tags, expected, model.model_id)

    def adopt(
        self,
        tracker: MlflowTracker,
        model: Path,
        tags: Mapping[str, str],
        expected: str | None,
    ) -> str:
        """Register a model that `download` copied from another store, byte for byte.

        Args:
            tracker: The open run.
            model: The folder of the model; its MLmodel is changed.
            tags: The tags of the version.
            expected: The champion that the gate compared with; None if there was none.

        Returns:
            The version.

        Raises:
            ChampionChangedError: Another version is champion now. Nothing is changed then.
        """
        description = model / "MLmodel"
        with reading(description, "register"):
            document = yaml.safe_load(description.read_text(encoding="utf-8"))
            document |= {"run_id": tracker.run_id}
        document.pop("model_id", None)  # of the other store
        description.write_text(yaml.safe_dump(document), encoding="utf-8")
        with explained(self.uri), quiet():
            tracker.artifact(model, DATA)
            root = self._client.get_run(tracker.run_id).info.artifact_uri
        return self._add(tracker, f"{root}/{DATA}", tags, expected)

    def _add(
        self,
        tracker: MlflowTracker,
        model: str,
        tags: Mapping[str, str],
        expected: str | None,
        model_id: str | None = None,
    ) -> str:
        made_of = {key: tags[key] for key in MADE_OF if key in tags}
        masked = {key: hide(value) for key, value in tags.items()}
        with explained(self.uri), quiet(), locked(self._client, self.name) as held:
            self._require_champion(expected)
            version = self.find(**made_of) if len(made_of) == len(MADE_OF) else None
            held.require()
            if self._model() is None:
                self._client.create_registered_model(self.name, description=DESCRIPTION)
            if version is None:
                create = self._client.create_model_version
                created = create(self.name, model, tracker.run_id, masked, model_id=model_id)
                version = str(created.version)
            self._set_candidate(version, held)
        return version

    def describe(self, version: str, registration: Path, text: Callable[[Any], str]) -> None:
        """Give a version its description, and its run the files of the registration.

        What is there stays as it is; a killed registration may have left out either.

        Args:
            version: A number.
            registration: The folder that becomes REGISTRATION of the version's run.
            text: Makes the description, given that run.
        """
        entry = self.entry(version)
        with explained(self.uri), quiet():
            files = self._client.list_artifacts(entry.run_id, REGISTRATION)
            if not files:
                self._client.log_artifacts(entry.run_id, str(registration), REGISTRATION)
            if not entry.description:
                description = text(self._client.get_run(entry.run_id))
                self._client.update_model_version(self.name, version, description)

    def set_tags(self, version: str, tags: Mapping[str, str]) -> None:
        """Set tags of a version; passwords are masked."""
        with explained(self.uri):
            for key, value in tags.items():
                self._client.set_model_version_tag(self.name, version, key, hide(value))

    def make_candidate(self, version: str) -> None:
        """Set the alias `candidate`; if there is no champion yet, set that alias too."""
        with explained(self.uri), locked(self._client, self.name) as held:
            self._set_candidate(version, held)

    def _set_candidate(self, version: str, held: Held) -> None:
        held.require()
        self._client.set_registered_model_alias(self.name, CANDIDATE, version)
        if self.champion() is None:
            held.require()
            self._client.set_registered_model_alias(self.name, CHAMPION, version)

    def make_champion(self, version: str, expected: str | None) -> None:
        """Set the alias `champion`, and record the champion before.

        Args:
            version: The new champion, which passed the gate against `expected`.
            expected: The champion that the gate compared with; None if there was none.

        Raises:
            ChampionChangedError: Another version is champion now. Nothing is changed then.
        """
        with explained(self.uri), locked(self._client, self.name) as held:
            self._require_champion(expected)
            if expected == version:
                return
            former = self._former()
            # A killed promotion may have recorded it already.
            if expected is not None and former[-1:] != [expected]:
                held.require()
                self._set_former([*former, expected])
            held.require()
            self._client.set_registered_model_alias(self.name, CHAMPION, version)

    def _require_champion(self, expected: str | None) -> None:
        champion = self.champion()
        if champion == expected:
            return
        before, now = (f"version {each}" if each else "none" for each in (expected, champion))
        raise ChampionChangedError(
            f"{self._title()}: the champion changed from {before} to {now} meanwhile, and nothing "
            "else was changed; run the command again, which compares with the present champion"
        )

    def rollback(self) -> tuple[str, str]:
        """Make the former champion champion again.

        Returns:
            The version that was champion, and the version that is champion now.

        Raises:
            RefsrError: There was no champion before, or the champion changes meanwhile.
        """
        champion = self.resolve(CHAMPION)
        with explained(self.uri), locked(self._client, self.name) as held:
            self._require_champion(champion)
            return champion, self._go_back(champion, held)

    def _go_back(self, champion: str, held: Held) -> str:
        existing = self.versions()
        former = [each for each in self._former() if each in existing]
        while former and former[-1] == champion:  # left by a killed promotion
            former.pop()
        if not former:
            first = f"version {champion} is the first champion"
            raise RefsrError(f"{self._title()}: {first}, there is none to go back to")
        held.require()
        self._client.set_registered_model_alias(self.name, CHAMPION, former[-1])
        held.require()
        self._set_former(former[:-1])
        return former[-1]

    def _set_former(self, former: list[str]) -> None:
        self._client.set_registered_model_tag(self.name, FORMER, json.dumps(former))


@contextlib.contextmanager
def checkpoint_of(tracking_uri: str, model: str) -> Iterator[Path]:
    """The checkpoint file of a model, while the block runs.

    Args:
        tracking_uri: The store.
        model: The path of a file, "models:/NAME@ALIAS" or "models:/NAME/VERSION".

    Raises:
        RefsrError: There is no such model, or its name is incomplete.
    """
    if not model.startswith("models:/"):
        yield Path(model)
        return
    name, version = registered_name(model)
    registry = Registry(tracking_uri, name)
    with tempfile.TemporaryDirectory() as folder:
        yield registry.fetch(version, CHECKPOINT, Path(folder))


def registered_name(model: str) -> tuple[str, str]:
    """Name and version, a number or an alias, of "models:/NAME@ALIAS" or "models:/NAME/VERSION".

    Raises RefsrError where either is missing.
    """
    name, _, version = model.removeprefix("models:/").replace("@", "/").partition("/")
    if not name or not version:
        forms = "models:/NAME@ALIAS or models:/NAME/VERSION"
        raise RefsrError(f"{model}: write {forms}, for example models:/refsr@champion")
    return name, version
