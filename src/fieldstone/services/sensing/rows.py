"""Evidence as arrays: one entry per reading, sorted by device and time, one reading per device and time.

Readings that share a time stamp are joined when they do not contradict each other (a retry, or one upload per sensor of
a station); channels that do contradict keep a mark in `conflicts`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fieldstone.services.sensing.schema import VARIABLE_NAMES

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass
class Rows:
    """Readings of a partition. Row arrays have one entry per kept reading.

    `device`: position in the registry. `delay_ms`: received − observed. `values`: NaN where missing or not a number.
    `not_numbers`: rows whose value was given as NaN or ±inf. `source`: row of the sorted evidence; `held_by`: likewise
    per channel where joined readings came from several rows. `evidence_counts`, `outside`, `early`, `joined`: rows
    per device: all, outside the epoch, before the enrolment, joined away.
    """

    devices: int
    device: NDArray[np.int32]
    t_ms: Ints
    delay_ms: Ints
    source: Ints
    values: dict[str, Floats]
    not_numbers: dict[str, Mask]
    evidence_counts: Ints
    outside: Ints
    early: Ints
    joined: Ints
    conflicts: dict[str, Mask] = field(default_factory=dict)
    held_by: dict[str, Ints] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.t_ms)

    @cached_property
    def first_of_device(self) -> Mask:
        """Mark the first row of each device."""
        mark = np.ones(len(self), dtype=np.bool_)
        mark[1:] = self.device[1:] != self.device[:-1]
        return mark


def sorted_evidence(evidence: pl.DataFrame, devices: pl.Series) -> tuple[pl.DataFrame, NDArray[np.int32]]:
    """Return the evidence of the listed devices sorted by (device, t_ms), and each row's position in the list.

    Equal keys keep their order. `devices` must be sorted and unique. Already sorted evidence is not copied.
    """
    runs = evidence["device"].rle().struct.unnest()
    names, lengths = runs["value"], runs["len"].to_numpy()
    position = {name: number for number, name in enumerate(devices.to_list())}
    codes = np.array([position.get(name, -1) for name in names.to_list()], dtype=np.int32)
    device = np.repeat(codes, lengths)
    if (codes < 0).any():
        evidence, device = evidence.filter(pl.Series(device >= 0)), device[device >= 0]
    t_ms = evidence["t_ms"].to_numpy()
    step_back = (device[1:] < device[:-1]) | ((device[1:] == device[:-1]) & (t_ms[1:] < t_ms[:-1]))
    if step_back.any():
        order = np.lexsort((t_ms, device))
        evidence, device = evidence[order], device[order]
    return evidence, device


def read_rows(evidence: pl.DataFrame, registry: pl.DataFrame, start_ms: int, end_ms: int) -> Rows:
    """Turn evidence into rows of the epoch [start_ms, end_ms), counting what falls outside it."""
    evidence, device = sorted_evidence(evidence, registry["device"])
    devices = registry.height
    t_ms = evidence["t_ms"].to_numpy()
    delay_ms = _column(evidence, "received_ms", t_ms) - t_ms
    enrolled = registry["enrolled_ms"].fill_null(start_ms).to_numpy()
    early = t_ms < enrolled[device]
    outside = (t_ms < start_ms) | (t_ms >= end_ms)
    early &= ~outside
    values, not_numbers = {}, {}
    for name in VARIABLE_NAMES:
        if name in evidence.columns and evidence[name].null_count() < evidence.height:
            values[name], not_numbers[name] = _numbers(evidence[name])
    rows = Rows(
        devices=devices,
        device=device,
        t_ms=t_ms,
        delay_ms=delay_ms,
        source=np.arange(len(t_ms), dtype=np.int64),
        values=values,
        not_numbers=not_numbers,
        evidence_counts=np.bincount(device, minlength=devices),
        outside=np.bincount(device[outside], minlength=devices),
        early=np.bincount(device[early], minlength=devices),
        joined=np.zeros(devices, dtype=np.int64),
    )
    left_out = outside | early | ~_holds_something(rows)
    if left_out.any():
        rows = _select(rows, np.flatnonzero(~left_out))
    return _join_repeated(rows)


def _column(evidence: pl.DataFrame, name: str, default: Ints) -> Ints:
    if name not in evidence.columns:
        return default
    column = evidence[name]
    return (column if column.null_count() == 0 else column.fill_null(pl.Series(default))).to_numpy()


def _numbers(column: pl.Series) -> tuple[Floats, Mask]:
    numbers = column.to_numpy()  # null becomes NaN
    finite = np.isfinite(numbers)
    if finite.all():
        return numbers, np.zeros(0, dtype=np.bool_)
    wrong = ~finite & column.is_not_null().to_numpy()
    return np.where(finite, numbers, np.nan), wrong if wrong.any() else np.zeros(0, dtype=np.bool_)


def _holds_something(rows: Rows) -> Mask:
    """Mark rows with at least one value, be it not a number: an empty row vouches for nothing."""
    some = np.zeros(len(rows), dtype=np.bool_)
    for name, values in rows.values.items():
        some |= ~np.isnan(values)
        if len(rows.not_numbers[name]):
            some |= rows.not_numbers[name]
        if some.all():
            break
    return some


def _select(rows: Rows, keep: Ints) -> Rows:
    rows.device, rows.t_ms, rows.delay_ms = rows.device[keep], rows.t_ms[keep], rows.delay_ms[keep]
    rows.source = rows.source[keep]
    rows.values = {name: values[keep] for name, values in rows.values.items()}
    rows.not_numbers = {name: mask[keep] if len(mask) else mask for name, mask in rows.not_numbers.items()}
    return rows


def _join_repeated(rows: Rows) -> Rows:
    """Leave one row per device and time; mark channels of which the joined rows disagree."""
    again = np.zeros(len(rows), dtype=np.bool_)
    again[1:] = (rows.t_ms[1:] == rows.t_ms[:-1]) & (rows.device[1:] == rows.device[:-1])
    if not again.any():
        return rows
    rows.joined = np.bincount(rows.device[again], minlength=rows.devices)
    first = np.flatnonzero(~again)
    number = np.arange(len(rows), dtype=np.int64)
    rows.delay_ms = np.minimum.reduceat(rows.delay_ms, first)
    for name, values in rows.values.items():
        low, high = np.fmin.reduceat(values, first), np.fmax.reduceat(values, first)
        holder = np.minimum.reduceat(np.where(np.isnan(values), len(number), number), first)
        rows.held_by[name] = rows.source[np.where(holder < len(number), holder, first)]
        if len(rows.not_numbers[name]):
            rows.not_numbers[name] = np.logical_or.reduceat(rows.not_numbers[name], first) & np.isnan(low)
        clash = low < high
        if clash.any():
            rows.conflicts[name] = clash
        rows.values[name] = low
    rows.device, rows.t_ms, rows.source = rows.device[first], rows.t_ms[first], rows.source[first]
    return rows
