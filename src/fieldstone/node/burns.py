"""Tokens burned on chain become a customer's credits, each burn once.

Whoever burns through `Credits.burn_exact_in` names the customer in the 32-byte reference: the customer's id in ASCII,
padded with zero bytes. A burn for nobody we know stays on chain, readable by all, and credits nobody here. So does one that the book
refuses (more than a top-up may be): it is named in the log, for the founder to credit by hand.
"""

from __future__ import annotations

import structlog

from fieldstone.chain.settlement import Settlement
from fieldstone.errors import Terminal, UsageError
from fieldstone.market.credits import Source
from fieldstone.market.market import Market

_log = structlog.get_logger("burns")


def reference_of(customer_id: str) -> bytes:
    """Return the reference with which a burn credits a customer. Raises UsageError when the id is too long."""
    encoded = customer_id.encode("ascii")
    if len(encoded) > 32:
        raise UsageError(f"customer id {customer_id!r} does not fit into 32 bytes")
    return encoded.ljust(32, b"\0")


def credit_burns(chain: Settlement, market: Market, first_block: int | None = None) -> int:
    """Credit every burn event from `first_block` on (default: all); return how many were credited or had been."""
    known = {reference_of(customer.id): customer.id for customer in market.customers.all()}
    credited = 0
    for event in chain.events(chain.credits, first_block):
        if event.name != "Burned":
            continue
        customer = known.get(bytes(event.fields["reference"]))
        if customer is None:
            _log.warning("burn_without_customer", transaction="0x" + event.log.tx_hash.hex())
            continue
        name = f"{chain.port.chain_id}:{chain.credits.address}:0x{event.log.tx_hash.hex()}:{event.log.index}"
        try:
            market.topup(customer, int(event.fields["credits"]), Source.BURN, name)
        except (UsageError, Terminal) as error:
            # whoever burns chooses amount and reference: he must not stop settlement
            _log.error("burn_not_credited", burn=name, customer=customer, why=str(error))
            continue
        credited += 1
    return credited
