"""Of devices that share one stream: which is the source and may be paid.

The source is the earliest *proven* one. A device is not proven when it received its numbers later than another member
(the delay of the copy, counted by when the network received the readings, so that writing an earlier time does not
help), or when its numbers fit the neighbours of its claimed place clearly worse than another member's fit theirs. Among
the proven the earliest enrolled is the source; ties go to the smaller device id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fieldstone.services.sensing.fleet.copies import Judge, Pairs
from fieldstone.services.sensing.fleet.frame import Floats, Frame
from fieldstone.services.sensing.fleet.ledger import Ledger


@dataclass(frozen=True)
class Copy:
    """`device` sends the stream of `source`; the other fields are those of their pair in `Pairs`."""

    device: int
    source: int
    lag: int  # slots by which the device follows the source
    excess: float
    likeness: float
    share: float
    group: int  # devices that send this stream, the source among them


def copies_of(judge: Judge, pairs: Pairs, kinship: Floats, delay_ms: Floats) -> list[Copy]:
    """Return who copies whom. `kinship`: correlation with the neighbours (NaN unknown); `delay_ms`: of the receipts.

    Only a device that is directly like the source is its copy; what remains of a group is looked at again.
    """
    frame, params = judge.frame, judge.params
    out: list[Copy] = []
    table = _Links(pairs)
    for group in table.groups():
        members = set(group)
        while len(members) > 1:
            source = _source(frame, table, members, kinship, delay_ms, params)
            others = np.array(sorted(members - {source}), dtype=np.int64)
            unknown = np.array([k for k in others if (source, int(k)) not in table.link], dtype=np.int64)
            if unknown.size:  # the screening proposes a few partners per device; a farm is larger
                table.extend(judge.certain(np.minimum(unknown, source), np.maximum(unknown, source)))
            caught = [int(k) for k in others if (source, int(k)) in table.link]
            for device in caught:
                lag, excess, likeness, share = table.link[(source, device)]
                out.append(Copy(device, source, lag, excess, likeness, share, len(caught) + 1))
            members = {m for m in members if m != source and m not in caught}
            members = {m for m in members if any((m, k) in table.link for k in members)}
    return out


class _Links:
    """Pairs by (device, other): lag by which the other follows, excess, likeness, share."""

    def __init__(self, pairs: Pairs) -> None:
        self.link: dict[tuple[int, int], tuple[int, float, float, float]] = {}
        self.extend(pairs)

    def extend(self, pairs: Pairs) -> None:
        columns = (pairs.i, pairs.j, pairs.lag, pairs.excess, pairs.likeness, pairs.share)
        for i, j, lag, excess, likeness, share in zip(*(column.tolist() for column in columns), strict=True):
            self.link[(i, j)] = (lag, excess, likeness, share)
            self.link[(j, i)] = (-lag, excess, likeness, share)

    def groups(self) -> list[list[int]]:
        """Return the connected groups of devices, each sorted, in the order of their first device."""
        near: dict[int, list[int]] = {}
        for i, j in self.link:
            near.setdefault(i, []).append(j)
        out, seen = [], set()
        for start in sorted(near):
            if start in seen:
                continue
            group, queue = {start}, [start]
            while queue:
                for other in near[queue.pop()]:
                    if other not in group:
                        group.add(other)
                        queue.append(other)
            seen |= group
            out.append(sorted(group))
        return out


def _source(
    frame: Frame, table: _Links, members: set[int], kinship: Floats, delay_ms: Floats, params: Mapping[str, Any]
) -> int:
    """Return the earliest proven member."""
    limit_ms = float(params["copy_follow_s"]) * 1000
    late: set[int] = set()
    for i in members:
        for j in members:
            found = table.link.get((i, j))
            if found and found[0] * frame.grid.slot_ms + delay_ms[j] - delay_ms[i] >= limit_ms:
                late.add(j)
    candidates = sorted(members - late) or sorted(members)
    misfit = {k: 1 - float(kinship[k]) for k in candidates if np.isfinite(kinship[k])}
    if misfit:
        worst = min(misfit.values()) * float(params["copy_fit_margin"]) + 0.02
        candidates = [k for k in candidates if misfit.get(k, worst) <= worst]
    return min(candidates, key=lambda k: (int(frame.enrolled_ms[k]), frame.devices[k]))


def report(frame: Frame, found: list[Copy], params: Mapping[str, Any], ledger: Ledger) -> None:
    """Write a finding for every copy: SHARED_SENSOR within one hand, COPY_OF otherwise."""
    for copy in found:
        one_hand = frame.operators[copy.device] == frame.operators[copy.source]
        ledger.add(
            copy.device,
            "copies",
            "SHARED_SENSOR" if one_hand else "COPY_OF",
            severity_ppm=int(params["copy_severity_ppm"] * copy.share),
            measured=copy.excess,
            threshold=float(params["copy_part_excess" if copy.share < 1 else "copy_excess"]),
            meaning="standard deviations by which the two move more alike than honest pairs at their distance",
            source=frame.devices[copy.source],
            devices_in_group=copy.group,
            correlation=copy.likeness,
            lag_s=round(copy.lag * frame.grid.slot_ms / 1000, 1),
            share_of_epoch=copy.share,
        )
