"""How far a long task is: a bar on a terminal, a log line twice a minute elsewhere."""

import logging
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

from tqdm import tqdm

LOG_EVERY = 30.0  # seconds
_logger = logging.getLogger(__name__)
_Item = TypeVar("_Item")


class Progress:
    """Counts what is done of `total`; a context manager."""

    def __init__(self, *, total: int, desc: str, unit: str, done: int = 0) -> None:
        self.done = done
        self._total, self._desc, self._unit = total, desc, unit
        self._facts = ""
        self._logged = time.monotonic()
        quiet = not _logger.isEnabledFor(logging.INFO)
        self._bar: tqdm[Any] = tqdm(
            total=total,
            initial=done,
            desc=desc,
            unit=unit,
            unit_scale=unit == "B",
            mininterval=1,
            disable=True if quiet else None,  # None: a bar on a terminal only
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def update(self, count: int = 1) -> None:
        """Count `count` more as done."""
        self.done += count
        self._bar.update(count)
        now = time.monotonic()
        if self._bar.disable and now - self._logged >= LOG_EVERY:
            self._logged = now
            self._log()

    def show(self, **facts: str) -> None:
        """Put these numbers beside the count from now on."""
        self._facts = "".join(f", {key} {value}" for key, value in facts.items())
        self._bar.set_postfix(facts)

    def _log(self) -> None:
        share = 100 * self.done / max(self._total, 1)
        many = f"{self._unit}es" if self._unit.endswith("ch") else f"{self._unit}s"
        count = f"{self.done:,} of {self._total:,} {many}"
        _logger.info("%s: %s (%.0f %%)%s", self._desc, count, share, self._facts)


def track(items: Iterable[_Item], *, total: int, desc: str, unit: str) -> Iterator[_Item]:
    """The items, `total` of them, counted as they are used."""
    with Progress(total=total, desc=desc, unit=unit) as progress:
        for item in items:
            yield item
            progress.update()
