"""Numbers for Prometheus."""

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from refsr.service.following import Following
from refsr.service.worker import Worker

_SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60)
CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """Of one server."""

    def __init__(self, worker: Worker, following: Following, timeout: float) -> None:
        self._registry = kept = CollectorRegistry()
        ProcessCollector(registry=kept)
        PlatformCollector(registry=kept)
        self._following = following
        self._requests = Counter(
            "refsr_requests", "Answers by path and status", ["path", "status"], registry=kept
        )
        self._seconds = Histogram(
            "refsr_request_seconds",
            "From the first byte of a request to the end of its answer",
            ["path"],
            buckets=_SECONDS,
            registry=kept,
        )
        self._model = Gauge(
            "refsr_model", "1 for the version that is served", ["name", "version"], registry=kept
        )
        self._faces = Counter("refsr_faces", "Faces that the network restored", registry=kept)
        _watch(kept, "refsr_admitted", "Requests that wait or run", lambda: worker.admitted)
        promise = "Seconds within which an admitted request is answered"
        _watch(kept, "refsr_promise_seconds", promise, lambda: min(worker.promise, timeout))
        _watch(kept, "refsr_model_loads", "Versions loaded", lambda: following.loads)
        failures = "Looks at the alias that failed"
        _watch(kept, "refsr_model_failures", failures, lambda: following.failures)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def restored(self, faces: int) -> None:
        """Count faces."""
        self._faces.inc(faces)

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        served = self._following.served
        self._model.clear()
        self._model.labels(served.name, served.version).set(1)
        return generate_latest(self._registry)


def _watch(registry: CollectorRegistry, name: str, text: str, value: Callable[[], float]) -> None:
    """A gauge that is read when it is asked for."""
    Gauge(name, text, registry=registry).set_function(value)
