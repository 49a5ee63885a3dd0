"""Test reads against a real provider: what comes is reported as it came, whatever the provider does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fieldstone.identity.keys import DeviceKey
from fieldstone.services.storage import records
from fieldstone.services.storage.challenge import LeafRead
from fieldstone.services.storage.codes.fast_tree import leaf_hash
from fieldstone.services.storage.provider.checking import Checker
from fieldstone.services.storage.records import CheckSet, RetrievalCheck
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
    one: Running, key: DeviceKey, notes: Notes, *reads: LeafRead, url: str | None = None
) -> list[RetrievalCheck]:
    listed = [
        {
            "device": one.key.public.device_id,
            "key": one.key.public.device_id,
            "url": url or f"http://127.0.0.1:{one.server.port}",
        }
    ]
    checker = Checker(key, lambda path: {"devices": listed}, notes, notes.keep)
    body = checker.report(7, reads)
    assert body is not None
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
    assert Checker(provider.gateway.key, lambda path: {}, Notes(), Notes().keep).report(1, []) is None


def test_a_stranger_is_refused_and_says_so(provider: Running) -> None:
    (check,) = checked(provider, DeviceKey.generate(), Notes(), leaf(provider, 0))
    assert check.outcome == "refused"
