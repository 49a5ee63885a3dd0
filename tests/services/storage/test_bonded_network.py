"""From a lost share to a slashed bond, with everything real: node, providers and gateway over HTTP, the verbs, the chain.

An operator has two disks behind one bond and loses what one of them held. The case against the bond cuts it, and the next
epoch counts less cover for the other disk, in its statement and in what gateways are told.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from fieldstone.agent.agent import Agent
from fieldstone.agent.buffer import Buffer
from fieldstone.agent.transport import HttpTransport
from fieldstone.chain.outbox import Outbox
from fieldstone.chain.settlement import Settlement
from fieldstone.chain.view import NO_ROOT
from fieldstone.cli import main
from fieldstone.errors import FieldstoneError
from fieldstone.identity.entries import Place, enrol
from fieldstone.identity.keys import Algorithm, DeviceKey
from fieldstone.identity.wallet import Wallet
from fieldstone.services.storage.pool import Directory, LeaseReporter, Node, Pool, Profile
from fieldstone.services.storage.provider.door import Door
from fieldstone.services.storage.provider.duties import Duties
from fieldstone.services.storage.provider.orders import Listed
from fieldstone.services.storage.provider.server import Server
from fieldstone.services.storage.provider.store import Store
from fieldstone.state.engine import connect_state, writing
from fieldstone.units import HOUR_MS, TOKEN_BASE
from tests.node import conftest as served
from tests.node.conftest import Network
from tests.services.storage.pool.conftest import pieces

MIB = 2**20
PER_TIB = 2**20  # tokens a TiB: a token a MiB
VERIFIERS = [Wallet.from_secret(bytes([i]) * 32) for i in (11, 12)]
OPERATOR = Wallet.from_secret(bytes([101]) * 32)
SETTINGS = f"""\
verifiers = [{", ".join(f'"{one.address}"' for one in VERIFIERS)}]
threshold = 2
[services.storage]
bond_per_unit = "{PER_TIB}"
slash_ppm = 1_000_000
[services.storage.params]
round_s = 3600
appeal_s = 3600
"""
Run = Callable[..., str]


class Disk:
    """One real provider: its store, its server, and its duties, done when the test says so."""

    def __init__(self, folder: Path, network: Network, number: int, gateway: str) -> None:
        self.key = DeviceKey.from_secret(Algorithm.ED25519, bytes([number]) * 32)
        self.device = self.key.public.device_id
        self.folder = folder
        self.store = Store(folder, 10**9)
        self.door, self.agent = member(folder, network, self.key, OPERATOR, "storage-provider", number)
        self.server = Server(lambda: Door(self.store, self.key, Listed([gateway])), "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.port}"
        self.duties = Duties(self.store, self.device, self.door.get, self.agent, url=self.url)

    def node(self) -> Node:
        name = self.folder.name
        return Node(did=self.device, url=self.url, operator=name, maker=name, prefix=name, region=name)

    def work(self) -> None:
        """Announce, and answer the newest round."""
        self.duties.step()
        assert self.agent.flush().waiting == 0

    def lose_everything(self) -> None:
        for file in self.folder.rglob("*"):
            if file.is_file() and file.stat().st_size > MIB // 2 and "index" not in file.name:
                file.unlink()


def member(
    folder: Path, network: Network, key: DeviceKey, operator: Wallet, model: str, number: int
) -> tuple[HttpTransport, Agent]:
    folder.mkdir(exist_ok=True)
    door = HttpTransport(network.url)
    body = enrol(key, operator, door.network(), model=model, place=Place(47 + number / 100, 8, 400, 10))
    assert door.send_entry(body).ok
    buffer = Buffer(folder / "reports.db", network.clock.now_ms())
    return door, Agent(key, buffer, HttpTransport(network.url), clock=network.clock)


@contextmanager
def serving(disk: Disk) -> Iterator[None]:
    thread = threading.Thread(target=disk.server.serve, daemon=True)
    thread.start()
    assert disk.server.ready.wait(20)
    try:
        yield
    finally:
        disk.server.stop()
        thread.join(20)
        disk.agent.buffer.close()
        disk.store.close()


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    now_ms = time.time_ns() // 10**9 * 1_000  # receipts bear real times, blocks whole seconds
    monkeypatch.setattr(served, "START_MS", now_ms)
    monkeypatch.setattr(served, "TOML", served.TOML.replace("1782000000000", str(now_ms)))
    made = Network(tmp_path, stations=0, settlement=SETTINGS)
    with made.live:
        yield made


@pytest.fixture
def run(network: Network, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: str | int | Path, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main([*map(str, words)])
        output = capsys.readouterr()
        assert ended.value.code == code, output.err
        lines = (output.out if code == 0 else output.err).strip().splitlines()
        return "\n".join(line for line in lines if not line.startswith("20"))  # the node's log, of this process, too

    return call


def answer_round(network: Network, disks: list[Disk]) -> None:
    """Let disks answer the round of this hour; the served node issues rounds by itself, twice a second."""
    deadline = time.monotonic() + 30
    while newest(disks[0]) != network.clock.now_ms() // HOUR_MS:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for disk in disks:
        disk.work()


def newest(disk: Disk) -> int:
    try:
        return int(disk.door.get("/v1/storage/rounds/latest")["number"])
    except FieldstoneError:
        return -1


def close(network: Network) -> None:
    network.clock.set(max(network.clock.now_ms(), network.live.node.state.next_end_ms))
    network.live.close_epoch()


def cover_of(network: Network, disk: Disk) -> tuple[int, int]:
    """Return what bonds had to cover of a disk and did in the newest epoch, from its statement."""
    node = network.live.node
    (row,) = node.store.statements(node.store.latest, disk.device)
    own = json.loads(row["factors"])["row"]
    return int(own["bond_needed_base"]), int(own["bond_covered_base"])


async def test_from_a_lost_share_to_less_cover(network: Network, run: Run, tmp_path: Path) -> None:
    node, gateway = network.live.node, DeviceKey.from_secret(Algorithm.ED25519, b"\x33" * 32)
    with ExitStack() as stack:
        disks = [Disk(tmp_path / f"disk-{n}", network, n, gateway.public.device_id) for n in (1, 2)]
        for disk in disks:
            stack.enter_context(serving(disk))
        lost, other = disks
        wallet = tmp_path / "treasury.wallet"
        node.layout.wallet("treasury").save(wallet)
        outbox = Outbox(tmp_path / "bonds.db", clock=network.clock)
        treasury = Settlement(node.port, node.addresses, outbox=outbox, signer=node.layout.wallet("treasury"))
        treasury.bond(OPERATOR.address, NO_ROOT, 3 * TOKEN_BASE // 2, "for an operator")
        outbox.close()
        await store_on(disks, network, gateway, tmp_path / "gateway")
        network.clock.set(network.clock.now_ms() + HOUR_MS)  # the first round came before the leases
        for _ in range(2):
            answer_round(network, disks)
            close(network)
        needed, covered = cover_of(network, other)
        assert covered == 3 * TOKEN_BASE // 4 < needed  # a token and a half, for two disks that need one each
        lost.lose_everything()
        answer_round(network, disks)
        close(network)

        folders = [tmp_path / f"verifier-{number}" for number in range(2)]
        for one, folder, chain in zip(VERIFIERS, folders, ([], ["--rpc", f"{network.url}/rpc"]), strict=True):
            folder.mkdir()
            one.save(folder / "verifier.wallet")
            told = run("verifier", network.url, "--folder", folder, "--once", "--json", *chain).splitlines()
            opinions = [json.loads(line) for line in told]
            assert [(one["epoch"], one["agrees"]) for one in opinions] == [(1, True), (2, True), (3, True)]
            unchecked = ["not compared with the chain" in " ".join(one["unchecked"]) for one in opinions]
            assert unchecked == ([False, False, False] if chain else [False, True, True])

        at = ("--at", network.url)
        assert "no verdict" in run(
            "bond", "case", "evidence", other.device, "--epoch", 3, "--out", tmp_path, *at, code=2
        )
        (case,) = json.loads(
            run("bond", "case", "evidence", lost.device, "--epoch", 3, "--out", tmp_path, *at, "--json")
        )
        assert (case["owner"], case["key"]) == (OPERATOR.address, NO_ROOT.hex())
        file, to = ("--evidence", case["file"]), ("--node", network.url)
        number = json.loads(run("bond", "case", "open", *file, "--wallet", wallet, *to, "--json"))["case"]
        signed = [run("bond", "case", "sign", number, *file, "--folder", folder, *to) for folder in folders]
        given = [word for one in signed for word in ("--signature", one)]
        assert "slashed" in run("bond", "case", "decide", number, "--uphold", *file, *given, "--wallet", wallet, *to)

        answer_round(network, [other])
        before = listed(network, other)
        assert before["bond_covered_bytes"] >= before["bond_held_bytes"] and before["bond_room_bytes"] > 0
        close(network)  # the bond counted is still that of the epoch's begin, and one disk needs less than it
        needed, covered = cover_of(network, other)
        assert covered == needed
        answer_round(network, [other])
        close(network)
        left = 3 * TOKEN_BASE // 2 * (1_000_000 - case["fraction_ppm"]) // 1_000_000
        assert node.chain.bonded(OPERATOR.address) == left < needed
        assert cover_of(network, other) == (needed, left)
        told = listed(network, other)
        assert (
            told["bond_covered_bytes"] == left * 2**20 // TOKEN_BASE // 1_024 * 1_024 and told["bond_room_bytes"] == 0
        )
        assert listed(network, lost)["state"] == "disqualified"
        # what is decided is signed no more
        refused = run("bond", "case", "sign", number, *file, "--folder", folders[0], *to, code=1)
        assert f"case {number} is upheld already" in refused


def listed(network: Network, disk: Disk) -> dict[str, Any]:
    """Return what gateways are told of a disk."""
    return next(one for one in disk.door.get("/v1/storage/directory")["devices"] if one["device"] == disk.device)


async def store_on(disks: list[Disk], network: Network, gateway: DeviceKey, folder: Path) -> None:
    """Store an object of one MiB on each disk, and lease it."""
    _, agent = member(folder, network, gateway, Wallet.generate(), "storage-gateway", 9)
    pool = Pool(connect_state(folder / "gateway.db"), Directory([]), gateway, bytes(32))
    for disk in disks:
        pool.directory.renew([disk.node()])
        assert await pool.parts.nodes.is_up(disk.node())
        body = os.urandom(MIB - 4_096)
        stored = await pool.write(pieces(body), profile=Profile("1/1", 1, 1, 65_536, 2 * MIB), size_hint=len(body))
        with writing(pool.parts.database.engine) as connection:
            pool.adopt(connection, stored)
    network.clock.set(network.clock.now_ms() + 600_000)
    reporter = LeaseReporter(pool.parts, lambda kind, told: agent.send_document("storage", kind, told))
    assert (await reporter.once()).leased == len(disks)
    assert agent.flush().accepted == 1
    agent.buffer.close()
    await pool.close()
