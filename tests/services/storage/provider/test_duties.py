"""What a provider owes the network: rounds answered once, egress claimed once, gateways known, outages outlived."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fieldstone.errors import Rejected, Retryable, UsageError
from fieldstone.identity import DeviceKey
from fieldstone.services.storage import records
from fieldstone.services.storage.codes.chunk_opening import Claim, verify
from fieldstone.services.storage.provider import duties as duties_module
from fieldstone.services.storage.provider.duties import Duties, RegistryGateways
from fieldstone.services.storage.provider.store import Store
from fieldstone.services.storage.provider.vouchers import Vouchers
from fieldstone.services.storage.records import Announcement, EgressClaim, ProofSet
from fieldstone.services.storage.schema import DOCUMENTS
from tests.services.storage.provider.test_store import put, share_id
from tests.services.storage.provider.test_vouchers import GATEWAY, _nothing, order

DEVICE = "did:key:zMe"


class Network:
    """What the node would answer."""

    def __init__(self) -> None:
        self.round: dict[str, Any] | None = None
        self.asked: list[list[Any]] = []
        self.away, self.offers = False, True
        self.devices: list[dict[str, Any]] = []
        self.reads = 0

    def get(self, path: str) -> Any:
        if self.away:
            raise Retryable("away")
        self.reads += 1
        if path == "/v1/network":
            return {"kinds": {"storage": {"proof": []}} if self.offers else {"sensing": {}}}
        if path.startswith("/v1/devices"):
            return {"devices": self.devices, "next_after": None}
        if self.round is None:
            raise UsageError("404")
        if path == "/v1/storage/rounds/latest":
            return self.round
        assert path == f"/v1/storage/rounds/{self.round['number']}/devices/{DEVICE}"
        return {**self.round, "asked": self.asked}


class Reports:
    def __init__(self) -> None:
        self.sent: list[tuple[str, str, bytes]] = []

    def send_document(self, service: str, kind: str, document: bytes) -> int:
        self.sent.append((service, kind, document))
        return len(self.sent)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "disk", 50_000_000)
    yield made
    made.close()


def test_a_round_is_answered_once_and_honestly(store: Store) -> None:
    row = put(store, share_id(1), b"x" * 300_000)
    network, reports = Network(), Reports()
    duties = Duties(store, DEVICE, network.get, reports)
    assert duties.answer() is None  # nothing asked yet
    network.round = {"number": 7, "issued_ms": 1, "seed": "ab" * 32}
    network.asked = [
        [share_id(1).hex(), 4_096],
        [share_id(2).hex(), 0],
        [share_id(1).hex(), 16_384 * 9],
        [share_id(1).hex(), 9],
        [share_id(9).hex(), 1, "did"],
    ]
    assert duties.answer() == 7
    assert duties.answer() is None
    ((service, kind, body),) = reports.sent
    answer = records.decode(body, ProofSet)
    assert (service, kind, answer.number) == ("storage", "proof", 7)
    assert [(proof.share, proof.start) for proof in answer.proofs] == [(share_id(1), 4_096), (share_id(1), 16_384 * 9)]
    for proof in answer.proofs:
        assert verify(Claim(row.root, row.size_bytes, row.leaf_bytes, proof.start, proof.chunk, proof.siblings))
    assert Duties(store, DEVICE, network.get, reports).answer() is None  # also after a restart


def test_the_order_to_delete_is_shown_when_the_network_asks_all_the_same(store: Store) -> None:
    for number in (1, 2, 3):
        put(store, share_id(number), b"x" * 40_000, order=number)
    store.delete(share_id(1), GATEWAY, b"d" * 32, b"signed by the gateway").result(10)
    network, reports = Network(), Reports()
    network.round = {"number": 7, "issued_ms": 1, "seed": "00" * 32}
    network.asked = [[share_id(1).hex(), 0], [share_id(1).hex(), 1], [share_id(2).hex(), 0], [share_id(9).hex(), 0]]
    duties = Duties(store, DEVICE, network.get, reports)
    duties.answer()
    (service, kind, document), proof = reports.sent
    assert (service, kind) == ("storage", "deleted") and proof[1] == "proof"
    assert records.decode(document, records.Deletion).orders == (b"signed by the gateway",)
    network.round = {**network.round, "number": 8}
    duties.answer()
    assert [kind for _, kind, _ in reports.sent[2:]] == ["deleted", "proof"]  # until the network asks no more


def test_having_lost_everything_is_said(store: Store) -> None:
    network, reports = Network(), Reports()
    network.round = {"number": 1, "seed": "00" * 32}
    network.asked = [[share_id(1).hex(), 4]]
    Duties(store, DEVICE, network.get, reports).answer()
    assert records.decode(reports.sent[0][2], ProofSet) == ProofSet(number=1, proofs=())


def test_many_proofs_go_in_several_reports(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duties_module, "_MOST_PROOF_BYTES", 350_000)
    put(store, share_id(1), b"x" * 5_000_000)
    network, reports = Network(), Reports()
    network.round = {"number": 1, "seed": "00" * 32}
    network.asked = [[share_id(1).hex(), index % 300 * 16_384] for index in range(600)]
    Duties(store, DEVICE, network.get, reports).answer()
    sizes = [len(body) for _, _, body in reports.sent]
    assert len(sizes) == 3 and max(sizes) < 360_000
    assert sum(len(records.decode(body, ProofSet).proofs) for _, _, body in reports.sent) == 600


def test_the_newest_vouchers_are_claimed_once(store: Store) -> None:
    reports = Reports()
    duties = Duties(store, DEVICE, Network().get, reports)
    assert duties.claim() == 0 and reports.sent == []
    vouchers = Vouchers(store.index, store.committer)
    vouchers.take(order(100), 100)
    vouchers.take(order(300), 100)
    store.committer.submit(_nothing()).result(5)
    assert duties.claim() == 1 and duties.claim() == 0
    assert records.decode(reports.sent[0][2], EgressClaim).vouchers == (b"signed 300",)
    assert vouchers.newest(GATEWAY) == 300


def test_the_address_is_told_when_it_changes(store: Store) -> None:
    reports = Reports()
    duties = Duties(store, DEVICE, Network().get, reports, url="http://10.0.0.1:9100")
    assert duties.announce() and not duties.announce()
    told = records.decode(reports.sent[0][2], Announcement)
    assert (told.url, told.capacity_bytes) == ("http://10.0.0.1:9100", 50_000_000)
    assert Duties(store, DEVICE, Network().get, reports, url="http://10.0.0.2:9100").announce()


def test_an_outage_and_nonsense_are_outlived(store: Store) -> None:
    network, reports = Network(), Reports()
    network.away = True
    duties = Duties(store, DEVICE, network.get, reports)
    duties.step()
    network.away, network.round = False, {"number": "seven"}
    duties.step()
    network.round, network.asked = {"number": 1, "seed": "00" * 32}, [["zz", 1]]
    duties.step()
    network.asked = [[share_id(1).hex(), 1]]
    duties.step()
    assert [kind for _, kind, _ in reports.sent] == ["proof"]


def test_a_network_without_storage_gets_nothing_until_it_offers_it(store: Store) -> None:
    network, reports = Network(), Reports()
    network.offers = False
    duties = Duties(store, DEVICE, network.get, reports, url="http://10.0.0.1:9100")
    duties.step()
    assert reports.sent == []
    network.offers = True
    duties.step()
    assert [kind for _, kind, _ in reports.sent] == ["announce"]


def device(name: str, model: str = "storage-gateway", **fields: Any) -> dict[str, Any]:
    return {"device": name, "key": f"{name}-key", "model": model, "revoked_ms": None, **fields}


def test_gateways_are_those_of_the_registry_and_kept_for_the_next_start(tmp_path: Path) -> None:
    network, file = Network(), tmp_path / "gateways.json"
    network.devices = [device("a"), device("b", "WS2000"), device("c", revoked_ms=5)]
    known = RegistryGateways(network.get, file, every_s=3_600, soonest_s=0)
    assert known.key_of("a") is None
    known.refresh()
    assert (known.key_of("a"), known.key_of("b"), known.key_of("c")) == ("a-key", None, None)
    network.devices.append(device("d"))
    known.refresh()  # an unknown one was asked for: looked at again at once
    assert known.key_of("d") == "d-key"
    reads = network.reads
    known.refresh()
    assert network.reads == reads  # otherwise rarely
    network.away = True
    assert RegistryGateways(network.get, file).key_of("d") == "d-key"
    file.write_text("[")
    assert RegistryGateways(network.get, file).key_of("d") is None


def test_a_gateway_that_enrolled_a_moment_ago_is_asked_for_and_a_flood_is_not(tmp_path: Path) -> None:
    def stranger() -> str:
        return DeviceKey.generate().public.device_id

    asked: list[str] = []
    enrolled: dict[str, dict[str, Any]] = {}

    def get(path: str) -> Any:
        asked.append(path)
        name = path.removeprefix("/v1/devices/")
        if name not in enrolled:
            raise UsageError("404")
        return enrolled[name]

    known = RegistryGateways(get, tmp_path / "gateways.json")
    new, sensor, gone = stranger(), stranger(), stranger()
    enrolled.update({new: device(new), sensor: device(sensor, "WS2000"), gone: device(gone, revoked_ms=5)})
    assert known.look_up(new) and known.key_of(new) == f"{new}-key"
    assert not known.look_up(sensor) and not known.look_up(gone)
    assert not known.look_up("did:key:zNonsense") and not known.look_up("../../admin")
    before = len(asked)
    assert before == 3  # what is no device id never leaves the house
    assert not known.look_up(sensor)  # nor does a stranger's name twice
    assert not any(known.look_up(stranger()) for _ in range(50))
    assert len(asked) == 10


def test_assigned_reads_are_reported_after_the_proofs(store: Store) -> None:
    network, reports = Network(), Reports()
    network.round = {"number": 3, "issued_ms": 1, "seed": "00" * 32}
    network.asked = [["aa" * 16, 7, "did:key:zOther", 100, 200]]
    duties = Duties(store, DEVICE, network.get, reports)
    seen: list[Any] = []
    duties.check_reads = lambda number, reads: seen.extend([number, *reads]) or [b"report"]
    duties.step()
    assert seen == [3, (b"\xaa" * 16, 7, "did:key:zOther", 100, 200)]
    assert [(kind, body) for _, kind, body in reports.sent if kind == "check"] == [("check", b"report")]


def test_who_leaves_says_so_until_everything_was_moved(store: Store, tmp_path: Path) -> None:
    put(store, share_id(1), b"x" * 30_000)
    network, reports, said = Network(), Reports(), []
    mark = tmp_path / "leaving"
    duties = Duties(store, DEVICE, network.get, reports, url="http://10.0.0.1:9", leaving=mark, say=said.append)
    duties.step()
    mark.touch()
    duties.step()
    duties.step()
    told = [records.decode(body, Announcement) for _, kind, body in reports.sent if kind == "announce"]
    assert [(one.is_leaving, one.capacity_bytes) for one in told] == [(False, 50_000_000), (True, 0)]
    assert not any("can be stopped" in words for words in said)
    store.delete(share_id(1), GATEWAY, bytes(32)).result()
    duties.step()
    duties.step()
    assert sum("can be stopped" in words for words in said) == 1
    mark.unlink()
    duties.step()
    assert records.decode(reports.sent[-1][2], Announcement).is_leaving is False


def test_the_order_to_delete_is_shown_once_when_a_read_is_refused(store: Store) -> None:
    """Test reads are drawn apart from what is asked: without this an honest refusal would count until it is asked for."""
    for number in (1, 2):
        put(store, share_id(number), b"x" * 40_000, order=number)
    store.delete(share_id(1), GATEWAY, b"d" * 32, b"signed by the gateway").result(10)
    reports = Reports()
    duties = Duties(store, DEVICE, Network().get, reports)
    for share in (share_id(1), share_id(1), share_id(9)):
        with pytest.raises(Rejected):
            store.open(share)
    duties.step()
    assert [(kind, records.decode(body, records.Deletion).orders) for _, kind, body in reports.sent] == [
        ("deleted", (b"signed by the gateway",))
    ]
    with pytest.raises(Rejected):
        store.open(share_id(1))
    duties.step()
    assert len(reports.sent) == 1 and not store.missed


def test_what_could_not_be_shown_is_shown_later(store: Store) -> None:
    put(store, share_id(1), b"x" * 40_000)
    store.delete(share_id(1), GATEWAY, b"d" * 32, b"signed by the gateway").result(10)
    with pytest.raises(Rejected):
        store.open(share_id(1))
    network, reports = Network(), Reports()
    duties = Duties(store, DEVICE, network.get, reports)

    def away(service: str, kind: str, document: bytes) -> int:
        raise Retryable("the network is not known yet")

    duties._reporter = SimpleNamespace(send_document=away)
    duties.step()
    duties._reporter = reports
    duties.step()
    assert [kind for _, kind, _ in reports.sent] == ["deleted"]


def test_long_orders_do_not_make_a_report_that_nobody_takes(store: Store) -> None:
    """A gateway can add to what it signs; a report of 500 such orders, too large to be taken, would be no evidence."""
    for number in range(150):
        put(store, share_id(number), b"%d" % number, order=number)
        store.delete(share_id(number), GATEWAY, b"%032d" % number, b"%03d" % number * 1_000).result(10)
        with pytest.raises(Rejected):
            store.open(share_id(number))
    reports = Reports()
    Duties(store, DEVICE, Network().get, reports).step()
    assert len(reports.sent) > 1 and max(len(body) for _, _, body in reports.sent) < DOCUMENTS["deleted"].max_bytes
    shown = [order for _, _, body in reports.sent for order in records.decode(body, records.Deletion).orders]
    assert len(set(shown)) == 150


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk I/O error"), OverflowError(), RecursionError()])
def test_no_error_ends_the_loop(store: Store, error: Exception) -> None:
    network, reports = Network(), Reports()
    network.round, network.asked = {"number": 3, "seed": "00" * 32}, [["aa" * 16, 7, "did:key:zOther", 100, 200]]
    duties = Duties(store, DEVICE, network.get, reports)

    def fails(number: int, reads: Any) -> list[bytes]:
        raise error

    duties.check_reads = fails
    duties.step()
    assert duties.answered == 1


def test_test_reads_do_not_hold_up_the_proofs(store: Store) -> None:
    """They have a thread of their own: one that is read may be as slow as it likes."""
    network, reports = Network(), Reports()
    network.asked = [[share_id(1).hex(), 0], ["aa" * 16, 7, "did:key:zOther", 100, 200]]
    duties = Duties(store, DEVICE, network.get, reports, poll_s=0.01)
    stop, release, reached = threading.Event(), threading.Event(), threading.Event()

    def slow(number: int, reads: Any) -> list[bytes]:
        reached.set()
        assert release.wait(20)
        return [b"report %d" % number]

    duties.check_reads = slow
    thread = threading.Thread(target=duties.run_checks, args=(stop,))
    thread.start()
    try:
        for number in (1, 2):
            network.round = {"number": number, "seed": "00" * 32}
            duties.step()
            assert reached.wait(20)
        assert [kind for _, kind, _ in reports.sent] == ["proof", "proof"]
        release.set()
        while len(reports.sent) < 4:
            assert thread.is_alive()
    finally:
        stop.set()
        release.set()
        thread.join(20)
    assert [body for _, kind, body in reports.sent if kind == "check"] == [b"report 1", b"report 2"]


def test_invented_names_do_not_make_every_provider_read_the_list_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody can name a stranger; a thousand providers would read the whole registry every five seconds for it."""
    now_s = [1_000.0]
    monkeypatch.setattr(duties_module.time, "monotonic", lambda: now_s[0])
    network = Network()
    network.devices = [device("a")]
    known = RegistryGateways(network.get, tmp_path / "gateways.json")
    for _ in range(600):
        known.key_of("nobody")
        known.refresh()
        now_s[0] += 1
    assert network.reads <= 15
    network.devices.append(device("b"))
    now_s[0] += 60
    known.refresh()
    assert known.key_of("b") == "b-key"


def test_a_list_that_begins_again_is_read_once(tmp_path: Path) -> None:
    network = Network()
    network.devices = [device("a")]

    def get(path: str) -> Any:
        assert network.reads < 10
        return {**network.get(path), "next_after": "a"}

    known = RegistryGateways(get, tmp_path / "gateways.json")
    known.refresh()
    assert known.key_of("a") == "a-key"
