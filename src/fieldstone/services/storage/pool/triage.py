"""Which segments lack shares, and which of them is most likely to be lost before anybody looks again.

A share counts as there while its node answers, and during a grace period after it stopped: an outage is not a loss.
A segment needs repair when fewer than k + margin shares are there, when its probability of loss until the next pass
exceeds `danger`, or when one of its nodes leaves.

Those of which too few can be read now come last, and so do those whose repair failed lately: a thousand objects that
nobody can save must not keep the repairer from the others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import Connection, select

from fieldstone.services.storage.pool.durability import OFFLINE_LOSS, loss_before, loss_probability
from fieldstone.services.storage.pool.parts import Parts
from fieldstone.services.storage.pool.profile import Profile
from fieldstone.services.storage.pool.tables import segment, share
from fieldstone.services.storage.pool.watch import Absence

MOST_PATIENTS = 10_000  # kept of a scan: a pass repairs fewer
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class RepairRules:
    """When to repair and how fast. `price_micro_usd_per_gib`: what reading a GiB from providers costs (7 $/TB)."""

    interval_s: float = 3_600.0  # between passes
    grace_ms: int = 4 * 3_600_000
    lost_ms: int = 72 * 3_600_000
    danger: float = 1e-9
    bytes_per_s: float = 20e6
    price_micro_usd_per_gib: int = 7_516


@dataclass(frozen=True, slots=True)
class Patient:
    """A segment that lacks shares. `there`: on nodes that answer or are within their grace; `missing`: numbers to make
    anew; `loss`: probability that it is lost before the next pass; `readable`: on nodes that answer now."""

    segment: bytes
    k: int
    n: int
    there: int
    missing: tuple[int, ...]
    loss: float
    readable: int

    @property
    def is_hopeless(self) -> bool:
        """Whether too few shares can be read now to make others of them."""
        return self.readable < self.k


class Triage:
    """Judges segments by what is known of their nodes."""

    def __init__(self, parts: Parts, rules: RepairRules) -> None:
        self._parts = parts
        self._rules = rules

    async def scan(
        self,
        absences: Mapping[str, Absence],
        failed: Collection[bytes] = (),
        each_page: Callable[[], Awaitable[object]] | None = None,
    ) -> list[Patient]:
        """Return the live segments that need repair in the order in which to repair them, MOST_PATIENTS of them at most.

        `failed`: whose repair failed lately. `each_page` is awaited now and then: a scan of many may take minutes.
        """

        def rank(patient: Patient) -> tuple[bool, float, bytes]:
            return patient.is_hopeless or patient.segment in failed, -patient.loss, patient.segment

        found: list[Patient] = []
        after = b""
        while True:
            page = await self._parts.database.read(lambda c, after=after: _page(c, after))  # type: ignore[misc]
            for segment_id, k, n, shares in page:
                patient = self.examine(segment_id, k, n, shares, absences)
                if patient is not None:
                    found.append(patient)
            if len(found) > 2 * MOST_PATIENTS:
                found = sorted(found, key=rank)[:MOST_PATIENTS]
            if len(page) < _PAGE:
                return sorted(found, key=rank)[:MOST_PATIENTS]
            after = page[-1][0]
            if each_page is not None:
                await each_page()

    def examine(
        self, segment_id: bytes, k: int, n: int, shares: Sequence[tuple[int, str]], absences: Mapping[str, Absence]
    ) -> Patient | None:
        """Judge a segment by its held shares (number, device); None when nothing is to be done."""
        now_ms = self._parts.clock.now_ms()
        leaves = False
        answering: set[int] = set()  # healthy, to be kept
        away: set[int] = set()  # within their grace
        readable: set[int] = set()
        for number, device in shares:
            absence = absences.get(device, Absence())
            since_ms = absence.offline_since_ms
            is_listed = self._parts.directory.get(device) is not None
            if since_ms is None and is_listed:
                readable.add(number)
            if absence.is_going:
                leaves = leaves or since_ms is None
            elif since_ms is None and is_listed:
                answering.add(number)
            elif since_ms is None or now_ms - since_ms < self._rules.grace_ms:
                away.add(number)
        there = answering | away
        if len(there) == n:
            return None
        loss = _loss(k, len(answering), len(away - answering), self._rules.interval_s)
        if len(there) > Profile(f"{k}/{n}", k, n).least and loss <= self._rules.danger and not leaves:
            return None
        missing = tuple(number for number in range(n) if number not in there)
        return Patient(segment_id, k, n, len(there), missing, loss, len(readable))


@lru_cache(65_536)
def _loss(k: int, answering: int, away: int, interval_s: float) -> float:
    """Return the probability of loss: it depends on how many there are of each kind, and takes half a millisecond."""
    return loss_probability(k, [loss_before(interval_s)] * answering + [OFFLINE_LOSS] * away)


def _page(connection: Connection, after: bytes) -> list[tuple[bytes, int, int, list[tuple[int, str]]]]:
    """Return the next live segments by id, each with (number, device) of its held shares."""
    rows = connection.execute(
        select(segment.c.id, segment.c.k, segment.c.n)
        .where(segment.c.state == "live", segment.c.id > after)
        .order_by(segment.c.id)
        .limit(_PAGE)
    ).all()
    held: dict[bytes, list[tuple[int, str]]] = {row.id: [] for row in rows}
    if rows:
        between = share.c.segment_id.between(rows[0].id, rows[-1].id) & (share.c.state == "held")
        for one in connection.execute(select(share.c.segment_id, share.c.number, share.c.device).where(between)):
            if one.segment_id in held:
                held[one.segment_id].append((one.number, one.device))
    return [(row.id, row.k, row.n, held[row.id]) for row in rows]
