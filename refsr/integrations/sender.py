"""Send a journal to its store: in a thread, again and again while the store does not answer."""

import logging
import os
import re
import threading
from itertools import islice
from pathlib import Path
from typing import Any

from refsr.errors import RefsrError
from refsr.integrations.journal import NOTHING, Event, Journal
from refsr.integrations.mlflow_store import ignored, open_store
from refsr.redaction import hide

INTERVAL = 2.0  # seconds between two deliveries
PATIENCE = 5.0  # seconds that the end of a stage waits for the last one
_RETRY = 0.5  # seconds between deliveries at the end
_BATCH = 100  # events, after which those are remembered as sent
_REQUEST = 1000  # metrics that MLflow accepts in one request
_REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")  # they would be refused again
# MLflow alone tries for minutes; here the next delivery tries again.
_SETTINGS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
_logger = logging.getLogger(__name__)


class Sender:
    """A thread that delivers a journal until it is closed."""

    def __init__(self, journal: Journal, uri: str) -> None:
        self._journal, self._uri = journal, uri
        self._client: Any = None
        self._is_down = False
        self._closing, self._given_up = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def close(self) -> bool:
        """Stop once all is delivered, or nothing was for PATIENCE seconds.

        Returns whether all is delivered.
        """
        self._closing.set()
        before = None
        while self._thread.is_alive() and self._journal.left() != before:
            before = self._journal.left()
            self._thread.join(PATIENCE)
        self._given_up.set()
        self._thread.join(_RETRY)
        is_sent = self._is_done()
        if not is_sent:
            _logger.warning(
                "tracking store %s has not got all numbers of the run; they are kept in %s: "
                "the next stage sends them, or `refsr doctor --fix`",
                hide(self._uri),
                self._journal.folder,
            )
        return is_sent

    def _is_done(self) -> bool:
        return self._journal.left() == NOTHING

    def _run(self) -> None:
        while not (self._closing.wait(INTERVAL) and self._is_done()):
            self._try()
            is_late = self._closing.is_set() and not self._is_done()
            if is_late and self._given_up.wait(_RETRY):
                break
        self._journal.close()

    def _try(self) -> None:
        try:
            self.deliver()
        except Exception as error:  # whatever it is, the training goes on
            self._client = None
            if not self._is_down:
                reason = next(iter(str(error).split("; ")), type(error).__name__)
                where = self._journal.folder
                _logger.warning("%s; goes on, and keeps all numbers in %s", hide(reason), where)
            self._is_down = True
        else:
            if self._is_down:
                _logger.info("tracking store %s answers again", hide(self._uri))
            self._is_down = False

    def deliver(self) -> None:
        """Send all events that the store has not got. Raises where one cannot be sent."""
        if self._is_done():
            return
        run = self._journal.run
        if run is None:
            return
        if self._client is None:
            self._client = open_store(self._uri).MlflowClient()
        self._journal.sync()
        while batch := list(islice(self._journal.unsent(), _BATCH)):
            events = [event for event, _ in batch]
            self._send(run.run_id, [each for each in events if each["kind"] == "metrics"])
            for event in (each for each in events if each["kind"] in ("tags", "status")):
                self._send(run.run_id, [event])
            self._journal.mark_sent(batch[-1][1])
        for event in self._journal.kept():
            self._send(run.run_id, [event])
            self._journal.drop(event)

    def _send(self, run_id: str, events: list[Event]) -> None:
        from mlflow import MlflowException

        if not events:
            return
        try:
            SENDERS[events[0]["kind"]](self._client, run_id, events)
        except MlflowException as error:
            if error.error_code not in _REFUSED:
                raise
            kind = events[0]["kind"]
            _logger.warning("the tracking store refuses %s: %s", kind, hide(error.message))


def _metrics(client: Any, run_id: str, events: list[Event]) -> None:
    """Send numbers. A point that the store has already, to the millisecond, is not added."""
    from mlflow.entities import Metric

    metrics = [
        Metric(key, value, event["time"], event["step"])
        for event in events
        for key, value in event["values"].items()
    ]
    for start in range(0, len(metrics), _REQUEST):
        client.log_batch(run_id, metrics=metrics[start : start + _REQUEST])


def _tags(client: Any, run_id: str, events: list[Event]) -> None:
    from mlflow.entities import RunTag

    tags = [RunTag(*each) for event in events for each in event["values"].items()]
    client.log_batch(run_id, tags=tags)


def _image(client: Any, run_id: str, events: list[Event]) -> None:
    """Send a picture, unless a delivery that was cut off did."""
    from PIL import Image

    (event,) = events
    key, step = event["key"], event["step"]
    with Image.open(event["path"]) as image:
        if step is None:
            client.log_image(run_id, image, artifact_file=f"{key}.png")
            return
        sent = [each.path for each in client.list_artifacts(run_id, "images")]
        name = re.compile(rf"images/{re.escape(key)}[%+]step[%+]{step}[%+]")
        if not any(map(name.match, sent)):
            client.log_image(run_id, image, key=key, step=step, timestamp=event["time"])


def _artifact(client: Any, run_id: str, events: list[Event]) -> None:
    (event,) = events
    log = client.log_artifacts if Path(event["path"]).is_dir() else client.log_artifact
    log(run_id, event["path"], event["folder"] or None)


def _status(client: Any, run_id: str, events: list[Event]) -> None:
    (event,) = events
    if event["status"] != "RUNNING":
        client.set_terminated(run_id, event["status"], event["time"])
        return
    client.update_run(run_id, "RUNNING")
    with ignored("RESOURCE_DOES_NOT_EXIST"):
        client.delete_tag(run_id, "error")


SENDERS = {
    "metrics": _metrics,
    "tags": _tags,
    "image": _image,
    "artifact": _artifact,
    "status": _status,
}


def send_left(uri: str, journals: list[Journal]) -> None:
    """Deliver what ended processes left in journals. Raises RefsrError where it cannot be."""
    for journal in journals:
        try:
            Sender(journal, uri).deliver()
        except RefsrError:
            raise
        except Exception as error:
            raise RefsrError(f"{journal.folder}: cannot be sent: {error}") from error
