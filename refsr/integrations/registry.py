"""The model registry: the versions of one registered model, and its aliases `candidate` and `champion`.

`candidate` is the version registered last, `champion` the one in use. The champions before it are kept, newest last, in
the registered model's tag `former_champions`; the alias alone says who is champion, so a promotion killed between the
two writes does no harm. The champion changes under a lock, and only if it is still the one that was compared with.
"""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from refsr.errors import RefsrError
from refsr.integrations.local_store import require_existing
from refsr.integrations.mlflow_lock import Held, locked
from refsr.integrations.served_model import DATA, log_model
from refsr.integrations.tracking import MlflowTracker, explained, open_store, quiet
from refsr.integrations.versioning import file_hash
from refsr.io.own_files import read_json, reading
from refsr.redaction import hide

CANDIDATE, CHAMPION, FORMER = "candidate", "champion", "former_champions"
CHECKPOINT, METRICS = "model.safetensors", "metrics.json"
MADE_OF = ("checkpoint", "evaluation", "test_set")  # tags: what is the same in these is the same version
REGISTRATION, CARD = "registration", "model_card.md"  # what the run of a version keeps: a folder, and a file in it
UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # MLflow's codes for a version that is not there
_HASHES = {CHECKPOINT: "checkpoint", METRICS: "evaluation"}  # the tag that holds the sha256 of each


class ChampionChangedError(RefsrError):
    """The champion is no longer the one that was compared with."""


