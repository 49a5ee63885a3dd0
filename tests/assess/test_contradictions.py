"""Contradictions are found, also the known ones of public reports; clean sets raise few."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from fieldstone.assess.case import load_case
from fieldstone.assess.contradictions import find
from fieldstone.assess.library import shipped_case
from fieldstone.assess.questions import load_framework
from tests.assess.conftest import case, claim

VECTORS = Path(__file__).parent.parent / "vectors" / "assess"


def pairs(name: str) -> set[tuple[str, str, str]]:
    at = VECTORS / f"{name}.toml"
    found = find(load_case(at) if at.exists() else shipped_case(name), load_framework())
    return {(one.kind, one.first.id, one.second.id if one.second else "") for one in found}


# the numbers are those of the table in the assessment reference, section 7
@pytest.mark.parametrize(
    ("number", "network", "expected"),
    [
        (1, "helium", ("value", "offload-q3-25-high", "offload-q3-25-low")),
        (2, "render", ("value", "inflation-rnp", "inflation-sod")),
        (3, "akash", ("scope", "revenue-q1-26", "spend-q1-26")),
        (4, "akash", ("value", "take-aep", "take-sod")),
        (5, "sector", ("scope", "revenue-month", "revenue-year")),
        (6, "hivemapper", ("declared", "mappers", "contributors-chain")),
        (7, "helium", ("value", "users-headline", "users-q4-25")),
        (8, "render", ("value", "burn-share-rnp", "burn-share-sod")),
        (9, "render", ("value", "growth-a", "growth-b")),
        (9, "render", ("value", "run-rate-a", "run-rate-b")),
        (10, "io-net", ("scope", "net-high", "revenue-stated")),
        (11, "filecoin", ("value", "stored", "stored-sod")),
        (12, "filecoin", ("scope", "data-sets", "data-sets-sod")),
        (14, "helium", ("declared", "iot-active", "iot-registered")),
        (15, "helium", ("declared", "inflation-supplement", "inflation-ye25")),
        (16, "sector", ("date", "revenue-year", "")),
    ],
)
def test_known_contradictions_are_shown(number: int, network: str, expected: tuple[str, str, str]) -> None:
    assert expected in pairs(network)


def test_a_rounding_difference_is_none() -> None:
    """Number 13: 56,635 against 24,883 + 31,765 = 56,648."""
    assert not [pair for pair in pairs("helium") if "burn-mobile-parts" in pair]


def test_claims_of_other_scope_or_period_are_no_contradiction() -> None:
    a = claim("users", 100, "people", "2025-01", scope="daily")
    assert not find(case(a, claim("users", 150, "people", "2025-01", id="b", scope="monthly")), load_framework())
    assert not find(case(a, claim("users", 900, "people", "2025-03", id="b", scope="daily")), load_framework())
    (one,) = find(case(a, claim("users", 250, "people", "2025-01", id="b", scope="monthly")), load_framework())
    assert one.kind == "scope"


def test_a_part_does_not_contradict_its_whole() -> None:
    whole, part = (
        claim("users", 100, "people", scope="all"),
        claim("users", 10, "people", id="b", scope="EU", part_of="users"),
    )
    assert not find(case(whole, part), load_framework())


def test_a_stated_interval_or_error_is_respected() -> None:
    a = claim("users", 100, "people")
    assert find(case(a, claim("users", 110, "people", id="b")), load_framework())
    assert not find(case(a, claim("users", 110, "people", id="b", error=0.1)), load_framework())
    assert not find(case(a, claim("users", 110, "people", id="b", low=90, high=120)), load_framework())


def test_few_false_flags_on_a_clean_set() -> None:
    """Two reports of the same truth, each within 2 %: at most 5 % of the pairs may be flagged (reference, section 12)."""
    draw = random.Random(7)
    flagged = 0
    for n in range(400):
        truth = 10 ** draw.uniform(1, 8)
        one, two = (truth * (1 + draw.gauss(0, 0.01)) for _ in range(2))
        metric, unit = draw.choice([("users", "people"), ("revenue.total", "USD/day"), ("supply.leases", "leases")])
        claims = claim(metric, one, unit, id=f"a{n}"), claim(metric, two, unit, id=f"b{n}")
        flagged += bool(find(case(*claims), load_framework()))
    assert flagged <= 20
