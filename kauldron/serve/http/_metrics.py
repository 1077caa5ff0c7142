"""Counts and times of a server, as Prometheus reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kauldron.serve import _packages, requests

_SECS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)


class Metrics:
    """What is told at `/metrics`: calls by route and status, and the engine's own numbers.

    Args:
      engine: Whose `stats` are told as `kauldron_engine_<name>`.
    """

    def __init__(self, engine: requests.Engine) -> None:
        self._prometheus = _packages.load("prometheus_client")
        # Not the registry of the process: several servers may live in one.
        self._registry: Any = self._prometheus.CollectorRegistry()
        self._calls = self._prometheus.Counter(
            "kauldron_http_requests",
            "Calls that have ended; status 499 is a client that has gone.",
            ["route", "status"],
            registry=self._registry,
        )
        self._in_progress = self._prometheus.Gauge(
            "kauldron_http_requests_in_progress",
            "Calls that are answered now.",
            registry=self._registry,
        )
        self._secs, self._first_byte_secs = (
            self._prometheus.Histogram(
                name, help, ["route"], buckets=_SECS, registry=self._registry
            )
            for name, help in (
                (
                    "kauldron_http_request_seconds",
                    "From a call to the end of its answer.",
                ),
                ("kauldron_http_first_byte_seconds", "From a call to the first byte."),
            )
        )
        self._registry.register(_EngineNumbers(engine))

    def begin(self) -> None:
        """Counts a call that begins."""
        self._in_progress.inc()

    def end(
        self, route: str, status: int | None, secs: float, first_byte_secs: float | None
    ) -> None:
        """Counts a call that has ended; it has no status if the server was stopped."""
        self._in_progress.dec()
        self._calls.labels(route, str(status)).inc()
        self._secs.labels(route).observe(secs)
        if first_byte_secs is not None:
            self._first_byte_secs.labels(route).observe(first_byte_secs)

    def text(self) -> tuple[str, str]:
        """Returns all numbers, and the content type."""
        text = self._prometheus.generate_latest(self._registry).decode()
        return text, self._prometheus.CONTENT_TYPE_PLAIN_0_0_4


class _EngineNumbers:
    """Asks the engine when the numbers are asked for."""

    def __init__(self, engine: requests.Engine) -> None:
        self._engine = engine

    def describe(self) -> list[Any]:
        """Returns nothing: what an engine tells may change."""
        return []

    def collect(self) -> Iterator[Any]:
        """Yields a gauge for each number."""
        core = _packages.load("prometheus_client.core")
        for name, value in self._engine.stats().items():
            metric = f"kauldron_engine_{re.sub('[^a-zA-Z0-9_]', '_', name)}"
            yield core.GaugeMetricFamily(metric, f"{name} of the engine.", float(value))
