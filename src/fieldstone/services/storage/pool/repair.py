"""Keep segments whole: find those that have lost shares, in the order of danger, and regenerate what is missing.

A share counts as there while its node answers, and during a grace period after it stopped: an outage is not a loss.
After the grace it is missing and may be regenerated elsewhere; when the node has been away so long that it is declared
lost (or failed an audit, or admitted the loss), its shares are given up for good and their lease is released. Who
answers the network's rounds no more is away, whatever it answers us. The shares of a disqualified node are regenerated
elsewhere at once, and given up only then: until then they may be the ones that are needed. Those of a node that leaves
are copied from it while it answers, one read instead of k, and it is paid until they are there.

The queue is ordered by the probability of loss before the next pass, not by how many shares are missing. A segment
is repaired when fewer than k + margin shares are there, or when that probability exceeds `danger`. Reads and writes of
repairs together keep below `bytes_per_s`. What a repair cost, in bytes and dollars, is written down.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, update

from fieldstone.errors import Retryable
from fieldstone.services.storage.codes import fast_tree
from fieldstone.services.storage.codes.stripes import Layout
from fieldstone.services.storage.pool import segments
from fieldstone.services.storage.pool.download import Download
from fieldstone.services.storage.pool.durability import OFFLINE_LOSS, loss_before, loss_probability
from fieldstone.services.storage.pool.parts import Parts
from fieldstone.services.storage.pool.placement import TooFewNodes, place
from fieldstone.services.storage.pool.profile import Profile
from fieldstone.services.storage.pool.segments import Segment, Share
from fieldstone.services.storage.pool.tables import node, repair, segment, share, state
from fieldstone.services.storage.pool.upload import NotStored, Receipt, Upload
from fieldstone.services.storage.pool.watch import Absence
from fieldstone.services.storage.pool.wire import Blocks
from fieldstone.services.storage.pool.writing import SEED

_PAGE = 1_000
_TURN_MS = 600_000
_CUT_BYTES = 1_048_576


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
    anew; `loss`: probability that it is lost before the next pass."""

    segment: bytes
    k: int
    n: int
    there: int
    missing: tuple[int, ...]
    loss: float


@dataclass(frozen=True, slots=True)
class Repaired:
    """What one repair did and cost. `problem`: why it could not be done ('' when it could)."""

    segment: bytes
    healthy_before: int
    healthy_after: int
    read_bytes: int = 0
    written_bytes: int = 0
    cost_micro_usd: int = 0
    problem: str = ""


