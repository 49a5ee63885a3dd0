"""The gateway's secret reads against providers: drawn as the network draws, read as customers' reads are, reported as they came."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from fieldstone.errors import Retryable, UsageError
from fieldstone.identity.keys import DeviceKey
from fieldstone.services.storage import records
from fieldstone.services.storage.codes.cipher import CHUNK_BYTES, TAG_BYTES
from fieldstone.services.storage.codes.fast_tree import leaf_hash
from fieldstone.services.storage.codes.stripes import Layout
from fieldstone.services.storage.pool import LeaseReporter, Stored
from fieldstone.services.storage.pool.download import need_of
from fieldstone.services.storage.pool.secret_reader import SecretReader, Wanted, like_a_paid_read
from fieldstone.services.storage.pool.tables import share
from fieldstone.services.storage.rules.v1 import default_params, with_overrides
from fieldstone.services.storage.secret_draw import link_before, reads_drawn
from fieldstone.state.engine import reading
from tests.services.storage.pool.conftest import SMALL, MakeNet, Net
from tests.services.storage.pool.provider import Provider

BODY = os.urandom(600_000)
PARAMS = with_overrides(default_params(), {"secret_every_rounds": 1})


class Network:
    """What a gateway asks and tells."""

    def __init__(self, n: Net) -> None:
        self.n, self.number, self.seed = n, 0, b""
        self.sent: list[tuple[str, bytes]] = []
        self.stored: list[Stored] = []

    def next_round(self) -> None:
        self.n.later(60_000)
        self.number += 1
        self.seed = os.urandom(32)
        self.issued_ms = self.n.clock.now_ms()

    def get(self, path: str) -> dict[str, Any]:
        if not self.number:
            raise UsageError("nothing is asked")
        return {"number": self.number, "seed": self.seed.hex(), "issued_ms": self.issued_ms}

    def send(self, kind: str, body: bytes) -> None:
        self.sent.append((kind, body))

    def reader(self, file: Path) -> SecretReader:
        async def at_once(seconds: float) -> None:
            assert 0 <= seconds <= 900

        async def alone(device: str, seconds: float) -> bool:
            return False

        return SecretReader(self.n.pool.parts, file, PARAMS, self.get, self.send, sleep=at_once, beside=alone)

    async def read_by(self, reader: SecretReader) -> int:
        """Ask rounds until one draws something: of 24 shares a round reads about six, and one in a thousand none."""
        for _ in range(20):
            self.next_round()
            if count := await reader.once():
                return count
        raise AssertionError("twenty rounds drew nothing")


async def leased(n: Net) -> list[Stored]:
    stored = [await n.put(BODY) for _ in range(3)]
    for one in stored:
        n.adopt(one)
    await LeaseReporter(n.pool.parts, lambda kind, body: None).once()
    return stored


@asynccontextmanager
async def bound(net: MakeNet, folder: Path) -> AsyncIterator[tuple[Net, Network, SecretReader]]:
    """Give a pool that leases three segments from eight providers, and its reader, bound by a chain: what follows is read."""
    async with net(8) as n:
        network = Network(n)
        network.stored = await leased(n)
        reader = network.reader(folder / "chain.json")
        network.next_round()
        await reader.once()
        yield n, network, reader


async def test_a_round_is_read_once_and_revealed_with_its_link(net: MakeNet, tmp_path: Path) -> None:
    async with net(8) as n:
        await leased(n)
        network = Network(n)
        file = tmp_path / "chain.json"
        reader = network.reader(file)
        assert await reader.once() is None  # nothing was asked yet
        network.next_round()
        assert await reader.once() is None  # bound from the next round on
        [(kind, body)] = network.sent
        chain = records.decode(body, records.ReaderChain)
        assert (kind, chain.first) == ("chain", 2) and file.stat().st_mode & 0o077 == 0
        count = await network.read_by(reader)
        assert await reader.once() is None
        assert {kind for kind, _ in network.sent[1:]} == {"check"}
        first, said = (records.decode(network.sent[place][1], records.CheckSet) for place in (1, -1))
        assert (first.number, said.number, len(said.checks)) == (2, network.number, count)
        assert link_before(first.secret) == chain.tip
        by_did = {p.did: p for p in n.providers}
        for check in said.checks:
            holder = by_did[check.provider]
            stored = bytes(holder.shares[check.share])
            names = sorted(holder.shares)
            sizes = [len(holder.shares[name]) for name in names]
            columns = names, sizes, [holder.leaf_bytes] * len(names), [network.issued_ms - 1] * len(names)
            drawn = reads_drawn(said.secret, network.seed, holder.did, network.issued_ms, *columns)
            assert (check.share, check.leaf_index) in [(names[place], leaf) for place, leaf in drawn]
            assert check.at_ms == n.clock.now_ms()
            low = check.leaf_index * holder.leaf_bytes
            assert (check.outcome, check.answer) == ("ok", leaf_hash(stored[low : low + holder.leaf_bytes]))
        again = network.reader(file)  # after a restart the chain goes on, also past the same round
        network.next_round()
        assert await again.once() is not None
        later = records.decode(network.sent[-1][1], records.CheckSet)
        assert link_before(later.secret) == said.secret


async def test_the_order_looks_like_a_customers(net: MakeNet, tmp_path: Path) -> None:
    async with bound(net, tmp_path) as (n, network, reader):
        stored = await n.put(BODY)
        for start in range(0, 500_000, 50_000):
            await n.get(stored, start, start + 40_000)
        paid = [order for p in n.providers for order in p.orders if order.operation == "get"]
        before = {p.did: len(p.orders) for p in n.providers}
        assert await network.read_by(reader)
        tests = [order for p in n.providers for order in p.orders[before[p.did] :]]
        assert tests and {order.gateway for order in tests} == {order.gateway for order in paid}
        for provider in n.providers:  # one rising voucher for both
            counts = [order.egress_bytes for order in provider.orders if order.operation == "get"]
            assert counts == sorted(set(counts))


async def test_a_read_waits_for_a_paid_one_beside_it(net: MakeNet) -> None:
    async with net(8) as n:
        stored = await n.put(BODY)
        nodes = n.pool.parts.nodes
        assert not await nodes.beside_a_read("somebody", 0.0)
        found = await n.pool.parts.segment(stored.segments[0].id)
        waiting = [asyncio.create_task(nodes.beside_a_read(s.device, 60.0)) for s in found.shares.values()]
        await asyncio.sleep(0)
        await n.get(stored)
        done, late = await asyncio.wait(waiting, timeout=0.1)
        assert len(done) >= 4 and all(task.result() for task in done)
        for task in late:
            task.cancel()


async def test_what_we_gave_up_meanwhile_is_neither_read_nor_held_against_anybody(net: MakeNet, tmp_path: Path) -> None:
    async with bound(net, tmp_path) as (n, network, reader):
        kept, asked = list(network.stored), 0

        async def dropped(device: str, seconds: float) -> bool:
            nonlocal asked
            asked += 1
            while kept:
                n.drop(kept.pop())
            return False

        reader._beside = dropped
        while not asked:  # a round may draw nothing
            network.next_round()
            assert await reader.once() == 0
        assert records.decode(network.sent[-1][1], records.CheckSet).checks == ()
        assert not [order for p in n.providers for order in p.orders if order.operation == "get"]


@pytest.mark.parametrize(("switch", "outcome"), [("down", "refused"), ("forget", "refused"), ("lies", "ok")])
async def test_what_does_not_come_is_said(net: MakeNet, tmp_path: Path, switch: str, outcome: str) -> None:
    async with bound(net, tmp_path) as (n, network, reader):
        up = n.providers[-1]
        for provider in n.providers:
            if switch == "forget":
                provider.shares.clear()
            elif provider is not up:
                setattr(provider, switch, True)
        outcomes: set[str] = set()
        while not outcomes:
            await network.read_by(reader)
            said = records.decode(network.sent[-1][1], records.CheckSet)
            outcomes = {check.outcome for check in said.checks if check.provider != up.did}
        assert outcomes == {outcome}
        asked = {check.share for check in said.checks}
        with reading(n.pool.parts.database.engine) as connection:
            rows = connection.execute(select(share.c.id, share.c.segment_id, share.c.state)).all()
        for segment_id in {row.segment_id for row in rows}:
            mine = [row for row in rows if row.segment_id == segment_id]
            lost = {row.id for row in mine if row.state == "lost"}
            drawn = asked & {row.id for row in mine}
            # repair need not wait for an epoch; but k shares stay, whatever their holders say, and a round may draw more
            expected = min(len(drawn), len(mine) - SMALL.k) if switch == "forget" else 0
            assert lost <= drawn and len(lost) == expected


async def test_a_gateway_whose_own_line_is_down_accuses_nobody(
    net: MakeNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bound(net, tmp_path) as (n, network, reader):
        wanted, measured = 0, reader._measured

        async def counted(one: Wanted) -> records.RetrievalCheck | None:
            nonlocal wanted
            wanted += 1
            return await measured(one)

        monkeypatch.setattr(reader, "_measured", counted)
        for provider in n.providers:
            provider.down = True
        while not wanted:  # a round may draw nothing
            network.next_round()
            assert await reader.once() == 0
        assert records.decode(network.sent[-1][1], records.CheckSet).checks == ()
        for provider in n.providers:
            provider.down = False
        n.pool.parts.directory.replace(())  # started a moment ago, and the network's list did not come yet
        network.next_round()
        assert await reader.once() == 0


async def test_a_database_that_hiccups_costs_one_read_not_the_round(
    net: MakeNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bound(net, tmp_path) as (n, network, reader):
        order, failed = n.pool.parts.vouchers.order, 0

        async def hiccup(wanted: dict[str, int]) -> dict[str, int]:
            nonlocal failed
            if not failed:
                failed += 1
                raise Retryable("the disk is full")
            return await order(wanted)

        monkeypatch.setattr(n.pool.parts.vouchers, "order", hiccup)
        assert await network.read_by(reader)  # where only the one that failed was drawn, in a later round
        said = records.decode(network.sent[-1][1], records.CheckSet)
        assert failed == 1 and {check.outcome for check in said.checks} == {"ok"}


@pytest.mark.parametrize("text", ["", "{", "{}", '{"last": 5}', '{"last": "zz", "first": 1, "length": 1}'])
async def test_a_chain_that_was_cut_off_is_replaced(net: MakeNet, tmp_path: Path, text: str) -> None:
    async with net(8) as n:
        network = Network(n)
        (tmp_path / "chain.json").write_text(text)
        reader = network.reader(tmp_path / "chain.json")
        network.next_round()
        assert await reader.once() is None
        assert [kind for kind, _ in network.sent] == ["chain"]


@pytest.mark.parametrize("number", [0, 3, 5])
def test_a_range_is_one_that_paid_reads_ask_for(number: int) -> None:
    layout = Layout(3_000_000, 4, 8, 65_536)
    chunk = CHUNK_BYTES + TAG_BYTES
    paid = set()
    for first in range(0, 46):
        for count in (1, 2, 4, 8, 16, 32):
            until = min((first + count) * chunk, layout.size_bytes)
            if first * chunk < until:
                need = need_of(layout, first * chunk, until)
                paid.add(need.by_share.get(number, need.hull))
    for low in range(0, layout.share_bytes - 16_384, 16_384):
        assert like_a_paid_read(layout, number, low, low + 16_384, low % 100_000) in paid


@given(
    st.integers(1, 3_000_000), st.integers(1, 20), st.integers(0, 20), st.integers(1_000, 300_000),
    st.integers(0, 10**9), st.integers(0, 500_000), st.integers(0, 10**9),
)  # fmt: skip
def test_a_range_covers_its_leaf_and_stays_in_the_share(
    size: int, k: int, more: int, block: int, place: int, like: int, who: int
) -> None:
    layout = Layout(size, k, k + more, block)
    low = place % layout.share_bytes
    high = min(low + 1 + place % 16_384, layout.share_bytes)
    start, end = like_a_paid_read(layout, who % layout.n, low, high, like)
    assert 0 <= start <= low < high <= end <= layout.share_bytes


@pytest.mark.parametrize("number", [0, 3, 5])
def test_whoever_reads_a_whole_share_begins_at_its_beginning(number: int) -> None:
    layout = Layout(3_000_000, 4, 8, 65_536)
    low = layout.share_bytes - 20_000
    whole = need_of(layout, 0, layout.size_bytes)
    expected = whole.by_share.get(number, whole.hull)
    assert like_a_paid_read(layout, number, low, low + 16_384, expected[1]) == expected
    assert expected[0] == 0


@pytest.mark.parametrize(
    ("shown", "counts"),
    [
        ({}, False),
        ({"share": b"o" * 16}, True),
        ({"operation": "get"}, True),
        ({"provider": "did:key:zOther"}, True),
        ({"signer": DeviceKey.generate()}, True),
        (None, True),
    ],
)
async def test_a_refusal_that_shows_our_own_order_to_delete_does_not_count(
    net: MakeNet, tmp_path: Path, shown: dict[str, Any] | None, counts: bool
) -> None:
    """Our database is older than the order (restored from a backup). Another share's, a read's or a stranger's excuses nobody."""
    async with bound(net, tmp_path) as (n, network, reader):

        def refusal(provider: Provider, share_id: bytes) -> bytes:
            if shown is None:
                return b'{"code":"SHARE_DELETED","order":"%%%"}'
            fields: dict[str, Any] = {
                "operation": "delete",
                "gateway": n.pool.parts.nodes.gateway,
                "provider": provider.did,
                "share": share_id,
                "expires_ms": 1,
                **shown,
            }
            key = fields.pop("signer", n.key)
            message = records.sign(key, records.AccessOrder(**fields), records.ACCESS)
            order = base64.urlsafe_b64encode(message).rstrip(b"=").decode()
            return json.dumps({"code": "SHARE_DELETED", "order": order}).encode()

        for provider in n.providers:
            provider.gone = lambda share_id, provider=provider: refusal(provider, share_id)  # type: ignore[misc]

        def is_lost() -> bool:
            with reading(n.pool.parts.database.engine) as connection:
                return connection.execute(select(share.c.id).where(share.c.state == "lost")).first() is not None

        count = 0
        while not is_lost():  # it is made anew elsewhere; a round may draw nothing
            network.next_round()
            count = await reader.once() or 0
        assert bool(count) is counts
        checks = records.decode(network.sent[-1][1], records.CheckSet).checks
        assert {check.outcome for check in checks} == ({"refused"} if counts else set())
