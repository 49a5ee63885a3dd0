from __future__ import annotations

import pytest

from fieldstone.epoch.freeze import freeze
from fieldstone.errors import CheckFailed
from fieldstone.journal import Entry, EntryKind, NewEntry

from .conftest import SmallNetwork


def test_a_missing_entry_is_noticed(network: SmallNetwork) -> None:
    network.run_hours(1)
    entries = network.entries()
    with pytest.raises(CheckFailed, match="position 4 follows 2"):
        freeze(entries[:2] + entries[3:], network.state)


def test_an_entry_after_the_end_is_noticed(network: SmallNetwork) -> None:
    late = Entry(1, network.state.next_end_ms, EntryKind.PRICE, "", b'{"token_price_micro_usd":1}')
    with pytest.raises(CheckFailed, match="after epoch 1"):
        freeze([late], network.state)


def test_a_forged_report_is_caught_by_a_verifier_only(network: SmallNetwork) -> None:
    network.clock.set(network.clock.now_ms() + 4_000_000)
    message = network.signed_report(0, 15.0)
    forged = message[:-1] + bytes([message[-1] ^ 1])
    network.append(NewEntry(EntryKind.REPORT, network.keys[0].public.device_id, forged))
    freeze(network.entries(), network.state)  # the node trusts its own doors
    with pytest.raises(CheckFailed, match="signature"):
        freeze(network.entries(), network.state, check_signatures=True)


def test_evidence_is_sorted_and_complete(network: SmallNetwork) -> None:
    network.run_hours(2)
    table = freeze(network.entries(), network.state).evidence["sensing"]["readings"]
    assert table.height == 2 * 60 * len(network.keys)
    assert table.equals(table.sort("device", "t_ms", maintain_order=True))
    assert table["temperature_c"].null_count() == 0


def test_price_and_policy_take_effect(network: SmallNetwork) -> None:
    import msgspec

    changed = msgspec.structs.replace(
        network.policy, rewards=msgspec.structs.replace(network.policy.rewards, take_ppm=1)
    )
    network.append(NewEntry(EntryKind.PRICE, "", b'{"token_price_micro_usd": 70000}'))
    network.append(NewEntry(EntryKind.POLICY, "", changed.to_json()))
    frozen = freeze(network.entries(), network.state)
    assert frozen.price_micro_usd == 70_000
    assert frozen.policy == network.policy  # the running epoch keeps its rules
    assert frozen.policy_after == changed
