"""Shares that are given up unread: their node is lost, or failed the network's audit. Their leases are released.

All of this is others' word, or silence. When it is our own line that is down, every node looks lost; so nobody is
declared lost while most nodes are away, and no share is given up of which its segment could not be read without: at least
half of the margin that a write ends with stays, however many are named. A share that stays costs nothing: who does not
prove it is not paid for it, and repair makes it anew elsewhere all the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection, select

from fieldstone.services.storage.pool import segments
from fieldstone.services.storage.pool.parts import Parts
from fieldstone.services.storage.pool.profile import Profile
from fieldstone.services.storage.pool.tables import node, segment, share
from fieldstone.services.storage.pool.watch import Absence

_PAGE = 500


async def declare_lost(parts: Parts, absences: Mapping[str, Absence], lost_ms: int) -> list[str]:
    """Give up the shares of nodes that have been away for `lost_ms`; return the nodes. A returning node keeps what
    is not regenerated yet only if it returns before."""
    now_ms = parts.clock.now_ms()
    away = sum(absences.get(one.did, Absence()).offline_since_ms is not None for one in parts.directory)
    if 2 * away > len(parts.directory):
        return []
    gone = [
        device
        for device, absence in absences.items()
        if absence.offline_since_ms is not None and now_ms - absence.offline_since_ms >= lost_ms
    ]
    for device in gone:
        never = (node.c.device == device) & node.c.lost_ms.is_(None)
        await parts.database.write(lambda c, never=never: c.execute(node.update().where(never).values(lost_ms=now_ms)))  # type: ignore[misc]
        after = b""
        while page := await parts.database.read(lambda c, d=device, after=after: _held_on(c, d, after)):  # type: ignore[misc]
            await parts.database.write(lambda c, page=page: _give_up(c, page, "lost", now_ms))  # type: ignore[misc]
            after = page[-1]
    return gone


async def fail_audit(parts: Parts, share_ids: Collection[bytes], detail: str, *, device: str | None = None) -> int:
    """Give up shares that failed an audit of the network (those on `device` only, if given); return how many were held."""
    now_ms = parts.clock.now_ms()
    count = 0
    wanted = list(share_ids)
    for page in (wanted[at : at + _PAGE] for at in range(0, len(wanted), _PAGE)):
        held = await parts.database.read(lambda c, page=page: _held_of(c, page, device))  # type: ignore[misc]
        if not held:
            continue

        def write(connection: Connection, held: Mapping[bytes, tuple[bytes, str]] = held) -> int:
            if device is None:
                given = [one for one in held if segments.mark(connection, one, "corrupt", now_ms)]
            else:
                given = _give_up(connection, list(held), "corrupt", now_ms)
            for share_id in given:
                segments.note_incident(connection, held[share_id][1], share_id, "failed_audit", detail, now_ms)
            return len(given)

        count += await parts.database.write(write)
        for segment_id, _ in held.values():
            parts.forget(segment_id)
    return count


async def heed_audits(parts: Parts) -> int:
    """Give up the shares that the network names as failed; return how many of ours were held there.

    Only shares that lie on the device that failed, and never more of a segment than may be missed: the network's
    word alone cannot make an object unreadable.
    """
    count = 0
    for found in list(parts.directory):
        if found.failed:
            count += await fail_audit(parts, found.failed, "the network's audit", device=found.did)
    return count


def _give_up(connection: Connection, share_ids: Sequence[bytes], state: str, now_ms: int) -> list[bytes]:
    """Give up those that can be missed; return them."""
    rows = select(share.c.id, segment.c.k, segment.c.n).join(segment, segment.c.id == share.c.segment_id)
    given = []
    for row in connection.execute(rows.where(share.c.id.in_(share_ids)).order_by(share.c.segment_id)).all():
        # of a profile with one share to spare, that one
        keep = max(row.k, min(Profile(f"{row.k}/{row.n}", row.k, row.n).least, row.n - 1))
        if segments.mark(connection, row.id, state, now_ms, keep=keep):
            given.append(row.id)
    return given


def _held_on(connection: Connection, device: str, after: bytes) -> Sequence[bytes]:
    held = (share.c.device == device) & (share.c.state == "held") & (share.c.id > after)
    return connection.execute(select(share.c.id).where(held).order_by(share.c.id).limit(_PAGE)).scalars().all()


def _held_of(connection: Connection, page: Sequence[bytes], device: str | None) -> dict[bytes, tuple[bytes, str]]:
    """Return those of `page` that are held (on `device`, if given), with segment and device."""
    held = share.c.id.in_(page) & (share.c.state == "held")
    if device is not None:
        held &= share.c.device == device
    found = connection.execute(select(share.c.id, share.c.segment_id, share.c.device).where(held))
    return {row.id: (row.segment_id, row.device) for row in found}
