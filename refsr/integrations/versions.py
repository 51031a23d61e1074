"""Read the versions of one registered model from the model registry."""

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from refsr.errors import RefsrError
from refsr.integrations.local_store import require_existing
from refsr.integrations.mlflow_store import MISSING, explained, open_store, quiet
from refsr.integrations.served_model import DATA
from refsr.io.files import file_hash
from refsr.io.own_files import read_json
from refsr.redaction import hide

CANDIDATE, CHAMPION, FORMER = "candidate", "champion", "former_champions"
CHECKPOINT, METRICS = "model.safetensors", "metrics.json"
REGISTRATION = "registration"  # a folder in the run of a version
CARD = "model_card.md"  # in that folder
UNKNOWN = (MISSING, "INVALID_PARAMETER_VALUE")  # MLflow's codes for a version that does not exist
_HASHES = {CHECKPOINT: "checkpoint", METRICS: "evaluation"}  # the tag with the sha256 of each
_HOW = "run the pipeline (`make demo` or `dvc repro`)"


class Versions:
    """The versions of the model `name` in one store; a version is a number, written as a string.

    Every method raises RefsrError if the store fails, or if the given version does not exist.
    """

    def __init__(self, tracking_uri: str, name: str) -> None:
        require_existing(tracking_uri)
        self.uri = tracking_uri
        self.name = name
        self._mlflow = open_store(tracking_uri)
        self._client = self._mlflow.MlflowClient()

    def aliases(self) -> dict[str, str]:
        """Alias -> version; empty if nothing was registered yet."""
        model = self._model()
        if model is None:
            return {}
        return {alias: str(version) for alias, version in model.aliases.items()}

    def champion(self) -> str | None:
        """The champion; None if there is none."""
        return self.aliases().get(CHAMPION)

    def resolve(self, version: str) -> str:
        """The number of a version, given as a number or as an alias."""
        aliases = self.aliases()
        if version == CHAMPION and CHAMPION not in aliases:
            raise RefsrError(
                f"{self._title()} has no champion yet: {_HOW}, whose first model that passes the "
                "gate becomes champion; or promote a version (`python -m refsr promote VERSION`)"
            )
        number = aliases.get(version, version)
        self.tags(number)
        return number

    def tags(self, version: str) -> dict[str, str]:
        """The tags that a version was registered with."""
        return dict(self.entry(version).tags)

    def entry(self, version: str) -> Any:
        """What MLflow keeps of a version: its tags, run, description and time."""
        try:
            with explained(self.uri):
                return self._client.get_model_version(self.name, version)
        except RefsrError as error:
            if getattr(error.__cause__, "error_code", "") not in UNKNOWN:
                raise
            known = ", ".join(self.versions()) or f"none, nothing was registered yet; {_HOW}"
            missing = f"{self._title()} has no version {version!r}"
            raise RefsrError(f"{missing}; there are: {known}") from error

    def created(self, version: str) -> datetime:
        """When a version was registered."""
        return datetime.fromtimestamp(self.entry(version).creation_timestamp / 1000, UTC)

    def versions(self) -> list[str]:
        """All versions, oldest first."""
        return [str(each.version) for each in reversed(self.entries())]

    def entries(self) -> list[Any]:
        """What MLflow keeps of all versions, newest first."""
        entries: list[Any] = []
        page = None
        while page != "":
            with explained(self.uri):
                search = self._client.search_model_versions
                answer = search(self._filter(), page_token=page)
            entries += answer
            page = answer.token or ""
        return sorted(entries, key=lambda each: int(each.version), reverse=True)

    def card(self, version: str) -> str:
        """The model card that a version was registered with, Markdown."""
        run_id = self.entry(version).run_id
        with tempfile.TemporaryDirectory() as folder, explained(self.uri), quiet():
            path = self._download(f"runs:/{run_id}/{REGISTRATION}/{CARD}", Path(folder))
            return path.read_text(encoding="utf-8")

    def find(self, **tags: str) -> str | None:
        """The newest version that has these tags; None if there is none."""
        with explained(self.uri):
            matches = self._client.search_model_versions(self._filter(**tags))
        return str(max(int(each.version) for each in matches)) if matches else None

    def _filter(self, **tags: str) -> str:
        conditions = [f"tags.{key} = '{value}'" for key, value in tags.items()]
        return " and ".join([f"name = '{self.name}'", *conditions])

    def metrics(self, version: str) -> dict[str, Any]:
        """The contents of the file METRICS that a version was registered with."""
        with tempfile.TemporaryDirectory() as folder:
            return read_json(self.fetch(version, METRICS, Path(folder)), "register")

    def fetch(self, version: str, file: str, folder: Path) -> Path:
        """Copy one file of a version, CHECKPOINT or METRICS, into a folder.

        Args:
            version: A number or an alias.
            file: CHECKPOINT or METRICS.
            folder: An existing folder.

        Returns:
            The path of the copy.

        Raises:
            RefsrError: There is no such version, or its file is damaged.
        """
        number = self.resolve(version)
        with explained(self.uri), quiet():
            path = self._download(f"models:/{self.name}/{number}/data/{DATA}/{file}", folder)
        self._require_same(number, file, path)
        return path

    def download(self, version: str, folder: Path) -> tuple[Any, Path, Path]:
        """Copy the files of a version into a folder.

        Returns:
            The MLflow run of the version, the folder of its model, and the folder REGISTRATION.
        """
        with explained(self.uri), quiet():
            run = self._client.get_run(self._client.get_model_version(self.name, version).run_id)
            model = self._download(f"models:/{self.name}/{version}", folder / "0")
            registration = f"runs:/{run.info.run_id}/{REGISTRATION}"
            rest = self._download(registration, folder / "1")
        for file in _HASHES:
            self._require_same(version, file, model / "data" / DATA / file)
        return run, model, rest

    def _download(self, uri: str, folder: Path) -> Path:
        download = self._mlflow.artifacts.download_artifacts
        return Path(download(artifact_uri=uri, dst_path=str(folder)))

    def _require_same(self, version: str, file: str, path: Path) -> None:
        """Raise RefsrError if a file differs from what the version was registered with."""
        known = self.tags(version).get(_HASHES[file])
        if not path.is_file() or (known is not None and file_hash(path) != known):
            raise RefsrError(
                f"{file} of version {version} of {self._title()} is damaged; restore the store "
                "from a back-up, or run the stage `register` again"
            )

    def training_run(self, checkpoint: str) -> Any | None:
        """The training that made a checkpoint: the newest MLflow run with its sha256 as a tag."""
        condition = f"tags.checkpoint = '{checkpoint}'"
        with explained(self.uri):
            experiments = [each.experiment_id for each in self._client.search_experiments()]
            runs = self._client.search_runs(experiments, condition, max_results=1)
        return runs[0] if runs else None

    def former_champions(self) -> list[str]:
        """The champions before the present one that still exist, newest last."""
        existing = self.versions()
        return [each for each in self._former() if each in existing]

    def _former(self) -> list[str]:
        model = self._model()
        try:
            former = json.loads(model.tags.get(FORMER, "[]")) if model else []
        except (ValueError, RecursionError):
            former = None
        if not isinstance(former, list) or not all(isinstance(each, str) for each in former):
            damaged = f"its tag {FORMER} is damaged"
            way = "set it to the JSON list of versions, or []"
            raise RefsrError(f"{self._title()}: {damaged}; {way}")
        return former

    def _model(self) -> Any | None:
        with explained(self.uri):
            models = self._client.search_registered_models(self._filter())
        return models[0] if models else None

    def _title(self) -> str:
        """The model and its store, for messages."""
        return f"model {self.name!r} in {hide(self.uri)}"
