from __future__ import annotations

from types import SimpleNamespace

import pytest

from fieldstone.chain.outbox import Outbox
from fieldstone.chain.settlement import Settlement
from fieldstone.clock import SetClock
from fieldstone.config import load
from fieldstone.errors import UsageError
from fieldstone.ledger.accounts import AccountKind, account
from fieldstone.market.credits import MAX_TOPUP_MICRO_USD
from fieldstone.node.burns import credit_burns, reference_of
from fieldstone.node.node import Node
from fieldstone.units import TOKEN_BASE

from .conftest import START_MS, TOML


def test_a_burn_credits_its_customer_once(tmp_path) -> None:
    (tmp_path / "network.toml").write_text(TOML.format(settlement=""))
    clock = SetClock(START_MS)
    node = Node(load(tmp_path / "network.toml", {}), clock)
    customer = node.market.customers.add("Burner")
    node.chain.post_price(1_000_000, 0, clock.now_ms() // 1000, {})
    outbox = Outbox(tmp_path / "treasury-outbox.db", clock=clock)
    treasury = Settlement(node.port, node.addresses, outbox=outbox, signer=node.layout.wallet("treasury"))
    credits = treasury.burn_for_credits(3 * TOKEN_BASE, 1, node.addresses.rewards, reference_of(customer.id))
    assert credits == 3_000_000
    node.settle()
    balance = node.market.ledger.balance(account(AccountKind.CUSTOMER, customer.id))
    node.settle()
    node.close()
    again = Node(load(tmp_path / "network.toml", {}), clock)
    again.settle()  # a start reads all burns again
    assert again.market.ledger.balance(account(AccountKind.CUSTOMER, customer.id)) == balance
    assert abs(balance) == 3_000_000
    again.close()
    outbox.close()


def test_a_reference_fits_32_bytes() -> None:
    assert len(reference_of("cus_0123456789abcdef")) == 32
    with pytest.raises(UsageError):
        reference_of("x" * 33)


def test_a_burn_that_the_book_refuses_stops_no_other(tmp_path) -> None:
    """Anybody can burn more than a top-up may be, in anybody's name: no root was posted after that."""
    (tmp_path / "network.toml").write_text(TOML.format(settlement=""))
    node = Node(load(tmp_path / "network.toml", {}), SetClock(START_MS))
    customer = node.market.customers.add("Burner")
    amounts = (MAX_TOPUP_MICRO_USD + 1, 2**200, 5)
    logs = [SimpleNamespace(tx_hash=bytes([number]) * 32, index=number) for number in range(3)]
    burns = [
        SimpleNamespace(name="Burned", fields={"reference": reference_of(customer.id), "credits": amount}, log=log)
        for amount, log in zip(amounts, logs, strict=True)
    ]
    chain = SimpleNamespace(
        events=lambda contract, first: burns, credits=SimpleNamespace(address="0x1"), port=SimpleNamespace(chain_id=1)
    )
    assert credit_burns(chain, node.market) == 1
    assert abs(node.market.ledger.balance(account(AccountKind.CUSTOMER, customer.id))) == 5
    node.close()
