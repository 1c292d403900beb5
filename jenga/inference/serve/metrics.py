"""What Prometheus is told: requests by code, how long they take, what waits, and what batches hold."""

from __future__ import annotations

import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from jenga.inference.serve.workers import METRICS_FOLDER

# When a counter began is one more line for each, which nothing here needs.
disable_created_metrics()
CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
_TOKENS = (16, 64, 256, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536)


class Metrics:
    """The figures of one server."""

    def __init__(self) -> None:
        self._registry = own = CollectorRegistry()
        self._requests = Counter("jenga_requests", "Requests answered.", ["path", "code"], registry=own)
        self._seconds = Histogram(
            "jenga_request_seconds", "From a request's head to its answer's end.", ["path"], registry=own,
            buckets=_SECONDS,
        )  # fmt: skip
        self._under_way = Gauge(
            "jenga_requests_under_way", "Requests that are being answered.", registry=own, multiprocess_mode="livesum"
        )
        self.waiting_rows = Gauge(
            "jenga_queue_rows", "Rows that wait.", ["model"], registry=own, multiprocess_mode="livesum"
        )
        self.batch_rows = Histogram("jenga_batch_rows", "Rows of a batch.", ["model"], registry=own, buckets=_ROWS)
        self.batch_tokens = Histogram(
            "jenga_batch_tokens", "Tokens of a batch.", ["model"], registry=own, buckets=_TOKENS
        )
        self.batch_seconds = Histogram(
            "jenga_batch_seconds", "Time that the model takes.", ["model"], registry=own, buckets=_SECONDS
        )
        self.dropped_rows = Counter("jenga_dropped_rows", "Rows nobody waited for.", ["model"], registry=own)
        self.generated_tokens = Counter("jenga_generated_tokens", "Tokens of completions.", ["model"], registry=own)

    def begun(self) -> None:
        """Count a request that begins."""
        self._under_way.inc()

    def ended(self, path: str, code: int, seconds: float) -> None:
        """Count a request that ended; path: of a route, never what a client made up."""
        self._under_way.dec()
        self._requests.labels(path, str(code)).inc()
        self._seconds.labels(path).observe(seconds)

    def of_model(self, name: str) -> ModelMetrics:
        """Return what counts the batches of a model."""
        return ModelMetrics(self, name)

    def written(self) -> bytes:
        """Return all figures as Prometheus reads them, where there are several processes those of all."""
        registry = self._registry
        if METRICS_FOLDER in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        text: bytes = generate_latest(registry)
        return text


class ModelMetrics:
    """Counts the batches of one model, as `jenga.inference.serve.batcher.Observer` has it."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._waiting = metrics.waiting_rows.labels(model)
        self._rows = metrics.batch_rows.labels(model)
        self._tokens = metrics.batch_tokens.labels(model)
        self._seconds = metrics.batch_seconds.labels(model)
        self._dropped = metrics.dropped_rows.labels(model)
        self._generated = metrics.generated_tokens.labels(model)

    def waiting(self, rows: int) -> None:
        """So many rows wait now."""
        self._waiting.set(rows)

    def batch(self, rows: int, tokens: int, seconds: float) -> None:
        """A batch was answered."""
        self._rows.observe(rows)
        self._tokens.observe(tokens)
        self._seconds.observe(seconds)

    def dropped(self, rows: int) -> None:
        """Rows were dropped from the queue."""
        self._dropped.inc(rows)

    def generated(self, tokens: int) -> None:
        """A completion ended."""
        self._generated.inc(tokens)