class Registry:
    """The versions of the model `name` in one store; a version is a number written as a string.

    Every method raises RefsrError where the store fails; those that take a version, where there is no such version.
    """

    def __init__(self, tracking_uri: str, name: str) -> None:
        require_existing(tracking_uri)
        self.uri = tracking_uri
        self.name = name
        self._mlflow = open_store(tracking_uri)
        self._client = self._mlflow.MlflowClient()

    def aliases(self) -> dict[str, str]:
        """alias -> version; empty where nothing was registered yet."""
        model = self._model()
        return {} if model is None else {alias: str(version) for alias, version in model.aliases.items()}

    def champion(self) -> str | None:
        """The version that is champion, if there is one."""
        return self.aliases().get(CHAMPION)

    def resolve(self, version: str) -> str:
        """The number of a version that exists, given as that number or as an alias."""
        aliases = self.aliases()
        if version == CHAMPION and CHAMPION not in aliases:
            raise RefsrError(
                f"{self._told()} has no champion yet: run the pipeline (`make demo` or `dvc repro`), whose first model "
                "that passes the gate becomes champion; or promote a version (`python -m refsr promote VERSION`)"
            )
        number = aliases.get(version, version)
        self.tags(number)
        return number

    def tags(self, version: str) -> dict[str, str]:
        """The facts a version was registered with."""
        try:
            with explained(self.uri):
                return dict(self._client.get_model_version(self.name, version).tags)
        except RefsrError as error:
            if getattr(error.__cause__, "error_code", "") not in UNKNOWN:
                raise
            known = ", ".join(self.versions()) or "none, nothing was registered yet (run `make demo` or `dvc repro`)"
            raise RefsrError(f"{self._told()} has no version {version!r}; there are: {known}") from error

    def versions(self) -> list[str]:
        """All versions, oldest first."""
        with explained(self.uri):
            found = self._client.search_model_versions(f"name = '{self.name}'")
        return [str(number) for number in sorted(int(each.version) for each in found)]

    def find(self, **tags: str) -> str | None:
        """The newest version that has these tags."""
        wanted = " and ".join([f"name = '{self.name}'", *(f"tags.{key} = '{value}'" for key, value in tags.items())])
        with explained(self.uri):
            found = self._client.search_model_versions(wanted)
        return str(max(int(each.version) for each in found)) if found else None

    def metrics(self, version: str) -> dict[str, Any]:
        """The evaluation a version was registered with."""
        with tempfile.TemporaryDirectory() as folder:
            return read_json(self.fetch(version, METRICS, Path(folder)), "register")

    def fetch(self, version: str, file: str, folder: Path) -> Path:
        """Copy one file a version carries, its CHECKPOINT or its METRICS, into a folder."""
        number = self.resolve(version)
        uri = f"models:/{self.name}/{number}/data/{DATA}/{file}"
        with explained(self.uri), quiet():
            path = Path(self._mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))
        self._require_same(number, file, path)
        return path

    def _require_same(self, version: str, file: str, path: Path) -> None:
        """Raises RefsrError where a file is not the one that the version was registered with."""
        known = self.tags(version).get(_HASHES[file])
        if not path.is_file() or (known is not None and file_hash(path) != known):
            raise RefsrError(
                f"{file} of version {version} of {self._told()} is damaged; restore the store from a back-up, or run "
                "the stage `register` again"
            )

    def log(self, checkpoint: Path, metrics: Path, example: Mapping[str, np.ndarray]) -> Any:
        """Store checkpoint, evaluation and serving code as a model of the run that is open; MLflow's description."""
        with explained(self.uri), quiet():
            return log_model(self._mlflow, self.name, {CHECKPOINT: checkpoint, METRICS: metrics}, example)

    def add(self, tracker: MlflowTracker, model: Any, tags: Mapping[str, str], expected: str | None) -> str:
        """Make what `log` returned a version, and that the candidate; the first is champion too.

        What another process registered meanwhile with the same MADE_OF is that version.

        Args:
            tracker: The run that is open.
            model: What `log` returned.
            tags: The facts of the version.
            expected: The champion the gate compared with; None where there was none.

        Returns:
            The version.

        Raises:
            ChampionChangedError: Another version has become champion meanwhile; nothing is changed then.
        """
        return self._add(tracker, model.model_uri, tags, expected, model.model_id)

    def download(self, version: str, folder: Path) -> tuple[Any, Path, Path]:
        """Copy all that a version carries into a folder: its MLflow run, its model, and what `register` left."""
        with explained(self.uri), quiet():
            run = self._client.get_run(self._client.get_model_version(self.name, version).run_id)
            uris = f"models:/{self.name}/{version}", f"runs:/{run.info.run_id}/{REGISTRATION}"
            folders = [
                Path(self._mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder / str(number))))
                for number, uri in enumerate(uris)
            ]
        for file in _HASHES:
            self._require_same(version, file, folders[0] / "data" / DATA / file)
        return run, folders[0], folders[1]

    def adopt(self, tracker: MlflowTracker, model: Path, tags: Mapping[str, str], expected: str | None) -> str:
        """A new version of a model that `download` brought, byte for byte; see `add`."""
        description = model / "MLmodel"
        with reading(description, "register"):
            document = yaml.safe_load(description.read_text(encoding="utf-8")) | {"run_id": tracker.run_id}
        document.pop("model_id", None)  # of the store it comes from
        description.write_text(yaml.safe_dump(document), encoding="utf-8")
        with explained(self.uri), quiet():
            tracker.artifact(model, DATA)
            place = self._client.get_run(tracker.run_id).info.artifact_uri
        return self._add(tracker, f"{place}/{DATA}", tags, expected)

    def _add(
        self,
        tracker: MlflowTracker,
        model: str,
        tags: Mapping[str, str],
        expected: str | None,
        model_id: str | None = None,
    ) -> str:
        made_of = {key: tags[key] for key in MADE_OF if key in tags}
        facts = {key: hide(value) for key, value in tags.items()}
        with explained(self.uri), quiet(), locked(self._client, self.name) as held:
            self._require_champion(expected)
            version = self.find(**made_of) if len(made_of) == len(MADE_OF) else None
            held.require()
            if self._model() is None:
                self._client.create_registered_model(self.name, description="Reference-based face super-resolution")
            if version is None:
                made = self._client.create_model_version(self.name, model, tracker.run_id, facts, model_id=model_id)
                version = str(made.version)
            self._set_candidate(version, held)
        return version

    def make_candidate(self, version: str) -> None:
        """Point `candidate` at a version; where there is no champion yet, it becomes that too."""
        with explained(self.uri), locked(self._client, self.name) as held:
            self._set_candidate(version, held)

    def _set_candidate(self, version: str, held: Held) -> None:
        held.require()
        self._client.set_registered_model_alias(self.name, CANDIDATE, version)
        if self.champion() is None:
            held.require()
            self._client.set_registered_model_alias(self.name, CHAMPION, version)

    def make_champion(self, version: str, expected: str | None) -> None:
        """Point `champion` at a version, and remember the one before.

        Args:
            version: The new champion, which passed the gate against `expected`.
            expected: The champion the gate compared with; None where there was none.

        Raises:
            ChampionChangedError: Another version has become champion meanwhile; nothing is changed then.
        """
        with explained(self.uri), locked(self._client, self.name) as held:
            self._require_champion(expected)
            if expected == version:
                return
            former = self._former()
            if expected is not None and former[-1:] != [expected]:  # a killed promotion has remembered it already
                held.require()
                self._remember([*former, expected])
            held.require()
            self._client.set_registered_model_alias(self.name, CHAMPION, version)

    def _require_champion(self, expected: str | None) -> None:
        champion = self.champion()
        if champion != expected:
            before, now = (f"version {each}" if each else "none" for each in (expected, champion))
            raise ChampionChangedError(
                f"{self._told()}: the champion changed from {before} to {now} meanwhile, and nothing else was changed; "
                "run the command again, which compares with the present champion"
            )

    def rollback(self) -> tuple[str, str]:
        """Make the champion before the present one champion again: (the one left, the one now in use).

        Raises RefsrError where there was none before, and where the champion changes meanwhile.
        """
        champion = self.resolve(CHAMPION)
        with explained(self.uri), locked(self._client, self.name) as held:
            self._require_champion(champion)
            return champion, self._go_back(champion, held)

    def _go_back(self, champion: str, held: Held) -> str:
        existing = self.versions()
        former = [each for each in self._former() if each in existing]
        while former and former[-1] == champion:  # what a promotion killed half way leaves
            former.pop()
        if not former:
            raise RefsrError(f"{self._told()}: version {champion} is the first champion, there is none to go back to")
        held.require()
        self._client.set_registered_model_alias(self.name, CHAMPION, former[-1])
        held.require()
        self._remember(former[:-1])
        return former[-1]

    def training_run(self, checkpoint: str) -> Any | None:
        """The newest MLflow run whose tag `checkpoint` is this sha256: the training that made those weights."""
        with explained(self.uri):
            experiments = [each.experiment_id for each in self._client.search_experiments()]
            found = self._client.search_runs(experiments, f"tags.checkpoint = '{checkpoint}'", max_results=1)
        return found[0] if found else None

    def _model(self) -> Any | None:
        with explained(self.uri):
            found = self._client.search_registered_models(f"name = '{self.name}'")
        return found[0] if found else None

    def _former(self) -> list[str]:
        model = self._model()
        try:
            former = json.loads(model.tags.get(FORMER, "[]")) if model else []
        except (ValueError, RecursionError):
            former = None
        if not isinstance(former, list) or not all(isinstance(each, str) for each in former):
            raise RefsrError(f"{self._told()}: its tag {FORMER} is damaged; set it to the JSON list of versions, or []")
        return former

    def _remember(self, former: list[str]) -> None:
        self._client.set_registered_model_tag(self.name, FORMER, json.dumps(former))

    def _told(self) -> str:
        return f"model {self.name!r} in {hide(self.uri)}"


@contextlib.contextmanager
def checkpoint_of(tracking_uri: str, model: str) -> Iterator[Path]:
    """The checkpoint file of a model while the block runs: a path, "models:/NAME@ALIAS" or "models:/NAME/VERSION"."""
    if not model.startswith("models:/"):
        yield Path(model)
        return
    name, _, version = model.removeprefix("models:/").replace("@", "/").partition("/")
    if not name or not version:
        raise RefsrError(f"{model}: write models:/NAME@ALIAS or models:/NAME/VERSION, say models:/refsr@champion")
    registry = Registry(tracking_uri, name)
    with tempfile.TemporaryDirectory() as folder:
        yield registry.fetch(version, CHECKPOINT, Path(folder))
