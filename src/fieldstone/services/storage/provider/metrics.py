"""What a provider counts, for Prometheus (`GET /metrics`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from fieldstone.services.storage.provider.store import Store

_P = "fieldstone_storage_"


class Metrics:
    """Counters of one provider, and gauges read from its store when asked."""

    def __init__(self, store: Store) -> None:
        self.registry = registry = CollectorRegistry()
        self._put_bytes = Counter(_P + "put_bytes", "Bytes of shares stored.", registry=registry)
        self._put_seconds = Histogram(_P + "put_seconds", "From order to receipt.", registry=registry)
        self._get_bytes = Counter(_P + "get_bytes", "Bytes of shares served.", registry=registry)
        self._gets = Counter(_P + "gets", "Reads served.", registry=registry)
        self._refused = Counter(_P + "refused", "Refusals by code.", ["code"], registry=registry)
        self._asked = Counter(_P + "challenged", "Leaves asked for.", registry=registry)
        self._proven = Counter(_P + "proven", "Leaves proven.", registry=registry)
        self.scrubbed = Counter(_P + "scrubbed_bytes", "Bytes read again in the background.", registry=registry)
        self.rounds = Counter(_P + "rounds", "Rounds of the network answered.", registry=registry)
        registry.register(_Gauges(store))

    def stored(self, size: int, seconds: float) -> None:
        """Count a stored share."""
        self._put_bytes.inc(size)
        self._put_seconds.observe(seconds)

    def served(self, size: int) -> None:
        """Count a read."""
        self._gets.inc()
        self._get_bytes.inc(size)

    def refused(self, code: str) -> None:
        """Count a refusal."""
        self._refused.labels(code).inc()

    def challenged(self, asked: int, proven: int) -> None:
        """Count challenges."""
        self._asked.inc(asked)
        self._proven.inc(proven)

    def text(self) -> bytes:
        """Return the text that Prometheus reads."""
        return generate_latest(self.registry)


class _Gauges(Collector):
    def __init__(self, store: Store) -> None:
        self._store = store

    def describe(self) -> Iterator[GaugeMetricFamily]:
        yield from ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        totals = self._store.totals_lately()
        values = {
            "capacity_bytes": self._store.capacity_bytes,
            "used_bytes": self._store.used_bytes,
            "free_bytes": self._store.free_bytes(),
            "filler_bytes": self._store.filler_bytes(),
            "shares": totals.shares,
            "shares_bad": totals.bad,
            "shares_lost": totals.lost,
        }
        for name, value in values.items():
            yield GaugeMetricFamily(_P + name, name.replace("_", " "), value=value)
