"""What an operator reads at the start about his bond: how much there is, what it covers, what to do when it is too little."""

from __future__ import annotations

from typing import Any

import pytest

from fieldstone.services.storage.provider.bond_words import bond_words
from fieldstone.units import TOKEN_BASE, TOKEN_DECIMALS, parse_amount

ME, OTHER = "did:key:zMe", "did:key:zOther"
OPERATOR = "0xAbC"
TIB = 2**40


def told(own: int = 0, shared: int = 0, per_tib: int = 50, **fields: Any) -> dict[str, Any]:
    staked = {"": str(shared * TOKEN_BASE), ME: str(own * TOKEN_BASE)}
    rule = {"storage": {"unit": "TiB", "per_unit_base": str(per_tib * TOKEN_BASE)}}
    return {"operator": OPERATOR, "services": rule, "staked_base": staked, "problem": "", **fields}


def listed(*names: str, **fields: Any) -> list[dict[str, Any]]:
    return [{"device": name, "operator": OPERATOR.lower(), **fields} for name in names]


def test_where_no_bond_is_asked_for_nothing_is_said() -> None:
    assert list(bond_words(told(services={}), listed(ME), ME, TIB)) == []
    assert list(bond_words(told(services={"sensing": {}}), listed(ME), ME, TIB)) == []


def test_enough_is_said_in_one_line() -> None:
    (line,) = bond_words(told(own=100), listed(ME), ME, 2 * TIB)
    assert "100.0000 are staked for this device" in line and "2,048.00 GiB of 2,048.00 GiB are covered" in line


def test_what_is_staked_for_all_devices_is_split_evenly() -> None:
    line, _ = bond_words(told(own=50, shared=50), listed(ME, OTHER), ME, 2 * TIB)
    assert "1,536.00 GiB of 2,048.00 GiB" in line
    line, _ = bond_words(told(shared=50), listed(OTHER), ME, TIB)  # not announced yet, but one of the two
    assert "512.00 GiB of 1,024.00 GiB" in line


@pytest.mark.parametrize(("own", "capacity"), [(0, TIB), (1, TIB + 1), (49, TIB), (60_000, 4_000 * TIB), (0, 1)])
def test_what_is_advised_is_enough_and_can_be_typed(own: int, capacity: int) -> None:
    said = list(bond_words(told(own=own), listed(ME), ME, capacity))
    assert "too little" in said[-1] and f"--device {ME}" in said[-1]
    tokens = parse_amount(said[-1].split("bond add ")[1].split()[0], TOKEN_DECIMALS, what="tokens")
    after = told(own=own)
    after["staked_base"][ME] = str(own * TOKEN_BASE + tokens)
    assert not any("too little" in line for line in bond_words(after, listed(ME), ME, capacity))


def test_what_counts_now_and_why_it_may_not_be_known_is_said() -> None:
    row = listed(ME, bond_room_bytes=2**30, bond_held_bytes=2**31)
    said = list(bond_words(told(own=50, problem="no answer"), row, ME, TIB))
    assert any("room for 1.00 GiB more is counted beside 2.00 GiB in use" in line for line in said)
    assert any("no answer" in line for line in said)


@pytest.mark.parametrize("nonsense", [{}, {"services": {"storage": {}}}, {**told(), "staked_base": {"": "many"}}])
def test_nonsense_is_told_by_known_errors(nonsense: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        list(bond_words(nonsense, [], ME, TIB))
