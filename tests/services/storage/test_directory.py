from __future__ import annotations

import dataclasses

import polars as pl
import pytest

from fieldstone.errors import Rejected
from fieldstone.services.contract import DOCUMENT_SCHEMA, REGISTRY_SCHEMA, EpochInput
from fieldstone.services.storage.directory import ANNOUNCED, announced, directory, unreadable
from fieldstone.services.storage.holdings import FOREVER
from fieldstone.services.storage.presence import PRESENCE, PRESENCE_SCHEMA
from fieldstone.services.storage.records import Announcement, decode, encode
from tests.services.storage.worlds import fleet, played


def told(*rows: tuple[str, bytes]) -> EpochInput:
    documents = [(device, 1_000, 1_000 + n, n + 1, body) for n, (device, body) in enumerate(rows)]
    table = pl.DataFrame(documents, schema=DOCUMENT_SCHEMA, orient="row")
    return EpochInput(1, 0, 10_000, pl.DataFrame(schema=REGISTRY_SCHEMA), {"announce": table}, {})


def at(url: str, capacity_bytes: int = 10) -> bytes:
    return encode(Announcement(url=url, capacity_bytes=capacity_bytes))


def test_the_newest_announcement_counts() -> None:
    found = directory(
        told(("a", at("http://10.0.0.1:9000")), ("b", at("http://10.0.0.2:9000")), ("a", at("https://a.net:1")))
    )
    assert {device: facts["url"] for device, facts in found.items()} == {
        "a": "https://a.net:1",
        "b": "http://10.0.0.2:9000",
    }


def test_what_cannot_be_read_leaves_the_one_before() -> None:
    hostile = [
        b"",
        b"\xff" * 40,
        at("http://10.0.0.1:1")[:-1],
        encode(Announcement(url="javascript:alert(1)", capacity_bytes=1)),
    ]
    found = directory(told(("a", at("http://10.0.0.1:9000")), *(("a", body) for body in hostile)))
    assert found["a"]["url"] == "http://10.0.0.1:9000"


@pytest.mark.parametrize(
    "url",
    [
        "http://[",
        "http://]",
        "http://[zz]",
        "http://[1.2.3.4]",
        "http://a:b",
        "http://a:99999",
        "http://:",
        "http://a:0",
    ],
)
def test_an_address_that_nobody_can_dial_is_none_and_stops_no_epoch(url: str) -> None:
    """`http://[` passed the pattern and raised where devices are compared: one announcement stopped the network."""
    told_so = told(("a", at("http://10.0.0.1:9000")), ("a", at(url)), ("b", at(url)))
    assert {device: facts["url"] for device, facts in directory(told_so).items()} == {"a": "http://10.0.0.1:9000"}
    assert unreadable(told_so) == {"a": 1, "b": 1}
    world = fleet(1, honest=2, shares=1)
    world.report("announce", world.providers[0].device, at(url))
    _, result, rows = played(world, 1.0)
    assert rows["honest0"]["reasons"] == ["BAD_REPORT"] and result.carry[ANNOUNCED].is_empty()


def test_an_address_ends_where_it_ends() -> None:
    with pytest.raises(Rejected):
        decode(at("http://a.net:1\n"), Announcement)


def test_evidence_without_announcements_announces_nobody() -> None:
    assert announced(dataclasses.replace(told(), evidence={})).is_empty()


def test_who_vanished_and_announces_itself_again_is_no_longer_silent() -> None:
    """It holds nothing, so no round asks it anything, and no answer could ever end its silence."""
    silence = pl.DataFrame([("a", 10, 900)], schema=PRESENCE_SCHEMA, orient="row")
    held = pl.DataFrame([{"device": "a", "share": b"s", "until_position": FOREVER, "proven_ms": 1, "failed_ms": 900}])
    back = dataclasses.replace(told(("a", at("http://10.0.0.1:9000"))), carry={PRESENCE: silence})  # heard at 1,000
    assert directory(back)["a"]["silent_ms"] == 0 and directory(back)["a"]["score_ppm"] > 0
    holding = dataclasses.replace(back, carry={PRESENCE: silence, "holdings": held})
    assert directory(holding)["a"]["silent_ms"] == 900 and directory(holding)["a"]["score_ppm"] == 0
    late = pl.DataFrame([("a", 10, 1_500)], schema=PRESENCE_SCHEMA, orient="row")
    assert directory(dataclasses.replace(back, carry={PRESENCE: late}))["a"]["silent_ms"] == 1_500


def test_announcements_are_carried_from_epoch_to_epoch() -> None:
    first = told(("a", at("http://10.0.0.1:9000", 7)))
    second = dataclasses.replace(told(("b", at("http://10.0.0.2:9000"))), carry={ANNOUNCED: announced(first)})
    assert announced(second)["device"].to_list() == ["a", "b"]
    assert announced(second)["capacity_bytes"].to_list() == [7, 10]
