"""The model that is served; where it is named by an alias, the version that has it now."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from refsr.errors import RefsrError
from refsr.inference.library import Upscaler
from refsr.integrations.registry import Registry
from refsr.loading import load
from refsr.models.device import choose_device
from refsr.service.micro_batches import MicroBatches
from refsr.service.settings import Settings
from refsr.tracker import tracking_uri

_logger = logging.getLogger(__name__)
_SCHEME = "models:/"


@dataclass(frozen=True)
class Served:
    """A loaded model. A request keeps the one that it began with."""

    model: Upscaler | MicroBatches
    name: str
    version: str  # "" for a file


class Following:
    """Loads a model, and loads it anew whenever its alias has moved."""

    def __init__(self, settings: Settings, prepare: Callable[[Upscaler], None]) -> None:
        """Load it.

        Args:
            settings: With the model's name.
            prepare: Called with every model before it is served.

        Raises:
            RefsrError: There is no such model.
        """
        self._source = settings.model
        self._load = partial(load, device=settings.device, realism=settings.realism)
        self._prepare = prepare
        self._batches = settings.threads > 1 and choose_device(settings.device) == "cuda"
        self._registry, self._alias = _alias_of(settings.model)
        self.loads, self.failures = 0, 0
        self._fault = ""
        self._ended = threading.Event()
        self.served = self._loaded(self._present())

    def refresh(self) -> None:
        """Serve what the alias names now. Where that fails, what is served stays."""
        try:
            version = self._present()
            if version != self.served.version:
                self.served = self._loaded(version)
                _logger.info("version %s is served", version)
            self._fault = ""
        except RefsrError as error:
            self.failures += 1
            if str(error) != self._fault:  # not at every look
                _logger.warning("version %s is still served: %s", self.served.version, error)
            self._fault = str(error)

    def follow(self, seconds: float) -> None:
        """Look at the alias every so many seconds, in a thread, until `end`.

        A file stays what it was when it was loaded, and a version never changes.
        """
        if self._registry is not None and not self._alias.isdigit():
            threading.Thread(target=self._follow, args=(seconds,), daemon=True).start()

    def end(self) -> None:
        """Look no more."""
        self._ended.set()

    def _follow(self, seconds: float) -> None:
        while not self._ended.wait(seconds):
            try:
                self.refresh()
            except Exception:  # a fault of one look must not end the next
                self.failures += 1
                _logger.exception("the alias could not be looked at")

    def _present(self) -> str:
        if self._registry is None:
            return ""
        return self._registry.resolve(self._alias)

    def _loaded(self, version: str) -> Served:
        if self._registry is None:
            model, name = self._load(self._source), Path(self._source).name
        else:
            name = self._registry.name
            model = self._load(f"{_SCHEME}{name}/{version}")
        self._prepare(model)
        self.loads += 1
        return Served(MicroBatches(model) if self._batches else model, name, version)


def _alias_of(source: str) -> tuple[Registry | None, str]:
    """The registry and the alias or version of `models:/NAME@ALIAS`; of a file, neither."""
    if not source.startswith(_SCHEME):
        return None, ""
    name, _, version = source.removeprefix(_SCHEME).replace("@", "/").partition("/")
    if not name or not version:
        raise RefsrError(f"{source}: write models:/NAME@ALIAS or models:/NAME/VERSION")
    return Registry(tracking_uri(), name), version
