"""The pool against the real provider server: the interface between the two, over a socket."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import delete

from fieldstone.identity.keys import DeviceKey
from fieldstone.services.storage import records
from fieldstone.services.storage.codes.chunk_opening import Claim, verify
from fieldstone.services.storage.live_draw import PHASES, challenge_seed
from fieldstone.services.storage.pool import Directory, LeaseReporter, Node, Pool, Profile, Repair, Sweeper, Watch
from fieldstone.services.storage.pool.live_checker import LiveChecker
from fieldstone.services.storage.pool.nodes import NodeProblem
from fieldstone.services.storage.pool.round_duty import RoundDuty
from fieldstone.services.storage.pool.tables import node, share
from fieldstone.services.storage.provider.door import Door, live_purpose
from fieldstone.services.storage.provider.orders import Listed
from fieldstone.services.storage.provider.server import Server
from fieldstone.services.storage.provider.store import Store
from fieldstone.services.storage.rules.v1 import default_params, with_overrides
from fieldstone.state.engine import connect_state, writing
from tests.services.storage.pool.conftest import everything, pieces

PROFILE = Profile("2/3", 2, 3, block_bytes=65_536, segment_bytes=2_000_000)


@contextmanager
def provider(folder: Path, gateway: str) -> Iterator[tuple[Node, Store]]:
    key = DeviceKey.generate()
    store = Store(folder, 10**9)
    server = Server(lambda: Door(store, key, Listed([gateway])), "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve)
    thread.start()
    assert server.ready.wait(20)
    name = folder.name
    did = key.public.device_id
    yield (
        Node(did=did, url=f"http://127.0.0.1:{server.port}", operator=name, maker=name, prefix=name, region=name),
        store,
    )
    server.stop()
    thread.join(20)
    store.close()


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[tuple[Pool, list[Store]]]:
    key = DeviceKey.generate()
    with ExitStack() as stack:
        found = [stack.enter_context(provider(tmp_path / f"p{i}", key.public.device_id)) for i in range(3)]
        engine = connect_state(tmp_path / "gateway.db")
        pool = Pool(engine, Directory(one for one, _ in found), key, bytes(32))
        for one in pool.directory:
            assert await pool.parts.nodes.is_up(one)
        yield pool, [store for _, store in found]
        await pool.close()


async def test_shares_go_there_and_come_back_and_are_proved_and_deleted(net: tuple[Pool, list[Store]]) -> None:
    pool, stores = net
    body = os.urandom(3_000_001)
    stored = await pool.write(pieces(body), profile=PROFILE, size_hint=len(body))
    assert await everything(pool, stored) == body
    assert await everything(pool, stored, 1_999_000, 2_001_000) == body[1_999_000:2_001_000]
    segment = await pool.parts.segment(stored.segments[0].id)
    share = segment.shares[2]
    holder = pool.directory.get(share.device)
    assert holder is not None

    seed = os.urandom(32)
    answer = await pool.parts.nodes.challenge(holder, msgspec.msgpack.encode([seed, [[share.id, 3_072]]]))
    [proof] = records.open_signed(answer, records.ProofSet, holder.did, live_purpose(seed)).proofs
    assert verify(Claim(share.root or b"", share.size_bytes, share.leaf_bytes, 3_072, proof.chunk, proof.siblings))
    assert msgspec.json.decode(await pool.parts.nodes.capacity(holder))["shares"] == 2

    with writing(pool.parts.database.engine) as connection:
        pool.adopt(connection, stored)
        pool.drop(connection, stored)
    await Sweeper(pool.parts, dropped_ms=-1).once()
    assert [store.totals().shares for store in stores] == [0, 0, 0]
    with pytest.raises(NodeProblem) as gone:
        await pool.parts.download(segment)._get(holder, share, 0, 5, 10**9, None)  # type: ignore[arg-type]
    assert gone.value.kind == "missing"


async def test_reading_goes_on_with_a_database_restored_from_a_backup(net: tuple[Pool, list[Store]]) -> None:
    pool, _ = net
    body = os.urandom(900_000)
    stored = await pool.write(pieces(body), profile=PROFILE, size_hint=len(body))
    assert await everything(pool, stored) == body
    await pool.parts.vouchers.close()
    with writing(pool.parts.database.engine) as connection:  # the backup knows nothing of these reads
        connection.execute(delete(node))
    assert await everything(pool, stored) == body


async def test_providers_are_asked_at_the_same_moment_and_sign_for_it(net: tuple[Pool, list[Store]]) -> None:
    pool, _ = net
    body = os.urandom(900_000)
    stored = await pool.write(pieces(body), profile=PROFILE, size_hint=len(body))
    with writing(pool.parts.database.engine) as connection:
        pool.adopt(connection, stored)
    await LeaseReporter(pool.parts, lambda kind, body: None).once()
    sent: list[tuple[str, bytes]] = []
    seed = os.urandom(32)
    latest = {"number": 7, "seed": seed.hex(), "issued_ms": pool.clock.now_ms() + 1_000}

    async def at_once(seconds: float) -> None:
        pass

    def checker() -> LiveChecker:
        params = with_overrides(default_params(), {"live_every_rounds": 1})
        rounds = RoundDuty(
            pool.parts, params, lambda path: latest, lambda kind, body: sent.append((kind, body)), sleep=at_once
        )
        return LiveChecker(rounds, params)

    assert await (one := checker()).once() is True
    assert await one.once() is None
    [(kind, report)] = sent
    said = records.decode(report, records.LiveSet)
    gateway = pool.parts.nodes.gateway
    assert (kind, said.number, len(said.measures)) == ("live", 7, 3)
    for measure in said.measures:
        assert measure.alone_us > 0 and measure.together_us > 0
        assert measure.beside_alone_us > 0 and measure.beside_together_us > 0
        for receipt, phase in zip(measure.receipts, PHASES, strict=True):
            signed = records.open_signed(receipt, records.LiveReceipt, measure.provider, records.LIVE_RECEIPT)
            assert signed.seed == challenge_seed(seed, gateway, measure.provider, phase)
    odd = said.measures[0].provider
    with writing(
        pool.parts.database.engine
    ) as connection:  # a root that is not its own: no answer counts, and that is said
        connection.execute(share.update().where(share.c.device == odd).values(root=bytes(32)))
    assert await checker().once() is True
    again = records.decode(sent[1][1], records.LiveSet)
    assert [one.provider for one in again.measures if not one.is_answered] == [odd]
    with writing(pool.parts.database.engine) as connection:  # nobody answers: that is our own fault
        connection.execute(share.update().values(root=bytes(32)))
    assert await checker().once() is False
    assert len(sent) == 2


async def test_a_provider_that_leaves_is_emptied_by_the_gateway(tmp_path: Path) -> None:
    key = DeviceKey.generate()
    with ExitStack() as stack:
        found = [stack.enter_context(provider(tmp_path / f"p{i}", key.public.device_id)) for i in range(4)]
        pool = Pool(connect_state(tmp_path / "gateway.db"), Directory(one for one, _ in found), key, bytes(32))
        body = os.urandom(900_000)
        stored = await pool.write(pieces(body), profile=PROFILE, size_hint=len(body))
        with writing(pool.parts.database.engine) as connection:
            pool.adopt(connection, stored)
        leaver = next(number for number, (_, store) in enumerate(found) if store.totals().shares)
        nodes = [
            msgspec.structs.replace(one, is_leaving=number == leaver, score=float(number != leaver))
            for number, (one, _) in enumerate(found)
        ]
        pool.directory.renew(nodes)
        [done] = await Repair(pool.parts).once(await Watch(pool.parts).once())
        assert (done.problem, done.healthy_after) == ("", 3)
        assert done.read_bytes == done.written_bytes  # one share read, from who leaves, instead of k
        await Sweeper(pool.parts).once()
        shares = [store.totals().shares for _, store in found]
        assert shares[leaver] == 0 and sum(shares) == 3
        assert await everything(pool, stored) == body
        await pool.close()
