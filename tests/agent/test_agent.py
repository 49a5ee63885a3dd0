from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fieldstone.agent.agent import Agent
from fieldstone.agent.buffer import Buffer, Reading
from fieldstone.agent.transport import HttpTransport, NetworkInfo, RateLimited, Result
from fieldstone.clock import SetClock, SystemClock
from fieldstone.errors import CheckFailed, Rejected, Retryable, UsageError
from fieldstone.identity import cose, entries
from fieldstone.identity.entries import Place
from fieldstone.identity.keys import Algorithm, DeviceKey
from fieldstone.identity.report import decode
from fieldstone.identity.wallet import Wallet
from fieldstone.journal.entries import EntryKind
from fieldstone.journal.receipts import Receipt, verify_receipt
from fieldstone.reasons import reason
from tests.agent.doors import KINDS, NETWORK_KEY, Door

_NOW_MS = 1_790_000_000_000
_WALLET = Wallet.from_secret(b"\3" * 32)
_KEY = DeviceKey.from_secret(Algorithm.ED25519, b"\1" * 32)
_INFO = NetworkInfo(
    network_id="agent-net",
    chain_id=31_337,
    schema_version=1,
    public_key=NETWORK_KEY.public.device_id,
    kinds={"sensing": {"readings": list(KINDS["sensing", "readings"])}},
)


class _Script:
    """A transport that does what the test says, one function per call."""

    def __init__(self, *steps: Callable[[Sequence[bytes]], list[Result]]) -> None:
        self.steps = list(steps)
        self.sent: list[list[bytes]] = []

    def network(self) -> NetworkInfo:
        return _INFO

    def send(self, messages: Sequence[bytes]) -> list[Result]:
        self.sent.append(list(messages))
        return self.steps.pop(0)(messages)

    def receipt(self, position: int) -> Any:
        raise UsageError("no receipts here")

    def close(self) -> None: ...


def _raise(error: Exception) -> Callable[[Sequence[bytes]], list[Result]]:
    def step(messages: Sequence[bytes]) -> list[Result]:
        raise error

    return step


def _refuse(*codes: str) -> Callable[[Sequence[bytes]], list[Result]]:
    return lambda messages: [Result(ok=False, code=code) for code in codes]


def _scripted(tmp_path: Path, *steps: Callable[[Sequence[bytes]], list[Result]], reports: int = 1) -> Agent:
    clock = SetClock(_NOW_MS)
    agent = Agent(
        _KEY, Buffer(tmp_path / "agent.db", _NOW_MS), _Script(*steps), network=_INFO, clock=clock, jitter=_Middle()
    )
    for number in range(reports):
        agent.record("sensing", "readings", [Reading(_NOW_MS - 60_000 + number, {"temperature_c": 20.5})])
    return agent


