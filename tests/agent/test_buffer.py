import hashlib
import multiprocessing
import os
import random
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from fieldstone.agent.buffer import Buffer, Reading
from fieldstone.errors import EnvironmentProblem


def _open(path: Path, now_ms: int = 1_000) -> Buffer:
    return Buffer(path / "agent.db", now_ms)


def test_numbers_rise_and_survive_a_restart(tmp_path: Path) -> None:
    buffer = _open(tmp_path)
    assert [buffer.add_message(lambda seq: b"%d" % seq, 1) for _ in range(3)] == [1_000, 1_001, 1_002]
    buffer.close()
    again = _open(tmp_path, now_ms=9_999)
    assert again.add_message(lambda seq: b"x", 1) == 1_003
    assert [message.seq for message in again.queued(10, 1_000)] == [1_000, 1_001, 1_002, 1_003]


def test_an_agent_that_lost_its_file_starts_above_its_old_numbers(tmp_path: Path) -> None:
    old = Buffer(tmp_path / "old.db", 5_000_000)
    last = [old.add_message(lambda seq: b"x", 1) for _ in range(100)][-1]
    new = Buffer(tmp_path / "new.db", 5_060_000)  # a minute later
    assert new.add_message(lambda seq: b"x", 1) > last


def test_a_number_is_not_lost_when_signing_fails(tmp_path: Path) -> None:
    buffer = _open(tmp_path)

    def fail(seq: int) -> bytes:
        raise RuntimeError("the secure element is away")

    with pytest.raises(RuntimeError):
        buffer.add_message(fail, 1)
    assert buffer.add_message(lambda seq: b"x", 1) == 1_000


def test_readings_become_one_message_or_stay(tmp_path: Path) -> None:
    buffer = _open(tmp_path)
    for t_ms in (10, 20, 30):
        buffer.add_reading("sensing", "readings", Reading(t_ms, {"temperature_c": 1.5, "rain_mm": None}))
    assert buffer.oldest_reading() == ("sensing", "readings", 10, 3)

    def fail(seq: int, readings: object) -> bytes:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        buffer.sign_readings("sensing", "readings", 2, fail, 1)
    assert buffer.counts()["unsigned"] == 3
    seen: list[Reading] = []

    def sign(seq: int, readings: object) -> bytes:
        seen.extend(readings)  # type: ignore[arg-type]
        return b"m"

    assert buffer.sign_readings("sensing", "readings", 2, sign, 1) == 1_000
    assert [(reading.t_ms, reading.values) for reading in seen] == [
        (10, {"temperature_c": 1.5, "rain_mm": None}),
        (20, {"temperature_c": 1.5, "rain_mm": None}),
    ]
    assert buffer.counts() == {"queued": 1, "accepted": 0, "refused": 0, "unsigned": 1}
    assert buffer.sign_readings("storage", "proofs", 2, sign, 1) is None


def test_batches_are_limited_by_count_and_bytes_but_never_empty(tmp_path: Path) -> None:
    buffer = _open(tmp_path)
    for _ in range(5):
        buffer.add_message(lambda seq: b"x" * 100, 1)
    assert len(buffer.queued(3, 10_000)) == 3
    assert len(buffer.queued(10, 250)) == 2
    assert len(buffer.queued(10, 1)) == 1


def test_an_answered_message_is_not_sent_again_and_is_pruned_later(tmp_path: Path) -> None:
    buffer = _open(tmp_path)
    for _ in range(3):
        buffer.add_message(lambda seq: b"m%d" % seq, 1)
    buffer.accept(1_000, 77, b"receipt", 50)
    buffer.refuse(1_001, "TIME_STALE", "", 60)
    buffer.refuse(1_000, "TIME_STALE", "", 60)  # too late: the receipt stands
    assert [message.seq for message in buffer.queued(9, 9_999)] == [1_002]
    assert list(buffer.receipts()) == [(1_000, b"m1000", b"receipt")]
    assert buffer.refusals() == {"TIME_STALE": 1}
    assert buffer.prune(55) == 1
    assert buffer.counts() == {"queued": 1, "accepted": 0, "refused": 1, "unsigned": 0}


def test_the_file_is_private_and_a_foreign_one_is_named(tmp_path: Path) -> None:
    _open(tmp_path)
    assert (tmp_path / "agent.db").stat().st_mode & 0o777 == 0o600
    (tmp_path / "other.db").write_bytes(b"not sqlite at all, by no means" * 50)
    with pytest.raises(EnvironmentProblem, match="cannot be opened"):
        Buffer(tmp_path / "other.db", 1)


def _sign_until_killed(path: Path, told: Connection) -> None:
    buffer = Buffer(path, 1_000)
    while True:
        message = os.urandom(40)
        seq = buffer.add_message(lambda _, message=message: message, 1)  # type: ignore[misc]
        told.send((seq, hashlib.sha256(message).digest()))  # as good as sent over the network


def test_kill_9_neither_loses_a_message_nor_uses_a_number_twice(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    context = multiprocessing.get_context("fork")
    sent: dict[int, bytes] = {}
    chance = random.Random(1)
    for _ in range(8):
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=_sign_until_killed, args=(path, theirs))
        child.start()
        theirs.close()
        assert ours.poll(20)
        time.sleep(chance.uniform(0.0, 0.05))
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        try:
            while ours.poll(0):
                seq, digest = ours.recv()
                assert sent.setdefault(seq, digest) == digest
        except EOFError:
            pass
    kept = {m.seq: hashlib.sha256(m.message).digest() for m in Buffer(path, 1).queued(1_000_000, 1 << 30)}
    assert len(sent) >= 8
    assert sent.items() <= kept.items()
    assert sorted(kept) == list(range(1_000, 1_000 + len(kept)))
