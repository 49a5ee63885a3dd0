"""A top-up credits once, signed by the founder, whatever happens between its steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from fieldstone.clock import SetClock
from fieldstone.errors import Rejected, Retryable, Terminal, UsageError
from fieldstone.identity.wallet import Wallet
from fieldstone.journal.entries import EntryKind
from fieldstone.market import Source
from fieldstone.market.credits import text_to_sign
from tests.market.world import POLICY, START_MS, World, make_world


def credit_entries(world: World) -> list[bytes]:
    return [entry.body for entry in world.journal.read(kinds=[EntryKind.CREDIT])]


def test_the_same_reference_credits_once(world: World) -> None:
    for _ in range(3):
        assert world.market.topup(world.customer, 5, Source.BURN, "31337:0xabc:0xdef:0").status == "credited"
    assert world.credits() == 1_000_005
    assert credit_entries(world)[1] == (
        b'{"amount_micro_usd":5,"customer":"%s","reference":"31337:0xabc:0xdef:0","signature":"","source":"burn"}'
        % world.customer.encode()
    )
    world.healthy()


def test_a_reference_cannot_credit_someone_else_or_more(world: World) -> None:
    other = world.market.customers.add("Ben")
    for customer, amount in ((other.id, 1_000_000), (world.customer, 2_000_000)):
        with pytest.raises(Terminal, match="already in the book"):
            world.market.topup(customer, amount, Source.FIAT, "bank-1")
    assert world.market.ledger.balance(f"customer:{other.id}") == 0
    world.healthy()


def test_a_fiat_and_a_burn_reference_are_different_things(world: World) -> None:
    world.market.topup(world.customer, 7, Source.BURN, "bank-1")
    assert world.credits() == 1_000_007


@pytest.mark.parametrize("amount", [0, -5, 10**12 + 1])
def test_impossible_amounts_are_refused(world: World, amount: int) -> None:
    with pytest.raises(UsageError):
        world.market.topup(world.customer, amount, Source.FIAT, "bank-2")


def test_only_the_founder_signs_bank_transfers(tmp_path: Path) -> None:
    founder, stranger = Wallet.generate(), Wallet.generate()
    world = make_world(tmp_path, SetClock(START_MS), POLICY, founder=founder.address)
    customer = world.market.customers.add("Anna").id
    text = text_to_sign("testnet", customer, 12_500_000, "bank-9")
    assert "amount: $12.50" in text
    bad = ["", "zz", "0x", stranger.sign_text(text).hex(), founder.sign_text(text + " ").hex()]
    for signature in bad:
        with pytest.raises(Rejected, match="BAD_OPERATOR_SIGNATURE"):
            world.market.topup(customer, 12_500_000, Source.FIAT, "bank-9", signature)
    genuine = "0x" + founder.sign_text(text).hex()
    with pytest.raises(Rejected, match="BAD_OPERATOR_SIGNATURE"):
        world.market.topup(customer, 12_500_001, Source.FIAT, "bank-9", genuine)
    world.market.topup(customer, 12_500_000, Source.FIAT, "bank-9", genuine)
    assert world.market.ledger.balance(f"customer:{customer}") == 12_500_000
    world.market.topup(customer, 1, Source.BURN, "chain event")  # the chain has checked it


def test_a_wish_of_another_process_is_taken_up(world: World) -> None:
    world.market._credits.request(world.customer, 9, Source.FIAT, "bank-3", "", head=0)
    assert world.credits() == 1_000_009
    assert len(credit_entries(world)) == 2


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_journal_that_fails_never_credits_twice_or_loses_it(world: World, moment: str) -> None:
    flaky = world.flaky()
    flaky.fail = moment
    with pytest.raises(Retryable):
        world.market.topup(world.customer, 5, Source.FIAT, "bank-4")
    # what the journal holds is true at once, what it does not hold is not
    assert world.credits() == (1_000_005 if moment == "after" else 1_000_000)
    flaky.fail = ""
    world.market.topup(world.customer, 5, Source.FIAT, "bank-4")
    assert world.credits() == 1_000_005
    assert len(credit_entries(world)) == 2
    world.healthy()
