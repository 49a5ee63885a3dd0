"""Whose proven time earns bootstrap when the same bytes, or several shares of one segment, are leased more than once."""

from __future__ import annotations

from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.services.contract import REGISTRY_SCHEMA, EpochInput
from fieldstone.services.storage.device_tables import HELD_SCHEMA
from fieldstone.services.storage.holdings import FOREVER
from fieldstone.services.storage.lab_providers import Honest, RootsOnly
from fieldstone.services.storage.lab_world import World
from fieldstone.services.storage.uniqueness import mark
from tests.services.storage.worlds import played, usage_of

OWNERS = {"a": "0xA", "b": "0xB", "c": "0xC", "g": "0x9", "own": "0xa"}


def marked(*rows: dict[str, Any], most: int = 1) -> list[dict[str, Any]]:
    """Mark shares of an epoch from 0 to 1,000 ms, in the order of their lease unless they say otherwise."""
    whole = EpochInput(1, 0, 1_000, pl.DataFrame(schema=REGISTRY_SCHEMA), {}, {"segment_shares_per_operator": most})
    held = [
        {
            **dict.fromkeys(HELD_SCHEMA, 0),
            **{"device": "a", "gateway": "g", "share": b"%06d" % n, "segment": b"%d" % n, "root": b"%d" % n},
            **{"from_position": n, "until_position": FOREVER, "until_ms": FOREVER, "proven_units": 1_000},
            **row,
        }
        for n, row in enumerate(rows)
    ]
    table = mark(pl.DataFrame(held, schema=HELD_SCHEMA), OWNERS, whole).sort("from_position")
    return table.select("flaw", "flawed_units", "own").rows(named=True)


def units(*rows: dict[str, Any], most: int = 1) -> list[int]:
    return [row["flawed_units"] for row in marked(*rows, most=most)]


def test_who_came_first_keeps_the_claim() -> None:
    same = {"root": b"r"}
    assert units({**same, "device": "a"}, {**same, "device": "b"}, {**same, "device": "c"}) == [0, 1_000, 1_000]
    assert [row["flaw"] for row in marked(same, {**same, "device": "b"})] == ["", "COPIED_SHARE"]
    assert [row["flaw"] for row in marked({"segment": b"s"}, {"segment": b"s"})] == ["", "DUPLICATE_SEGMENT"]
    assert units({"segment": b"s"}, {"segment": b"s", "device": "b"}) == [0, 0]  # of another operator


def test_copies_that_are_released_before_the_epoch_ends_gain_nothing() -> None:
    """Only live shares were compared: whoever released in time was paid for as many copies as he had names."""
    gone = {"until_position": 9, "until_ms": 999}
    assert units({"root": b"r"}, {"root": b"r", "device": "b", **gone}) == [0, 1_000]


def test_a_share_that_moved_loses_the_time_in_which_both_were_leased() -> None:
    old = {"root": b"r", "until_position": 9, "until_ms": 500}
    assert units(old, {"root": b"r", "device": "b", "from_ms": 490}) == [0, 20]  # 10 of 510 ms, rounded up
    assert units(old, {"root": b"r", "device": "b", "from_ms": 500}) == [0, 0]
    assert units({**old, "until_ms": 0}, {"root": b"r", "device": "b"}) == [0, 0]  # it ended as the epoch began


def test_a_claim_that_is_not_proven_stands_in_nobodys_way() -> None:
    assert units({"root": b"r", "proven_units": 0}, {"root": b"r", "device": "b"}) == [0, 0]


def test_what_an_operator_leases_to_himself_comes_after_everybody_elses() -> None:
    rows = marked({"root": b"r", "gateway": "own"}, {"root": b"r", "device": "b"})
    assert [(row["own"], row["flawed_units"]) for row in rows] == [(True, 1_000), (False, 0)]


def test_more_shares_of_a_segment_count_where_the_rules_say_so() -> None:
    rows = [{"segment": b"s"} for _ in range(4)]
    assert units(*rows, most=2) == [0, 0, 1_000, 1_000]
    rows[0] |= {"until_position": 9, "until_ms": 250}
    assert units(*rows, most=2) == [0, 0, 250, 1_000]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1_000), st.integers(0, 1_000), st.sampled_from("abc")), max_size=6))
def test_identical_bytes_never_earn_more_than_one_of_them_would(spans: list[tuple[int, int, str]]) -> None:
    rows = [
        {
            "root": b"r",
            "device": who,
            "from_ms": min(span),
            "until_ms": max(span),
            "proven_units": max(span) - min(span),
        }
        for *span, who in sorted(spans, key=lambda one: min(one[:2]))
    ]
    counted = sum(row["proven_units"] - lost for row, lost in zip(rows, units(*rows), strict=True))
    covered = {ms for row in rows for ms in range(row["from_ms"], row["until_ms"])}
    assert counted <= len(covered)


def test_a_gateway_that_names_one_segment_for_all_its_shares_pays_for_each() -> None:
    """The segment of a share is the gateway's word alone: it must not decide what the gateway pays."""
    world = World(9)
    world.add("honest", Honest())
    one = world.providers[0]
    world.lease(one, [world.share(b"s" * 16, number) for number in range(5)])
    _, result, rows = played(world, 2.0)
    assert rows["honest"]["quantity"] * 5 == usage_of(world, result, "honest") > 0
    assert rows["honest"]["reasons"] == ["DUPLICATE_SEGMENT"]


def test_a_strawman_that_leases_the_bytes_first_takes_nothing_from_who_holds_them() -> None:
    """A gateway had a device without a disk lease every root first, and then stored with an honest provider for nothing."""
    world = World(9)
    world.add("straw", RootsOnly())
    world.add("honest", Honest())
    straw, honest = world.providers
    contents = [bytes([number]) * 32 for number in range(4)]
    world.lease(straw, [world.share(b"s" * 16, number, content) for number, content in enumerate(contents)])
    world.lease(honest, [world.share(bytes([number]) * 16, 0, content) for number, content in enumerate(contents)])
    _, result, rows = played(world, 2.0)
    assert rows["honest"]["verdict"] == "accepted" and rows["honest"]["reasons"] == []
    assert usage_of(world, result, "honest") == rows["honest"]["quantity"] > 0 == usage_of(world, result, "straw")


def test_what_a_revoked_gateway_leased_earns_nothing_and_stands_in_nobodys_way() -> None:
    """Nobody is charged for it: an enrolment, a lease and a revocation must not buy bootstrap for ever."""
    rows = marked({"root": b"r", "gateway": "revoked"}, {"root": b"r", "device": "b"})
    assert [(row["flaw"], row["flawed_units"]) for row in rows] == [("NO_PAYER", 1_000), ("", 0)]
    world = World(9)
    world.add("honest", Honest())
    world.lease(world.providers[0], [world.share(b"s" * 16, 0)], gateway=world.key("revoked"))
    _, result, played_rows = played(world, 2.0)
    assert (played_rows["honest"]["quantity"], played_rows["honest"]["reasons"]) == (0, ["NO_PAYER"])
    assert usage_of(world, result, "honest") == 0 and result.sold.is_empty()
