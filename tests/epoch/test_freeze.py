from __future__ import annotations

import pytest

from fieldstone.epoch.founders import check_founder_entry
from fieldstone.epoch.freeze import freeze
from fieldstone.errors import CheckFailed, UsageError
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


def test_an_entry_judged_by_the_policy_before_does_not_stop_the_epoch(network: SmallNetwork) -> None:
    """Around a boundary the doors may still use the old policy; what the new one refuses is passed over and counted."""
    from fieldstone.identity.entries import Place, enrol
    from fieldstone.identity.keys import Algorithm, DeviceKey
    from fieldstone.identity.wallet import Wallet

    key, wallet = DeviceKey.from_secret(Algorithm.ED25519, b"\x77" * 32), Wallet.from_secret(b"\x78" * 32)
    body = enrol(key, wallet, network.policy, model="generic", place=Place(47.0, 8.0, 400.0, 10.0))
    network.append(NewEntry(EntryKind.REGISTRY, key.public.device_id, body))
    network.append(NewEntry(EntryKind.REGISTRY, key.public.device_id, body))  # its nonce is used up
    network.append(NewEntry(EntryKind.EQUIVOCATION, "", b"nonsense"))
    network.run_hours(1)
    frozen = freeze(network.entries(), network.state, check_signatures=True)
    assert frozen.counts["registry-ALREADY_ENROLLED"] == 1
    assert frozen.counts["equivocation-unreadable"] == 1
    assert frozen.evidence["sensing"]["readings"].height == 60 * len(network.keys)


_DEEP = b"[" * 100_000 + b"]" * 100_000
_ROW = b'{"device":"d","operator":"%b","amount_base":"%b"}'
_CORRECTION = b'{"epoch":1,"cause":"c","rows":[%b]}'
_NOBODY = b"0x" + b"1" * 40


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (EntryKind.PRICE, b'{"token_price_micro_usd":1,"note":' + b"9" * 30 + b'.0,"x":' + _DEEP + b"}"),
        (EntryKind.PRICE, b'{"token_price_micro_usd":1' + b"0" * 400 + b"}"),
        (EntryKind.CORRECTION, _CORRECTION % (_ROW % (b"null", b"1"))),  # was no leaf of the epoch's tree
        (EntryKind.CORRECTION, _CORRECTION % (_ROW % (_NOBODY, b"1\\n"))),
        (EntryKind.CORRECTION, _CORRECTION % _DEEP),
    ],
)
def test_founders_entries_that_would_stop_an_epoch_are_refused_or_passed_over(
    network: SmallNetwork, kind: EntryKind, body: bytes
) -> None:
    entry = NewEntry(kind, "", body)
    with pytest.raises(UsageError, match="malformed"):
        check_founder_entry(entry)
    network.append(entry)  # as if an older door had taken it
    frozen = freeze(network.entries(), network.state)
    assert frozen.counts[f"{kind.value}-unreadable"] == 1
    assert frozen.corrections.is_empty() and frozen.price_micro_usd == network.state.price_micro_usd


@pytest.mark.parametrize("more", [b"1e999", b"9" * 5_000, b'"\xff"'])
def test_what_the_door_skips_in_a_founders_entry_the_epoch_skips_too(network: SmallNetwork, more: bytes) -> None:
    """The door read a price by its fields, the epoch read all of it: what only the latter minded stopped every epoch."""
    row = _ROW % (network.wallets[0].address.encode(), b"7")
    bodies = {
        EntryKind.PRICE: b'{"token_price_micro_usd":70000,"note":%b}' % more,
        EntryKind.CORRECTION: b'{"epoch":1,"cause":"c","note":%b,"rows":[%b]}' % (more, row),
    }
    for kind, body in bodies.items():
        check_founder_entry(NewEntry(kind, "", body))
        network.append(NewEntry(kind, "", body))
    frozen = freeze(network.entries(), network.state)
    assert frozen.price_micro_usd == 70_000
    assert frozen.corrections["amount_base"].to_list() == ["7"]


def test_an_address_in_any_spelling_can_be_paid(network: SmallNetwork) -> None:
    """A correction may name an operator who has no other line, in lower case or with a checksum that is none."""
    for number, spelling in enumerate((b"0x" + b"ab" * 20, b"0x" + b"AB" * 20)):
        entry = NewEntry(EntryKind.CORRECTION, "", _CORRECTION % (_ROW % (spelling, b"%d" % (5 + number))))
        check_founder_entry(entry)
        network.append(entry)
    assert 11 in network.compute().leaves.values()


@pytest.mark.parametrize("kind", [EntryKind.CHALLENGE, EntryKind.EPOCH, EntryKind.EQUIVOCATION, EntryKind.BOND])
@pytest.mark.parametrize(
    "body", [b"", b"[]", b"7", b'{"epoch":[]}', b'{"x":"\xff"}', b'{"x":%b}' % _DEEP, b"\x91" * 100_000]
)
def test_a_nodes_unreadable_entry_is_named_or_passed_over(network: SmallNetwork, kind: EntryKind, body: bytes) -> None:
    """A node that hands such an entry to a verifier is refused by name; it does not end the verifier."""
    network.append(NewEntry(kind, "", body))
    try:
        freeze(network.entries(), network.state, check_signatures=True)
    except CheckFailed as error:
        assert "position" in str(error)
