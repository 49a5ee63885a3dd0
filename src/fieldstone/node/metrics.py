"""What the metrics page says of epochs and settlement; the intake's own counters are in `intake.metrics`."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from fieldstone.node.node import Node


class NodeMetrics(Collector):
    """Gauges read when the page is asked for."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        node = self._node
        overdue_s = max(0, node.clock.now_ms() - node.state.next_end_ms) / 1000
        for name, help_text, value in (
            ("fieldstone_sealed_epoch", "Newest sealed epoch.", node.store.latest),
            ("fieldstone_open_epoch_entries", "Journal entries of the open epoch.", node.open_entries()),
            ("fieldstone_epoch_overdue_seconds", "Seconds since the open epoch should have closed.", overdue_s),
        ):
            yield GaugeMetricFamily(name, help_text, value)
