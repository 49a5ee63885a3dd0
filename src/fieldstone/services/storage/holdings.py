"""Holdings: who holds which share for whom, as a fold over the carry and the lease and release reports since.

A line of a lease counts when the receipt in it verifies for the provider that it names, names the reporting gateway,
and commits to a leaf size and share size within the limits; when that provider was enrolled by then; and when neither
the share nor the same bytes (root) are held by that provider already. A receipt makes one lease: it is worthless after
`receipt_valid_s` and after the share's release, or a gateway could let a provider drop bytes and then have it asked for
them. A gateway that deletes at the provider and says nothing to the network does the same; against that the provider
reports the signed order to delete (`deleted`): it ends the lease as a release does and voids receipts up to its expiry;
the share is counted as given up (`until_ms`) from when the order can have been signed, `delete_order_life_s` before its end.
A share id is used once, so no order to delete can meet a later share. Both sides have signed then: the receipt is the
provider's word that it holds the bytes, the report the gateway's that it pays.

Events are taken in journal order and each is judged by what came before it, so the fold up to a position is the same
whether it is taken at that moment (what does this round ask?) or months later (was it answered?).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from blake3 import blake3

from fieldstone.errors import Rejected
from fieldstone.identity import cose
from fieldstone.identity.keys import PublicKey, verify
from fieldstone.reasons import reason
from fieldstone.services.contract import EpochInput
from fieldstone.services.storage import records
from fieldstone.services.storage.schema import DELETED, LEASE, RELEASE

__all__ = ["FOREVER", "HOLDING_SCHEMA", "REFUSED_SCHEMA", "Fold", "device_keys", "fold", "opened"]

FOREVER = 2**62  # `until_*` of a holding that was not released

HOLDING_SCHEMA: dict[str, pl.DataType] = {
    "device": pl.String(),
    "share": pl.Binary(),
    "gateway": pl.String(),
    "segment": pl.Binary(),
    "index": pl.Int64(),
    "size_bytes": pl.Int64(),
    "leaf_bytes": pl.Int64(),
    "root": pl.Binary(),
    "from_position": pl.Int64(),
    "from_ms": pl.Int64(),  # receipt of the lease report: the network's clock, which nobody can backdate
    "until_position": pl.Int64(),
    "until_ms": pl.Int64(),
    "proven_ms": pl.Int64(),  # when the newest round was issued whose question about this share was answered; 0: never
    "failed_ms": pl.Int64(),  # …was not, or wrongly
    "read_ms": pl.Int64(),  # …when a committee of checkers read it well
    "paid_units": pl.Int64(),  # KiB-seconds proven since the lease
}
REFUSED_SCHEMA: dict[str, pl.DataType] = {
    "gateway": pl.String(),
    "provider": pl.String(),
    "share": pl.Binary(),
    "position": pl.Int64(),
    "cause": pl.String(),
}


@dataclass(frozen=True)
class Fold:
    """`holdings`: HOLDING_SCHEMA sorted by device, share, from_position. `refused`: REFUSED_SCHEMA, in journal order."""

    holdings: pl.DataFrame
    refused: pl.DataFrame


def fold(inp: EpochInput, devices: Collection[str] | None = None, before: int = FOREVER) -> Fold:
    """Return the holdings of `devices` (None: of the registry's) after all events before journal position `before`.

    A lease line that names a provider outside `devices` is passed over: another partition judges it.
    """
    enrolled = dict(inp.registry.select("device", "enrolled_ms").iter_rows())
    mine = frozenset(enrolled if devices is None else devices)
    carried = inp.carry.get("holdings", pl.DataFrame(schema=HOLDING_SCHEMA))
    carried = carried.filter(pl.col("device").is_in(sorted(mine)))
    book = _Book(carried, inp.params, enrolled, device_keys(inp), mine)
    for kind, gateway, received_ms, position, body in _events(inp, before):
        if kind == LEASE:
            book.lease(gateway, received_ms, position, body)
        elif kind == DELETED:
            book.deleted(gateway, received_ms, position, body)
        else:
            book.release(gateway, received_ms, position, body)
    return book.close()


def device_keys(inp: EpochInput) -> dict[str, tuple[str, ...]]:
    """Return the keys (did:key) of devices that changed theirs; every other device's key is its own id.

    The network's registry knows (`public`, `retired`); a partition gets them as the carry table `keys`.
    """
    table = inp.carry.get("keys")
    if table is None:
        if not {"public", "retired"} <= set(inp.registry.columns):
            return {}
        table = inp.registry.filter(pl.col("public") != pl.col("device")).select("device", "public", "retired")
    return {device: (device, public, *(retired or ())) for device, public, retired in table.iter_rows()}


def opened(
    message: bytes, kind: type[records.R], signer: str, purpose: bytes, keys: Mapping[str, tuple[str, ...]]
) -> records.R:
    """Return the record that device `signer` signed. Raises Rejected. A signature is checked once per process."""
    envelope = cose.parse(message)
    for name in keys.get(signer, (signer,)):
        public = PublicKey.from_device_id(name)
        if envelope.kid == public.kid and _verified(public, envelope.signed_bytes(purpose), envelope.signature):
            return records.decode(envelope.payload, kind)
    raise Rejected(reason("BAD_SIGNATURE"), signer)


_VERIFIED: dict[bytes, bool] = {}
_MOST_VERIFIED = 500_000


def _verified(public: PublicKey, message: bytes, signature: bytes) -> bool:
    # the same receipt is looked at by every round's fold of the epoch: remember the answer, not the message
    name = blake3(public.raw + signature + message).digest(length=16)
    known = _VERIFIED.get(name)
    if known is None:
        if len(_VERIFIED) >= _MOST_VERIFIED:
            _VERIFIED.clear()
        known = _VERIFIED[name] = verify(public, message, signature)
    return known


def _events(inp: EpochInput, before: int) -> list[tuple[str, str, int, int, bytes]]:
    found = [
        (kind, *row)
        for kind in (LEASE, RELEASE, DELETED)
        if kind in inp.evidence
        for row in inp.evidence[kind]
        .filter(pl.col("position") < before)
        .select("device", "received_ms", "position", "body")
        .iter_rows()
    ]
    return sorted(found, key=lambda event: event[3])


class _Book:
    """The fold while it runs. Only what events touch is taken out of the carried table."""

    def __init__(
        self,
        carried: pl.DataFrame,
        params: Mapping[str, Any],
        enrolled: Mapping[str, int],
        keys: Mapping[str, tuple[str, ...]],
        mine: frozenset[str],
    ) -> None:
        self._carried = carried
        self._enrolled, self._keys, self._mine = enrolled, keys, mine
        self._leaf_sizes = frozenset(params["leaf_bytes_allowed"])
        self._max_bytes = int(params["max_share_bytes"])
        self._receipt_ms = int(params["receipt_valid_s"]) * 1_000
        self._order_ms = int(params["delete_order_life_s"]) * 1_000
        self._rows: list[list[Any]] = []
        self._live: dict[tuple[str, bytes], list[Any]] = {}  # (device, share) → new or changed row
        self._roots: dict[tuple[str, bytes], bytes] = {}  # (device, root) → share
        self._refused: list[tuple[str, str, bytes, int, str]] = []
        self._gone: dict[tuple[str, bytes], int] = {}  # (device, share) → ms of its newest release
        self._ordered: dict[tuple[str, bytes, str], int] = {}  # (device, share, gateway) → end of its order to delete
        self._index: tuple[dict[tuple[str, bytes], int], dict[tuple[str, bytes], int]] | None = None
        self._ended: dict[int, tuple[int, int]] = {}  # carried row → until_position, until_ms

    def lease(self, gateway: str, received_ms: int, position: int, body: bytes) -> None:
        try:
            lines = records.decode(body, records.Lease).shares
        except Rejected:
            self._refuse(gateway, "", b"", position, "the report is not a lease")
            return
        for line in lines:
            self._line(gateway, received_ms, position, line)

    def _line(self, gateway: str, received_ms: int, position: int, line: records.LeasedShare) -> None:
        try:
            claimed = records.decode(cose.parse(line.receipt).payload, records.ShareReceipt)
        except Rejected:
            self._refuse(gateway, "", b"", position, "no receipt")
            return
        provider, share = claimed.provider, claimed.share
        if provider not in self._mine:
            return
        cause = ""
        if claimed.gateway != gateway:
            cause = "the receipt names another gateway"
        elif claimed.leaf_bytes not in self._leaf_sizes or claimed.size_bytes > self._max_bytes:
            cause = "leaf or share size outside the rules"
        elif self._enrolled.get(provider, FOREVER) > received_ms:
            cause = "the provider was not enrolled yet"
        elif received_ms > claimed.stored_ms + self._receipt_ms:
            cause = "the receipt is too old"
        elif claimed.stored_ms <= self._released_ms(provider, share, gateway):
            cause = "the receipt is older than the share's release"
        elif self._is_held(provider, share):
            cause = "the provider holds this share already"
        elif self._has_root(provider, claimed.root):
            cause = "the provider holds the same bytes already"
        else:
            try:
                opened(line.receipt, records.ShareReceipt, provider, records.RECEIPT, self._keys)
            except Rejected:
                cause = "the provider did not sign the receipt"
        if cause:
            self._refuse(gateway, provider, share, position, cause)
            return
        row = [provider, share, gateway, line.segment, line.index, claimed.size_bytes, claimed.leaf_bytes, claimed.root]
        row += [position, received_ms, FOREVER, FOREVER, 0, 0, 0, 0]
        self._rows.append(row)
        self._live[provider, share] = row
        self._roots[provider, claimed.root] = share

    def release(self, gateway: str, received_ms: int, position: int, body: bytes) -> None:
        try:
            lines = records.decode(body, records.Release).shares
        except Rejected:
            self._refuse(gateway, "", b"", position, "the report is not a release")
            return
        for provider, share in lines:
            if provider in self._mine and not self._end(gateway, provider, share, position, received_ms):
                self._refuse(gateway, provider, share, position, "released, but not leased by this gateway")

    def deleted(self, provider: str, received_ms: int, position: int, body: bytes) -> None:
        if provider not in self._mine:
            return
        try:
            orders = records.decode(body, records.Deletion).orders
        except Rejected:
            self._refuse("", provider, b"", position, "the report is not one of deletions")
            return
        for message in orders:
            try:
                claimed = records.decode(cose.parse(message).payload, records.AccessOrder)
                order = opened(message, records.AccessOrder, claimed.gateway, records.ACCESS, self._keys)
            except Rejected:
                self._refuse("", provider, b"", position, "no order that a gateway signed")
                continue
            if order.provider != provider or order.operation != "delete":
                self._refuse(order.gateway, provider, order.share, position, "no order to delete here")
                continue
            ordered_ms = min(received_ms, order.expires_ms - self._order_ms)
            self._end(order.gateway, provider, order.share, position, ordered_ms)
            key = provider, order.share, order.gateway  # nobody but who pays for it can say that a share is to go
            self._ordered[key] = max(order.expires_ms, self._ordered.get(key, -1))

    def _end(self, gateway: str, provider: str, share: bytes, position: int, received_ms: int) -> bool:
        # a lease that began later than it is said to have ended lasted no time at all
        row = self._live.get((provider, share))
        if row is not None:
            if row[2] != gateway:
                return False
            row[10], row[11] = position, max(received_ms, row[9])
            self._gone[provider, share] = row[11]
            del self._live[provider, share], self._roots[provider, row[7]]
            return True
        by_share, _ = self._carried_index()
        place = by_share.get((provider, share))
        if place is None or place in self._ended or self._carried["gateway"][place] != gateway:
            return False
        until_ms = max(received_ms, int(self._carried["from_ms"][place]))
        self._ended[place] = (position, until_ms)
        self._gone[provider, share] = until_ms
        return True

    def _released_ms(self, provider: str, share: bytes, gateway: str) -> int:
        self._carried_index()
        return max(self._gone.get((provider, share), -1), self._ordered.get((provider, share, gateway), -1))

    def _is_held(self, provider: str, share: bytes) -> bool:
        place = self._carried_index()[0].get((provider, share))
        return (provider, share) in self._live or (place is not None and place not in self._ended)

    def _has_root(self, provider: str, root: bytes) -> bool:
        place = self._carried_index()[1].get((provider, root))
        return (provider, root) in self._roots or (place is not None and place not in self._ended)

    def _carried_index(self) -> tuple[dict[tuple[str, bytes], int], dict[tuple[str, bytes], int]]:
        if self._index is None:
            live = self._carried.with_row_index("place").filter(pl.col("until_position") == FOREVER)
            by_share, by_root = {}, {}
            for place, device, share, root in live.select("place", "device", "share", "root").iter_rows():
                by_share[device, share] = by_root[device, root] = place
            ended = self._carried.filter(pl.col("until_position") != FOREVER)
            for device, share, until_ms in ended.select("device", "share", "until_ms").iter_rows():
                self._gone[device, share] = max(until_ms, self._gone.get((device, share), -1))
            self._index = by_share, by_root
        return self._index

    def _refuse(self, gateway: str, provider: str, share: bytes, position: int, cause: str) -> None:
        self._refused.append((gateway, provider, share, position, cause))

    def close(self) -> Fold:
        carried = self._carried
        if self._ended:
            ended = pl.DataFrame(
                [(place, *end) for place, end in sorted(self._ended.items())],
                schema={"place": pl.UInt32(), "ended_position": pl.Int64(), "ended_ms": pl.Int64()},
                orient="row",
            )
            carried = (
                carried.with_row_index("place")
                .join(ended, on="place", how="left", maintain_order="left")
                .with_columns(
                    until_position=pl.coalesce("ended_position", "until_position"),
                    until_ms=pl.coalesce("ended_ms", "until_ms"),
                )
                .select(list(HOLDING_SCHEMA))
            )
        new = pl.DataFrame(self._rows, schema=HOLDING_SCHEMA, orient="row")
        holdings = pl.concat([carried.select(list(HOLDING_SCHEMA)), new]).sort("device", "share", "from_position")
        return Fold(holdings, pl.DataFrame(self._refused, schema=REFUSED_SCHEMA, orient="row"))
