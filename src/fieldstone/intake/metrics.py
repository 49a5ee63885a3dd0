"""Prometheus figures of the intake. Labels are the closed list of reasons, so nobody can grow the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from fieldstone.journal.group_commit import GroupCommit

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SIZES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000)


class IntakeMetrics(Collector):
    """Counters and histograms in their own `registry`, so that several networks can run in one process."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        self.accepted_reports = 0  # a plain number on the hot path, read when the page is asked for
        self.registry.register(self)
        self._refused = Counter(
            "fieldstone_intake_refused", "Messages refused, by reason", ["reason"], registry=self.registry
        )
        self._commit_seconds = Histogram(
            "fieldstone_journal_commit_seconds",
            "Write and fsync of one commit",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._commit_entries = Histogram(
            "fieldstone_journal_commit_entries", "Entries in one commit", buckets=_SIZES, registry=self.registry
        )
        self._failures = Gauge("fieldstone_journal_failures", "Commits that failed", registry=self.registry)
        self._healthy = Gauge("fieldstone_journal_healthy", "1 while the journal takes entries", registry=self.registry)
        self._head = Gauge("fieldstone_journal_head", "Last durable position", registry=self.registry)
        self._queue = Gauge("fieldstone_intake_queue", "Messages waiting for a commit", registry=self.registry)

    def collect(self) -> Iterator[Metric]:
        """Give the accepted reports to prometheus_client."""
        yield CounterMetricFamily("fieldstone_intake_accepted", "Reports made durable", self.accepted_reports)

    def refused(self, code: str, count: int = 1) -> None:
        """Count refusals of one reason."""
        self._refused.labels(code).inc(count)

    def watch(self, group: GroupCommit, waiting: Callable[[], int]) -> None:
        """Read the commit thread's figures from now on."""
        group.stats.observe = self._observe
        self._failures.set_function(lambda: group.stats.failures)
        self._healthy.set_function(lambda: int(group.journal.healthy))
        self._head.set_function(lambda: group.journal.head)
        self._queue.set_function(lambda: waiting() + group.queued)

    def _observe(self, entries: int, seconds: float) -> None:
        self._commit_seconds.observe(seconds)
        self._commit_entries.observe(entries)
