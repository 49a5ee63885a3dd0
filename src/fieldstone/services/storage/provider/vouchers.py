"""What gateways owe for reads: each order is a cumulative voucher, and the newest of each gateway is what gets paid.

An order of `length` bytes with `egress_bytes` = e stands for the bytes e − length … e of all that this gateway ever
ordered here. Every byte of that line is used once: an order is taken when its piece of the line is free, so

    Σ lengths of taken orders ≤ newest egress_bytes                                             (never more than owed)

Parallel requests may overtake each other, so pieces below the newest one are kept as gaps and may be used for as long
as the process runs (a bounded number; the oldest are forgotten). After a restart only the newest voucher counts.

The newest voucher of each gateway is written within two seconds (`commit`). A crash loses at most what was served in that
time, which is the provider's own loss: payment is by the newest voucher, and the next one includes it.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field

from fieldstone.services.storage.provider import index as index_
from fieldstone.services.storage.provider.commit import Change, Committer
from fieldstone.services.storage.provider.index import Index
from fieldstone.services.storage.provider.orders import Order
from fieldstone.services.storage.provider.refusals import refuse

_MOST_GAPS = 1_024


@dataclass
class _Account:
    newest: int = 0
    message: bytes = b""
    gaps: list[tuple[int, int]] = field(default_factory=list)  # free pieces below the newest, from low to high


class Vouchers:
    """The newest voucher of each gateway. Used from one thread (the event loop's), except `unreported`."""

    def __init__(self, index: Index, committer: Committer) -> None:
        self._index, self._committer = index, committer
        self._accounts = {name: _Account(egress, message) for name, egress, message, _ in index.vouchers()}

    def newest(self, gateway: str) -> int:
        """Return the newest `egress_bytes` taken from a gateway."""
        account = self._accounts.get(gateway)
        return account.newest if account else 0

    def take(self, order: Order, length: int) -> None:
        """Take the voucher of an order to read `length` bytes. Raises Rejected VOUCHER_TOO_LOW."""
        record = order.record
        account = self._accounts.setdefault(record.gateway, _Account())
        low, high = record.egress_bytes - length, record.egress_bytes
        if low < account.newest:
            if not _use(account.gaps, low, high):
                detail = f"the newest is {account.newest}, {length} bytes were asked for with {high}"
                raise refuse("VOUCHER_TOO_LOW", record.gateway, detail)
            return
        if low > account.newest:
            account.gaps.append((account.newest, low))
            del account.gaps[:-_MOST_GAPS]
        account.newest, account.message = high, order.message
        gateway, message = record.gateway, order.message
        self._committer.soon(("voucher", gateway), lambda writer: index_.put_voucher(writer, gateway, high, message))

    def unreported(self) -> list[tuple[str, int, bytes]]:
        """Return (gateway, egress_bytes, order) of durable vouchers that rose since they were reported."""
        return [(name, egress, body) for name, egress, body, reported in self._index.vouchers() if egress > reported]

    def reported(self, sent: list[tuple[str, int, bytes]]) -> None:
        """Note what was handed to the agent's buffer."""

        def apply(writer: sqlite3.Connection) -> None:
            writer.executemany(
                "UPDATE vouchers SET reported_bytes = max(reported_bytes, ?) WHERE gateway = ?",
                [(egress, name) for name, egress, _ in sent],
            )

        self._committer.submit(Change(apply)).result()


def _use(gaps: list[tuple[int, int]], low: int, high: int) -> bool:
    for place, (start, end) in enumerate(gaps):
        if start <= low and high <= end:
            gaps[place : place + 1] = [gap for gap in ((start, low), (high, end)) if gap[0] < gap[1]]
            return True
    return False