class Repair:
    """Run `scan` and `run` in turn, or `once`. One process per database repairs at a time."""

    def __init__(self, parts: Parts, rules: RepairRules | None = None) -> None:
        self._parts = parts
        self.rules = rules or RepairRules()
        self._free_at = 0.0

    async def once(self, absences: Mapping[str, Absence], *, most: int = 100) -> list[Repaired]:
        """Declare lost nodes, scan all segments, repair up to `most` of them. Empty when another process has its turn."""
        if not await self._parts.database.write(self._take_turn):
            return []
        await self.declare_lost(absences)
        done = []
        for patient in (await self.scan(absences))[:most]:
            done.append(await self.repair(patient, absences))
            await self._parts.database.write(self._take_turn)
        return done

    async def declare_lost(self, absences: Mapping[str, Absence]) -> list[str]:
        """Give up the shares of nodes that have been away for `lost_ms`; return the nodes. A returning node keeps what
        is not regenerated yet only if it returns before."""
        now_ms = self._parts.clock.now_ms()
        gone = [
            device
            for device, absence in absences.items()
            if absence.offline_since_ms is not None and now_ms - absence.offline_since_ms >= self.rules.lost_ms
        ]

        def write(connection: Connection) -> None:
            for device in gone:
                never = (node.c.device == device) & node.c.lost_ms.is_(None)
                connection.execute(node.update().where(never).values(lost_ms=now_ms))
                held = (share.c.device == device) & (share.c.state == "held")
                connection.execute(update(share).where(held).values(state="lost", changed_ms=now_ms))

        if gone:
            await self._parts.database.write(write)
        return gone

    async def fail_audit(self, share_ids: Collection[bytes], detail: str, *, device: str | None = None) -> int:
        """Give up shares that failed an audit of the network (those on `device` only, if given); return how many were held."""
        now_ms = self._parts.clock.now_ms()
        here = None if device is None else await self._parts.database.read(lambda c: _held_on(c, device))
        wanted = [share_id for share_id in share_ids if here is None or share_id in here]
        if not wanted:
            return 0
        for segment_id in await self._parts.database.read(lambda c: _segments_of(c, wanted)):
            self._parts.forget(segment_id)

        def write(connection: Connection) -> int:
            count = 0
            for share_id in wanted:
                if device is not None and not _can_be_missed(connection, share_id):
                    continue
                if segments.mark(connection, share_id, "corrupt", now_ms):
                    holder = connection.execute(select(share.c.device).where(share.c.id == share_id)).scalar_one()
                    segments.note_incident(connection, holder, share_id, "failed_audit", detail, now_ms)
                    count += 1
            return count

        return await self._parts.database.write(write)

    async def heed_audits(self) -> int:
        """Give up the shares that the network names as failed; return how many of ours were held there.

        Only shares that lie on the device that failed, and never more of a segment than may be missed: the network's
        word alone cannot make an object unreadable.
        """
        count = 0
        for found in list(self._parts.directory):
            if found.failed:
                count += await self.fail_audit(found.failed, "the network's audit", device=found.did)
        return count

    async def scan(self, absences: Mapping[str, Absence]) -> list[Patient]:
        """Return the live segments that need repair, the one most likely to be lost first."""
        found: list[Patient] = []
        after = b""
        while True:
            page = await self._parts.database.read(lambda c, after=after: _page(c, after))  # type: ignore[misc]
            for segment_id, k, n, shares in page:
                patient = self.examine(segment_id, k, n, shares, absences)
                if patient is not None:
                    found.append(patient)
            if len(page) < _PAGE:
                break
            after = page[-1][0]
        return sorted(found, key=lambda patient: (-patient.loss, patient.segment))

    def examine(
        self, segment_id: bytes, k: int, n: int, shares: Sequence[tuple[int, str]], absences: Mapping[str, Absence]
    ) -> Patient | None:
        """Judge a segment by its held shares (number, device); None when nothing is to be done."""
        now_ms = self._parts.clock.now_ms()
        healthy = loss_before(self.rules.interval_s)
        leaves = False
        losses: dict[int, float] = {}
        for number, device in shares:
            absence = absences.get(device, Absence())
            since_ms = absence.offline_since_ms
            if absence.is_going:
                leaves = leaves or since_ms is None
                continue
            is_listed = self._parts.directory.get(device) is not None
            if since_ms is None and is_listed:
                losses[number] = healthy
            elif since_ms is None or now_ms - since_ms < self.rules.grace_ms:
                losses[number] = min(losses.get(number, 1.0), OFFLINE_LOSS)
        missing = tuple(number for number in range(n) if number not in losses)
        if not missing:
            return None
        loss = loss_probability(k, losses.values())
        least = Profile(f"{k}/{n}", k, n).least
        if len(losses) > least and loss <= self.rules.danger and not leaves:
            return None
        return Patient(segment_id, k, n, len(losses), missing, loss)

    async def repair(self, patient: Patient, absences: Mapping[str, Absence]) -> Repaired:
        """Regenerate the missing shares of one segment from k verified ones and place them anew. Never raises Retryable."""
        try:
            return await self._repair(patient, absences)
        except Retryable as problem:
            return Repaired(patient.segment, patient.there, patient.there, problem=str(problem))

    async def _repair(self, patient: Patient, absences: Mapping[str, Absence]) -> Repaired:
        parts = self._parts
        parts.forget(patient.segment)
        found = await parts.segment(patient.segment)
        layout = found.layout
        await self._pace(layout.share_bytes * (layout.k + len(patient.missing)))
        download = parts.download(found)
        made, copied = await self._copied(download, found, patient.missing)
        rest = [number for number in patient.missing if number not in made]
        good: dict[int, memoryview] = {}
        wrong: list[Share] = []
        if rest:
            anew, good, wrong = await download.certain(rest)
            made |= anew
        for one in wrong:
            parts.nodes.note_wrong_bytes(one.device)
            await parts.note_fault(found, one, "corrupt", "wrong_root", {"range": (0, one.size_bytes)})
        read_bytes = layout.share_bytes * (copied + len(good) + len(wrong))
        receipts = await self._upload(found, patient, made, wrong)
        held = {receipt.share.number for receipt in receipts}
        old = [s.id for s in found.shares.values() if s.number in held]
        now_ms = parts.clock.now_ms()
        written = sum(receipt.share.size_bytes for receipt in receipts)
        cost = -(-read_bytes * self.rules.price_micro_usd_per_gib // 2**30)
        lost = sum(one.number not in patient.missing for one in wrong)
        after = patient.there - lost + len(receipts)

        def write(connection: Connection) -> None:
            rows = [(one.share.id, one.leaf_bytes, one.root, one.message) for one in receipts]
            segments.hold(connection, rows, now_ms)
            segments.leave(connection, old, now_ms)
            lost = (share.c.segment_id == found.id) & share.c.state.in_(("lost", "corrupt"))
            regenerated = lost & share.c.number.in_(held)
            connection.execute(update(share).where(regenerated).values(state="leaving", changed_ms=now_ms))
            row = {"at_ms": now_ms, "segment_id": found.id, "healthy_before": patient.there, "healthy_after": after,
                   "read_bytes": read_bytes, "written_bytes": written, "cost_micro_usd": cost}  # fmt: skip
            connection.execute(repair.insert(), row)

        await parts.database.write(write)
        parts.forget(found.id)
        return Repaired(found.id, patient.there, after, read_bytes, written, cost)

    async def _copied(
        self, download: Download, found: Segment, numbers: Sequence[int]
    ) -> tuple[dict[int, memoryview], int]:
        """Return the shares that nodes which leave still gave whole and right, and how many came. One read is k less."""
        going = [found.shares[number] for number in numbers if number in found.shares]
        nodes = {one.id: self._parts.directory.get(one.device) for one in going}
        wanted = [one for one in going if (node := nodes[one.id]) is not None and node.is_leaving]
        bodies = await asyncio.gather(*map(download.whole_share, wanted))
        made = {one.number: body for one, body in zip(wanted, bodies, strict=True) if isinstance(body, memoryview)}
        return made, len(made)

    async def _upload(
        self, found: Segment, patient: Patient, made: Mapping[int, memoryview], wrong: Sequence[Share]
    ) -> list[Receipt]:
        """Put the regenerated shares on new nodes, as many as there are nodes for."""
        parts, layout = self._parts, found.layout
        profile = Profile(f"{layout.k}/{layout.n}", layout.k, layout.n, layout.block_bytes)
        bad = {share.device for share in wrong}
        remaining = [s for s in found.shares.values() if s.number not in patient.missing and s.device not in bad]
        holders = [one for s in remaining if (one := parts.directory.get(s.device)) is not None]
        # who holds (or should hold) another share of the segment gets no second one, and who lied gets none
        taken = {s.device for s in found.shares.values()} | bad
        free = [c for c in parts.candidates() if c.node.did not in taken]
        # whoever had a share of it and lost, spoilt or gave it up is asked again only where there is nobody else
        before = await parts.database.read(lambda c: _ever_held(c, found.id))
        usable = [c for c in free if c.node.did not in before]
        numbers = patient.missing
        while True:
            try:
                placement = place(
                    profile, usable, seed=SEED, share_bytes=layout.share_bytes, indexes=numbers, holders=holders
                )
                break
            except TooFewNodes as few:
                if len(usable) < len(free):
                    usable = free
                    continue
                if few.have == 0:
                    raise
                numbers = numbers[: few.have]

        async def plan(shares: Sequence[Share]) -> None:
            now_ms = parts.clock.now_ms()
            await parts.database.write(lambda c: segments.plan_shares(c, found.id, shares, now_ms))

        upload = Upload(parts.nodes, _Made(layout, made), profile, placement, plan)
        await plan([one for one, _ in upload.first])
        upload.start()
        try:
            receipts = await upload.enough(need=1, goal=len(numbers))
        except NotStored:
            await self._leave(upload)
            raise
        finally:
            await upload.stop()
        await self._leave(upload)
        return list(receipts.values())

    async def _leave(self, upload: Upload) -> None:
        ids, now_ms = [one.id for one in upload.failed], self._parts.clock.now_ms()
        if ids:
            await self._parts.database.write(lambda c: segments.leave(c, ids, now_ms))

    async def _pace(self, size_bytes: int) -> None:
        """Wait until so many bytes fit under the cap."""
        now = time.monotonic()
        wait_s = self._free_at - now
        self._free_at = max(now, self._free_at) + size_bytes / self.rules.bytes_per_s
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    def _take_turn(self, connection: Connection) -> bool:
        """Let one process repair: two would regenerate the same shares twice. A turn ends by itself after ten minutes."""
        connection.execute(
            select(state.c.value).where(state.c.name == "schema").with_for_update()
        )  # one decides at a time
        now_ms = self._parts.clock.now_ms()
        name = f"repair until, {self._parts.writer}"
        busy = select(state.c.name).where(
            state.c.name.like("repair until, %"), state.c.name != name, state.c.value > now_ms
        )
        if connection.execute(busy).first() is not None:
            return False
        connection.execute(state.delete().where(state.c.name.like("repair until, %")))
        connection.execute(state.insert(), {"name": name, "value": now_ms + _TURN_MS})
        return True


class _Made:
    """Regenerated shares, to be sent (upload.Coded)."""

    is_whole = True

    def __init__(self, layout: Layout, made: Mapping[int, memoryview]) -> None:
        self.layout = layout
        self._made = made

    async def blocks(self, number: int) -> Blocks:
        body = self._made[number]
        for at in range(0, len(body), _CUT_BYTES):
            yield [body[at : at + _CUT_BYTES]]

    def root(self, number: int, leaf_bytes: int) -> bytes:
        return fast_tree.Tree.build(self._made[number], leaf_bytes).commitment


def _ever_held(connection: Connection, segment_id: bytes) -> frozenset[str]:
    return frozenset(connection.execute(select(share.c.device).where(share.c.segment_id == segment_id)).scalars())


def _held_on(connection: Connection, device: str) -> frozenset[bytes]:
    held = (share.c.device == device) & (share.c.state == "held")
    return frozenset(connection.execute(select(share.c.id).where(held)).scalars())


def _can_be_missed(connection: Connection, share_id: bytes) -> bool:
    """Tell whether a share's segment has more held shares than an upload may end with."""
    found = connection.execute(
        select(segment.c.id, segment.c.k, segment.c.n)
        .join(share, share.c.segment_id == segment.c.id)
        .where(share.c.id == share_id)
    ).one()
    held = (share.c.segment_id == found.id) & (share.c.state == "held")
    count = connection.execute(select(func.count()).select_from(share).where(held)).scalar_one()
    return int(count) > Profile(f"{found.k}/{found.n}", found.k, found.n).least


def _segments_of(connection: Connection, share_ids: Collection[bytes]) -> list[bytes]:
    found: list[bytes] = []
    for share_id in share_ids:
        found += connection.execute(select(share.c.segment_id).where(share.c.id == share_id)).scalars().all()
    return list(dict.fromkeys(found))


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


def cost_so_far(connection: Connection, since_ms: int = 0) -> tuple[int, int, int]:
    """Return (bytes read, bytes written, micro-dollars) of all repairs since a time."""
    found = select(repair.c.read_bytes, repair.c.written_bytes, repair.c.cost_micro_usd).where(
        repair.c.at_ms >= since_ms
    )
    rows = connection.execute(found).all()
    return (
        sum(row.read_bytes for row in rows),
        sum(row.written_bytes for row in rows),
        sum(row.cost_micro_usd for row in rows),
    )
