"""Rounds: asked once at their time, answered by documents, verified by replay, charged to who used the work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest

import fieldstone.services
from fieldstone.agent import Agent
from fieldstone.epoch.freeze import RoundBody
from fieldstone.epoch.replay import replay
from fieldstone.errors import UsageError
from fieldstone.journal import EntryKind, NewEntry
from fieldstone.market import Source
from fieldstone.market.usage import binding_text
from fieldstone.node.rounds import Rounds
from fieldstone.units import HOUR_MS

from .asking import Asking
from .conftest import START_MS, Network


@pytest.fixture
def network(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    entry = SimpleNamespace(name="asking", load=Asking)
    found = fieldstone.services._installed()
    monkeypatch.setattr(fieldstone.services, "_installed", lambda: {**found, entry.name: entry})
    made = Network(tmp_path, settlement="[services.sensing]\nshare_ppm = 500000\n[services.asking]\nshare_ppm = 500000")
    with made.live:
        yield made


def wait_for_round(network: Network) -> None:
    """The served node issues rounds by itself, twice a second."""
    number = network.clock.now_ms() // HOUR_MS
    deadline = time.monotonic() + 30
    while (found := ask(network, "latest")).status_code != 200 or found.json()["number"] != number:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ask(network: Network, path: str) -> Any:
    return httpx.get(f"{network.url}/v1/asking/rounds/{path}", timeout=10)


def answer(network: Network, agent: Agent) -> None:
    number = ask(network, "latest").json()["number"]
    asked = ask(network, f"{number}/devices/{agent.key.public.device_id}").json()["asked"]
    agent.send_document("asking", "answer", msgspec.msgpack.encode([asked[0], bytes.fromhex(asked[1])]))
    assert agent.flush().accepted == 1


def test_a_round_is_asked_once_in_its_interval(network: Network) -> None:
    first = START_MS // HOUR_MS
    wait_for_round(network)
    assert Rounds(network.live.node).issue_due() == []  # as after a restart
    network.clock.set(START_MS + HOUR_MS)
    wait_for_round(network)
    entries = [e for e in network.live.node.journal.read() if e.kind is EntryKind.CHALLENGE]
    assert [msgspec.json.decode(entry.body)["number"] for entry in entries] == [first, first + 1]


def test_a_round_written_as_the_epoch_ended_waits_for_the_next(network: Network) -> None:
    node = network.live.node
    wait_for_round(network)
    network.clock.set(node.state.next_end_ms)
    number = network.clock.now_ms() // HOUR_MS
    body = RoundBody("asking", number, 1, "00" * 32)
    node.journal.append([NewEntry(EntryKind.CHALLENGE, "", msgspec.json.encode(body, order="sorted"))])
    rounds = Rounds(node)
    assert rounds.latest("asking") is None or rounds.latest("asking").number < number
    with pytest.raises(UsageError, match="no round"):
        rounds.asked("asking", number, "")
    while node.close_due() is not None:
        pass
    assert Rounds(node).latest("asking").number == number


def test_right_answers_are_work_and_somebody_pays_for_them(network: Network) -> None:
    node = network.live.node
    customer = node.market.customers.add("Anna").id
    node.market.topup(customer, 1_000_000, Source.FIAT, "bank-1")
    gateway = network.keys[1]
    text = binding_text(node.policy.network_id, gateway.public.device_id, customer)
    node.market.usage.bind(customer, gateway.public.device_id, gateway.sign(text))
    network.agents[1].send_document("asking", "wish", gateway.public.device_id.encode())
    assert network.agents[1].flush().accepted == 1
    for hour in (1, 2, 3):  # the first round came before the devices
        network.clock.set(START_MS + hour * HOUR_MS + 1)
        wait_for_round(network)
        answer(network, network.agents[0])
    network.clock.set(node.state.next_end_ms)
    sealed = node.close_due()
    assert sealed is not None
    quantities = {
        d: q
        for s, d, q in sealed.table("verdicts").select("service", "device", "quantity").iter_rows()
        if s == "asking"
    }
    assert quantities == {key.public.device_id: 3 if n == 0 else 0 for n, key in enumerate(network.keys)}
    (charge,) = node.market.usage.charges(customer)
    assert (charge.units, charge.paid_micro_usd) == (3, 15_000)
    assert replay(node.store, 1).agrees
    network.clock.set(node.state.next_end_ms)
    second = node.close_due()
    assert second is not None
    paid = {
        row["device"]: row["revenue_micro_usd"]
        for row in second.table("statements").to_dicts()
        if row["service"] == "asking"
    }
    assert paid[network.keys[0].public.device_id] == 15_000


def test_a_round_out_of_turn_asks_nothing(network: Network) -> None:
    """A founder who draws again, or at another time, only leaves a trace."""
    node = network.live.node
    wait_for_round(network)
    for number in (START_MS // HOUR_MS, START_MS // HOUR_MS + 7):
        body = {"service": "asking", "number": number, "block": 1, "block_hash": "ab" * 32}
        node.journal.append([NewEntry(EntryKind.CHALLENGE, "", msgspec.json.encode(body))])
    node.journal.append([NewEntry(EntryKind.CHALLENGE, "", b"not json")])
    network.clock.set(node.state.next_end_ms)
    sealed = node.close_due()
    assert sealed is not None
    assert sealed.manifest.counts["challenge-out-of-turn"] == 2
    assert sealed.manifest.counts["challenge-unreadable"] == 1
    assert replay(node.store, 1).agrees


def test_too_long_a_document_is_counted_and_passed_over(network: Network) -> None:
    node = network.live.node
    network.agents[0].send_document("asking", "answer", bytes(65))
    assert network.agents[0].flush().accepted == 1
    network.clock.set(node.state.next_end_ms)
    sealed = node.close_due()
    assert sealed is not None and sealed.manifest.counts["report-TOO_LARGE"] == 1


def test_the_directory_says_what_devices_told(network: Network) -> None:
    network.agents[2].send_document("asking", "wish", b"http://10.0.0.7:9000")
    assert network.agents[2].flush().accepted == 1
    (found,) = httpx.get(f"{network.url}/v1/asking/directory").json()["devices"]
    assert (found["device"], found["wish"]) == (network.keys[2].public.device_id, "http://10.0.0.7:9000")
    assert found["operator"] == network.wallets[2].address
    assert httpx.get(f"{network.url}/v1/sensing/directory").json() == {"devices": []}


def test_what_is_not_there_is_named(network: Network) -> None:
    assert ask(network, "7/devices/did:key:x").status_code in (400, 404, 422)
    assert httpx.get(f"{network.url}/v1/nothing/rounds/latest").status_code in (400, 404, 422)
