"""Test reads against a real provider: what comes is reported as it came, whatever the provider does."""

from __future__ import annotations

import gzip
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from fieldstone.identity.keys import DeviceKey
from fieldstone.services.storage import records
from fieldstone.services.storage.challenge import LeafRead
from fieldstone.services.storage.codes.fast_tree import leaf_hash
from fieldstone.services.storage.provider.checking import Checker
from fieldstone.services.storage.records import CheckSet, RetrievalCheck
from fieldstone.services.storage.schema import DOCUMENTS
from tests.services.storage.provider.running import Running, running

SHARE = b"s" * 16
BODY = os.urandom(40_000)


class Notes(dict[str, str]):
    def note(self, name: str) -> str | None:
        return self.get(name)

    def keep(self, name: str, value: str) -> None:
        self[name] = value


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as one:
        assert one.gateway.put(SHARE, BODY).status == 201
        yield one


def checked(
    one: Running,
    key: DeviceKey,
    notes: Notes,
    *reads: LeafRead,
    url: str | None = None,
    others: dict[str, str] | None = None,
) -> list[RetrievalCheck]:
    listed = [
        {
            "device": one.key.public.device_id,
            "key": one.key.public.device_id,
            "url": url or f"http://127.0.0.1:{one.server.port}",
        }
    ]
    listed += [{"device": name, "url": where} for name, where in (others or {}).items()]
    checker = Checker(key, lambda path: {"devices": listed}, notes, notes.keep, timeout_s=1.0)
    (body,) = checker.report(7, reads)
    found = records.decode(body, CheckSet)
    assert found.number == 7
    return sorted(found.checks, key=lambda check: check.leaf_index)


def leaf(one: Running, index: int, share: bytes = SHARE) -> LeafRead:
    start = index * 16_384
    return LeafRead(share, index, one.key.public.device_id, start, min(start + 16_384, len(BODY)))


def test_an_honest_provider_is_reported_with_the_hash_of_its_bytes(provider: Running) -> None:
    found = checked(provider, provider.gateway.key, Notes(), leaf(provider, 0), leaf(provider, 2))
    assert [check.outcome for check in found] == ["ok", "ok"]
    assert [check.answer for check in found] == [leaf_hash(BODY[:16_384]), leaf_hash(BODY[32_768:])]
    assert [check.size_bytes for check in found] == [16_384, 40_000 - 32_768]


def test_a_checker_that_forgot_its_count_goes_on_from_the_providers(provider: Running) -> None:
    key = provider.gateway.key
    assert checked(provider, key, Notes(), leaf(provider, 0))[0].outcome == "ok"
    assert checked(provider, key, Notes(), leaf(provider, 1))[0].outcome == "ok"


def test_a_number_is_written_down_before_it_is_sent(provider: Running) -> None:
    notes = Notes()
    checked(provider, provider.gateway.key, notes, leaf(provider, 0), url="http://127.0.0.1:9")
    assert list(notes.values()) == ["16384"]


@pytest.mark.parametrize(
    ("change", "outcome"),
    [({"share": b"x" * 16}, "refused"), ({"provider": "did:key:elsewhere"}, "refused")],
)
def test_what_does_not_come_is_refused(provider: Running, change: dict[str, Any], outcome: str) -> None:
    (check,) = checked(provider, provider.gateway.key, Notes(), leaf(provider, 0)._replace(**change))
    assert (check.outcome, check.answer, check.size_bytes) == (outcome, bytes(32), 0)


def test_nothing_assigned_nothing_reported(provider: Running) -> None:
    assert Checker(provider.gateway.key, lambda path: {}, Notes(), Notes().keep).report(1, []) == []


def test_a_stranger_is_refused_and_says_so(provider: Running) -> None:
    (check,) = checked(provider, DeviceKey.generate(), Notes(), leaf(provider, 0))
    assert check.outcome == "refused"


# ---- whoever is read may be hostile ----------------------------------------------------------------------------------


@contextmanager
def hostile(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve connections by `behave`, one thread each; yield the address."""
    listener = socket.create_server(("127.0.0.1", 0))

    def one(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65_536)
            behave(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def sends(head: bytes, body: bytes) -> Callable[[socket.socket], None]:
    return lambda to: to.sendall(b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n" % (head, len(body)) + body)


def drips(head: bytes) -> Callable[[socket.socket], None]:
    def behave(to: socket.socket) -> None:
        to.sendall(head)
        while True:  # until the other side has had enough
            to.sendall(b"x")
            time.sleep(0.02)

    return behave


EVIL = "did:key:zEvil"


def beside_an_honest_one(provider: Running, url: str) -> tuple[RetrievalCheck, Notes]:
    """Return what is said of a hostile provider, having checked that an honest one's reads did not suffer."""
    notes = Notes()
    evil = LeafRead(SHARE, 9, EVIL, 0, 16_384)
    honest, bad = checked(provider, provider.gateway.key, notes, leaf(provider, 0), evil, others={EVIL: url})
    assert honest.outcome == "ok"
    return bad, notes


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nx: ", b"HTTP/1.1 200 OK\r\ncontent-length: 16384\r\n\r\n"])
def test_dripping_gains_no_more_time_than_silence(provider: Running, head: bytes) -> None:
    """Bytes every moment keep a client's own timeouts from ending a read; a checker that waits proves nothing itself."""
    with hostile(drips(head)) as url:
        bad, _ = beside_an_honest_one(provider, url)
    assert (bad.outcome, bad.answer) == ("timeout", bytes(32))


@pytest.mark.parametrize(
    "said", [b"1" + b"0" * 30, b"1e999", b"%d" % 2**61, b"%d" % (2**30 + 2**20), b'"9"', b"-5", b"[" * 5_000]
)
def test_nobody_makes_a_checker_sign_for_what_it_did_not_read(provider: Running, said: bytes) -> None:
    """The newest order is what is paid: a provider that "remembers" more would write its own cheque."""
    with hostile(sends(b"409 Conflict", b'{"code":"VOUCHER_TOO_LOW","egress_bytes":%s}' % said)) as url:
        bad, notes = beside_an_honest_one(provider, url)
    assert bad.outcome == "refused"
    assert int(notes[f"ordered from {EVIL}"]) <= 2 * 16_384


def test_what_comes_is_taken_as_it_comes(provider: Running) -> None:
    """No answer is decompressed: a few kilobytes would become gigabytes."""
    bomb = gzip.compress(bytes(16_384))
    with hostile(sends(b"200 OK\r\ncontent-encoding: gzip", bomb)) as url:
        bad, _ = beside_an_honest_one(provider, url)
    assert (bad.outcome, bad.size_bytes) == ("wrong", len(bomb))


@pytest.mark.parametrize("url", ["http://[::1", "http://a..b", "http://127.0.0.1:99999", "http://\x00", "ftp://x"])
def test_an_address_that_is_none_is_its_own_owners_failure(provider: Running, url: str) -> None:
    assert beside_an_honest_one(provider, url)[0].outcome == "refused"


def test_many_reads_go_in_several_reports() -> None:
    """One report of them all would be longer than the network takes, and all of them lost."""
    reads = [LeafRead(SHARE, index, f"did:key:z{index:048}", 0, 1_024) for index in range(600)]
    bodies = Checker(DeviceKey.generate(), lambda path: {"devices": []}, Notes(), Notes().keep).report(7, reads)
    assert max(map(len, bodies)) < DOCUMENTS["check"].max_bytes
    assert sorted(check.leaf_index for body in bodies for check in records.decode(body, CheckSet).checks) == [
        *range(600)
    ]
