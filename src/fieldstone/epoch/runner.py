"""The executor seam: where the partitions of an epoch are computed.

Any `concurrent.futures.Executor` will do (process pool, Dask's `Client.get_executor`): a partition is a pure function
of picklable tables, and results are returned in the order of the input, so a scheduler cannot change an epoch.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Protocol, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


class Runner(Protocol):
    """Computes `function` for each part, in any order, in any process; returns results in the order of the parts."""

    partitions: int

    def map(self, function: Callable[[In], Out], parts: Sequence[In]) -> list[Out]: ...


class SerialRunner:
    """Everything here and now. The fastest choice for a small fleet: no process has to import Polars first."""

    partitions = 1

    def map(self, function: Callable[[In], Out], parts: Sequence[In]) -> list[Out]:
        return [function(part) for part in parts]


class ExecutorRunner:
    """Parts on an executor that the caller owns."""

    def __init__(self, executor: Executor, partitions: int) -> None:
        self._executor = executor
        self.partitions = partitions

    def map(self, function: Callable[[In], Out], parts: Sequence[In]) -> list[Out]:
        return list(self._executor.map(function, parts))


def process_pool(workers: int) -> ProcessPoolExecutor:
    """Return a pool of spawned processes: forking is unsafe once Polars has started its threads."""
    return ProcessPoolExecutor(max_workers=workers, mp_context=multiprocessing.get_context("spawn"))
