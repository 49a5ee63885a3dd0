"""Many runs of the flywheel with numba, on as many threads as are wanted.

Runs are independent and draw by address (`draws`), so threads change nothing; there is no `fastmath`, so the numbers
are those of the reference up to the last digits of the C library.

The kernel is cached on disk. Its cache key holds a fingerprint of every source file it was compiled from: numba's own
key looks at this file only and would run yesterday's parameters after an edit of `parameters.py`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from numpy.typing import NDArray

from fieldstone.economy.flywheel import draws
from fieldstone.economy.flywheel.compiled_step import one_run
from fieldstone.economy.flywheel.inputs import Tables
from fieldstone.economy.flywheel.series import COHORT_NAMES, NAMES

if TYPE_CHECKING:
    from fieldstone.economy.flywheel.engine import Prepared

CHUNK = 128  # runs between two looks at the progress
_SOURCES = ("compiled", "compiled_parts", "compiled_step", "draws", "emission", "limits", "parameters", "series")


def _sources() -> int:
    """Return a number that changes when any source of the kernel does."""
    here = Path(__file__).parent
    content = b"".join((here / f"{name}.py").read_bytes() for name in _SOURCES)
    return int.from_bytes(hashlib.sha256(content).digest()[:6], "big")


def _compile(cache: bool) -> Any:
    fingerprint = _sources()

    def kernel(
        parameters: Any, cohorts: Any, segments: Any, regions: Any, now: Any, cohort_now: Any, segment_now: Any,
        k0: Any, k1: Any, first_run: int, begin: int, end: int, slots: Any, out: Any, cohort_out: Any,
    ) -> int:  # fmt: skip
        many = len(parameters) > 1
        for r in range(begin, end):
            i = r if many else 0
            one_run(
                parameters[i], cohorts[i], segments[i], regions[i], now, cohort_now, segment_now,
                first_run + r, k0, k1, slots, out[:, r], cohort_out[:, r],
            )  # fmt: skip
        return fingerprint  # a closure's values are part of numba's cache key

    return numba.njit(nogil=True, error_model="numpy", cache=cache)(kernel)


_kernel: Any = None


def kernel() -> Any:
    """Return the compiled loop over runs; kept on disk where a place for it can be written."""
    global _kernel
    if _kernel is None:
        try:
            _kernel = _compile(cache=True)
        except RuntimeError:  # no writable place for a cache
            _kernel = _compile(cache=False)
    return _kernel


def run_all(
    prepared: Prepared,
    runs: int,
    seed: int,
    first_run: int,
    record: tuple[str, ...],
    cohorts: bool,
    threads: int | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Return values (series × runs × steps) and the cohorts' series (runs × steps × cohorts)."""
    steps, count = prepared.scenario.steps, len(prepared.scenario.cohorts)
    out = np.empty((len(record), runs, steps))
    cohort_out = np.empty((len(COHORT_NAMES), runs, steps, count) if cohorts else (len(COHORT_NAMES), runs, 0, 0))
    slots = np.array([record.index(name) if name in record else -1 for name in NAMES])
    now, cohort_now, segment_now = _by_step(prepared.tables)
    k0, k1 = (np.uint64(word) for word in draws.key_of(seed))
    loop = kernel()

    def work(begin: int) -> int:
        end = min(begin + CHUNK, runs)
        loop(
            prepared.parameters, prepared.cohorts, prepared.segments, prepared.regions, now, cohort_now, segment_now,
            k0, k1, first_run, begin, end, slots, out, cohort_out,
        )  # fmt: skip
        return end - begin

    done = 0
    with ThreadPoolExecutor(threads or len(os.sched_getaffinity(0))) as pool:
        for finished in pool.map(work, range(0, runs, CHUNK)):
            done += finished
            if progress:
                progress(done, runs)
    by_cohort = {name: cohort_out[i] for i, name in enumerate(COHORT_NAMES)} if cohorts else {}
    return out, by_cohort


_BY_COHORT = ("opex", "power", "competitor", "competitor_extra", "join", "active")
_BY_SEGMENT = ("season", "demand", "alternative_price")


def _by_step(tab: Tables) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return the tables as structured arrays: by step, by step and cohort, by step and segment."""
    plain = tuple(item.name for item in fields(tab) if item.name not in _BY_COHORT + _BY_SEGMENT)
    made = []
    for names in (plain, _BY_COHORT, _BY_SEGMENT):
        array = np.zeros(getattr(tab, names[0]).shape, dtype=[(name, np.float64) for name in names])
        for name in names:
            array[name] = getattr(tab, name)
        made.append(array)
    return made[0], made[1], made[2]