class _Middle(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


def _later(agent: Agent, seconds: float) -> None:
    clock = agent._clock
    assert isinstance(clock, SetClock)
    clock.set(clock.now_ms() + int(seconds * 1_000))


def _enrol(door: Door, key: DeviceKey = _KEY) -> None:
    body = entries.enrol(key, _WALLET, door.policy, model="WS-1", place=Place(52.5, 13.4, 34.0, 10.0))
    with HttpTransport(door.url) as transport:
        assert transport.send_entry(body).ok


def _agent(door: Door, path: Path, transport: Any = None) -> Agent:
    clock = SystemClock()
    return Agent(_KEY, Buffer(path / "agent.db", clock.now_ms()), transport or HttpTransport(door.url), clock=clock)


def _readings(count: int) -> list[Reading]:
    start = SystemClock().now_ms() - 3_600_000
    return [Reading(start + 60_000 * n, {"temperature_c": 20.0 + n / 10, "rain_mm": None}) for n in range(count)]


def test_reports_reach_the_journal_and_receipts_are_kept(door: Door, tmp_path: Path) -> None:
    _enrol(door)
    agent = _agent(door, tmp_path)
    for _ in range(3):
        agent.record("sensing", "readings", _readings(10))
    assert agent.flush().accepted == 3
    assert agent.buffer.counts() == {"queued": 0, "accepted": 3, "refused": 0, "unsigned": 0}
    stored = [entry for entry in door.journal.read(kinds=[EntryKind.REPORT])]
    kept = list(agent.buffer.receipts())
    assert [entry.body for entry in stored] == [message for _, message, _ in kept]
    for _, message, receipt in kept:
        assert verify_receipt(Receipt.from_json(receipt), message, NETWORK_KEY.public)
    report = decode(cose.parse(stored[0].body).payload, KINDS)
    assert report.columns["temperature_c"][:3] == [20.0, 20.1, 20.2]
    assert report.columns["rain_mm"] == [None] * 10


def test_what_is_signed_offline_arrives_when_the_door_is_back(door: Door, tmp_path: Path) -> None:
    _enrol(door)
    agent = _agent(door, tmp_path)
    agent.record("sensing", "readings", _readings(2))
    door.stop()
    flushed = agent.flush()
    assert (flushed.waiting, flushed.accepted) == (1, 0)
    assert "does not answer" in flushed.problem
    for _ in range(250):
        agent.record("sensing", "readings", _readings(2))
    agent.buffer.close()
    door.start()
    again = _agent(door, tmp_path)
    assert again.drain(threading.Event(), most_s=20).accepted == 251
    assert again.buffer.counts()["queued"] == 0


class _LosesAnswers(HttpTransport):
    lost = 0

    def send(self, messages: Sequence[bytes]) -> list[Result]:
        results = super().send(messages)
        if not self.lost:
            self.lost += 1
            raise Retryable("the answer was lost on the way")
        return results


def test_a_lost_answer_costs_neither_the_message_nor_its_receipt(door: Door, tmp_path: Path) -> None:
    _enrol(door)
    agent = _agent(door, tmp_path, _LosesAnswers(door.url))
    for _ in range(4):
        agent.record("sensing", "readings", _readings(2))
    assert agent.flush().accepted == 0
    agent.record("sensing", "readings", _readings(2))
    assert agent.drain(threading.Event(), most_s=20).accepted == 5
    assert len(list(door.journal.read(kinds=[EntryKind.REPORT]))) == 5  # nothing twice
    for _, message, receipt in agent.buffer.receipts():
        assert verify_receipt(Receipt.from_json(receipt), message, NETWORK_KEY.public)


def test_a_device_may_be_enrolled_after_it_started_to_measure(door: Door, tmp_path: Path) -> None:
    agent = _agent(door, tmp_path)
    agent.record("sensing", "readings", _readings(2))
    assert "UNKNOWN_DEVICE" in agent.flush().problem
    _enrol(door)
    agent._not_before_ms = 0
    assert agent.flush().accepted == 1


def test_waiting_readings_are_packed_when_full_or_old(tmp_path: Path) -> None:
    agent = _scripted(tmp_path, reports=0)
    for number in range(5):
        agent.observe("sensing", "readings", _NOW_MS + number, {"temperature_c": 1.0, "rain_mm": 0.2})
    assert agent.pack(readings=4, after_ms=600_000) == 1
    assert agent.buffer.counts()["unsigned"] == 1
    _later(agent, 601)
    assert agent.pack(readings=4, after_ms=600_000) == 1
    reports = [decode(cose.parse(m.message).payload, KINDS) for m in agent.buffer.queued(9, 9_999)]
    assert [len(report.times_ms) for report in reports] == [4, 1]
    assert reports[1].seq == reports[0].seq + 1


def test_pauses_double_up_to_five_minutes_and_then_are_forgotten(tmp_path: Path) -> None:
    good = _raise(Retryable("away"))
    agent = _scripted(tmp_path, *[good] * 12, _refuse("TIME_STALE"), good)
    pauses = []
    for _ in range(12):
        pauses.append(agent.flush().wait_s)
        assert agent.flush().problem == "pausing"
        _later(agent, pauses[-1] + 0.01)
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert agent.flush().refused == 1
    agent.record("sensing", "readings", [Reading(_NOW_MS, {"rain_mm": 0.0})])
    assert agent.flush().wait_s == 1


def test_the_door_says_how_long_to_pause(tmp_path: Path) -> None:
    agent = _scripted(tmp_path, _raise(RateLimited("slower", 77.0)))
    assert agent.flush().wait_s == 77.0


@pytest.mark.parametrize("code", ["UNAVAILABLE", "UNKNOWN_DEVICE", "TIME_FUTURE", "RATE_LIMITED"])
def test_what_time_can_cure_stays_queued(tmp_path: Path, code: str) -> None:
    agent = _scripted(tmp_path, _refuse(code))
    flushed = agent.flush()
    assert (flushed.waiting, flushed.refused) == (1, 0)
    assert agent.buffer.counts()["queued"] == 1


@pytest.mark.parametrize("code", ["TIME_STALE", "BAD_SIGNATURE", "DEVICE_REVOKED", "EQUIVOCATION", "NEW_CODE"])
def test_what_cannot_be_cured_is_kept_with_its_reason(tmp_path: Path, code: str) -> None:
    agent = _scripted(tmp_path, _refuse(code))
    assert agent.flush().refused == 1
    assert agent.buffer.refusals() == {code: 1}


def test_a_message_that_was_overtaken_is_signed_again(tmp_path: Path) -> None:
    agent = _scripted(tmp_path, _refuse("SEQ_TOO_LOW", "UNAVAILABLE"), reports=2)
    first, second = agent.buffer.queued(9, 9_999)
    agent.flush()
    queued = agent.buffer.queued(9, 9_999)
    assert [message.seq for message in queued] == [second.seq, second.seq + 1]
    old, new = (decode(cose.parse(m.message).payload, KINDS) for m in (first, queued[1]))
    assert (new.seq, new.times_ms, new.columns) == (second.seq + 1, old.times_ms, old.columns)
    assert agent.buffer.refusals() == {"SEQ_TOO_LOW": 1}


def test_a_body_that_is_too_large_is_halved_until_the_culprit_stands_alone(tmp_path: Path) -> None:
    too_large = _raise(Rejected(reason("TOO_LARGE")))
    agent = _scripted(tmp_path, too_large, too_large, too_large, reports=4)
    for _ in range(3):
        agent.flush()
    script = agent.transport
    assert isinstance(script, _Script)
    assert [len(sent) for sent in script.sent] == [4, 2, 1]
    assert agent.buffer.refusals() == {"TOO_LARGE": 1}


@pytest.mark.parametrize("receipt", [None, {}, {"position": 1}, "not json", 5, b"\xff"])
def test_an_acknowledgement_without_a_receipt_is_none(tmp_path: Path, receipt: object) -> None:
    agent = _scripted(tmp_path, lambda messages: [Result(ok=True, position=1, receipt=receipt)])
    flushed = agent.flush()
    assert (flushed.accepted, flushed.waiting) == (0, 1)
    assert agent.buffer.counts()["queued"] == 1


def test_a_receipt_for_other_bytes_or_by_another_key_is_none(door: Door, tmp_path: Path) -> None:
    _enrol(door)
    honest = _agent(door, tmp_path)
    honest.record("sensing", "readings", _readings(1))
    honest.flush()
    (_, _, receipt) = next(iter(honest.buffer.receipts()))
    agent = _scripted(tmp_path / "other", lambda messages: [Result(ok=True, position=1, receipt=receipt)])
    assert "does not verify" in agent.flush().problem


def test_a_buffer_belongs_to_one_device_and_one_network(tmp_path: Path) -> None:
    agent = _scripted(tmp_path)
    agent.buffer.close()
    stranger = DeviceKey.from_secret(Algorithm.P256, b"\2" * 32)
    with pytest.raises(CheckFailed, match="the buffer belongs to"):
        Agent(stranger, Buffer(tmp_path / "agent.db", 1), _Script())
    for change in ({"network_id": "other"}, {"public_key": stranger.public.device_id}, {"chain_id": 1}):
        fields = {name: getattr(_INFO, name) for name in _INFO.__struct_fields__}
        with pytest.raises(CheckFailed, match="now says it is network"):
            Agent(_KEY, Buffer(tmp_path / "agent.db", 1), _Script(), network=NetworkInfo(**{**fields, **change}))
    again = Agent(_KEY, Buffer(tmp_path / "agent.db", 1), _Script())
    assert again.network == _INFO  # pinned: no need to ask


def test_readings_that_no_report_can_hold_are_refused_at_once(tmp_path: Path) -> None:
    agent = _scripted(tmp_path, reports=0)
    for readings in ([], [Reading(1, {"snow": 1.0})], [Reading(1, {"rain_mm": float("nan")})]):
        with pytest.raises(UsageError):
            agent.record("sensing", "readings", readings)
    assert agent.buffer.counts()["queued"] == 0


def test_every_algorithm_delivers(door: Door, tmp_path: Path) -> None:
    for number, algorithm in enumerate(Algorithm):
        key = DeviceKey.from_secret(algorithm, bytes([40 + number]) * 32)
        _enrol(door, key)
        agent = Agent(key, Buffer(tmp_path / f"{number}.db", _NOW_MS), HttpTransport(door.url))
        agent.record("sensing", "readings", _readings(5))
        assert agent.flush().accepted == 1


def test_run_signs_and_delivers_what_is_observed_until_it_is_stopped(door: Door, tmp_path: Path) -> None:
    _enrol(door)
    agent = _agent(door, tmp_path)
    stop = threading.Event()
    runner = threading.Thread(target=agent.run, args=(stop,), kwargs={"readings": 5, "after_ms": 0})
    runner.start()
    try:
        for reading in _readings(12):
            agent.observe("sensing", "readings", reading.t_ms, reading.values)
        for _ in range(600):
            counts = agent.buffer.counts()
            if counts["accepted"] and not counts["unsigned"] and not counts["queued"]:
                break
            stop.wait(0.05)
    finally:
        stop.set()
        runner.join(20)
    reports = [decode(cose.parse(e.body).payload, KINDS) for e in door.journal.read(kinds=[EntryKind.REPORT])]
    assert sum(len(report.times_ms) for report in reports) == 12
    assert agent.buffer.counts()["queued"] == 0


def test_a_repeat_whose_receipt_cannot_be_had_does_not_stop_the_queue(tmp_path: Path) -> None:
    agent = _scripted(tmp_path, lambda messages: [Result(ok=False, code="REPLAYED", position=9)])
    assert agent.flush().accepted == 1
    assert agent.buffer.counts()["queued"] == 0
    assert list(agent.buffer.receipts()) == []  # and nothing is claimed to be proven


def test_a_repeat_without_a_position_is_a_refusal(tmp_path: Path) -> None:
    agent = _scripted(tmp_path, _refuse("REPLAYED"))
    assert agent.flush().refused == 1
