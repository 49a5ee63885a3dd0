"""Credit customers: a bank transfer that the founder signed, or tokens burned on chain; each once.

Steps: the wish is written to the state, then a `credit` entry to the journal, then the ledger. The wish may be written by
another process (`fieldstone market topup` beside a running node): the node completes it. A reference (a bank reference,
or chain:contract:transaction:log index of the burn event) credits one customer one amount, however often it is sent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import msgspec
from sqlalchemy import Connection, Engine, select, update

from fieldstone.clock import Clock
from fieldstone.errors import FieldstoneError, Rejected, Terminal, UsageError
from fieldstone.journal.entries import EntryKind, NewEntry
from fieldstone.ledger.escrow import Escrow
from fieldstone.market.customers import checked_text
from fieldstone.market.journalled import MarketJournal, append_once
from fieldstone.reasons import reason
from fieldstone.state.engine import reading, writing
from fieldstone.state.schema import customer, topup
from fieldstone.units import format_usd

MAX_TOPUP_MICRO_USD = 10**12  # a million dollars at a time


class Source(StrEnum):
    """Where credits come from; also the ledger's external account."""

    FIAT = "fiat"
    BURN = "burn"


class Credit(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a `credit` journal entry. `signature`: the founder's, hex, over `text_to_sign`; "" for a burn."""

    customer: str
    amount_micro_usd: int
    source: str
    reference: str
    signature: str = ""


@dataclass(frozen=True, slots=True)
class Topup:
    """A top-up and how far it is: `pending` until the journal and the ledger hold it, then `credited`."""

    customer: str
    amount_micro_usd: int
    source: str
    reference: str
    status: str


def text_to_sign(network_id: str, customer_id: str, amount_micro_usd: int, reference: str) -> str:
    """Return what the founder's wallet signs (EIP-191) to credit a bank transfer."""
    return (
        f"Fieldstone top-up\nnetwork: {network_id}\ncustomer: {customer_id}\n"
        f"amount: {format_usd(amount_micro_usd)}\nreference: {reference}"
    )


class Credits:
    """Top-ups. `founder`: the address that must sign fiat top-ups; None accepts them from whoever can write the state."""

    def __init__(self, engine: Engine, escrow: Escrow, clock: Clock, *, network_id: str, founder: str | None) -> None:
        self._engine = engine
        self._escrow = escrow
        self._clock = clock
        self._network_id = network_id
        self._founder = founder
        self._working = threading.Lock()

    def request(
        self, customer_id: str, amount_micro_usd: int, source: Source, reference: str, signature: str, head: int
    ) -> Topup:
        """Write the wish down. `head`: the journal's, or any earlier position.

        Raises UsageError for an unknown customer or amount, Rejected BAD_OPERATOR_SIGNATURE, Terminal when the reference
        has credited someone else or another amount.
        """
        reference = checked_text(reference, "top-up reference", longest=160)
        if not 0 < amount_micro_usd <= MAX_TOPUP_MICRO_USD:
            raise UsageError("a top-up must lie above 0 and not above a million dollars")
        if source is Source.FIAT:
            self._check_signature(customer_id, amount_micro_usd, reference, signature)
        with writing(self._engine) as connection:
            if connection.execute(select(customer.c.id).where(customer.c.id == customer_id)).one_or_none() is None:
                raise UsageError(f"no customer {customer_id!r}; add one with `fieldstone market customer add`")
            known = self._find(connection, source, reference)
            if known is None:
                known = Topup(customer_id, amount_micro_usd, source.value, reference, "pending")
                connection.execute(
                    topup.insert().values(
                        source=source.value,
                        reference=reference,
                        customer_id=customer_id,
                        amount_micro_usd=amount_micro_usd,
                        signature=signature,
                        status="pending",
                        journal_after=head,
                        created_ms=self._clock.now_ms(),
                    )
                )
        if (known.customer, known.amount_micro_usd) != (customer_id, amount_micro_usd):
            raise Terminal(
                f"top-up {reference!r} is already in the book: {known.amount_micro_usd} micro-dollars for {known.customer}"
            )
        return known

    def pending(self) -> bool:
        """Return whether a top-up waits to be completed."""
        with reading(self._engine) as connection:
            return (
                connection.execute(select(topup.c.reference).where(topup.c.status == "pending").limit(1)).first()
                is not None
            )

    def complete(self, journal: MarketJournal) -> list[Topup]:
        """Carry all pending top-ups to the journal and the ledger; return them. Raises Retryable."""
        done = []
        with self._working:
            with reading(self._engine) as connection:
                rows = connection.execute(
                    select(topup).where(topup.c.status == "pending").order_by(topup.c.created_ms, topup.c.reference)
                ).all()
            for row in rows:
                body = Credit(
                    customer=row.customer_id,
                    amount_micro_usd=row.amount_micro_usd,
                    source=row.source,
                    reference=row.reference,
                    signature=row.signature,
                )
                entry = NewEntry(EntryKind.CREDIT, row.customer_id, msgspec.json.encode(body, order="sorted"))
                append_once(journal, entry, row.journal_after, _same(body), perhaps_there=True)
                self._credit(body)
                done.append(Topup(row.customer_id, row.amount_micro_usd, row.source, row.reference, "credited"))
        return done

    def _credit(self, body: Credit) -> None:
        with writing(self._engine) as connection:
            self._escrow.topup(
                body.source, body.reference, body.customer, body.amount_micro_usd, self._clock.now_ms(), connection
            )
            connection.execute(
                update(topup)
                .where(topup.c.source == body.source, topup.c.reference == body.reference)
                .values(status="credited")
            )

    def _find(self, connection: Connection, source: Source, reference: str) -> Topup | None:
        row = connection.execute(
            select(topup).where(topup.c.source == source.value, topup.c.reference == reference)
        ).one_or_none()
        if row is None:
            return None
        return Topup(row.customer_id, row.amount_micro_usd, row.source, row.reference, row.status)

    def _check_signature(self, customer_id: str, amount_micro_usd: int, reference: str, signature: str) -> None:
        if self._founder is None:
            return
        from fieldstone.identity.wallet import checksum_address, recover_text

        text = text_to_sign(self._network_id, customer_id, amount_micro_usd, reference)
        try:
            signer = recover_text(text, bytes.fromhex(signature.removeprefix("0x")))
            genuine = signer == checksum_address(self._founder)
        except (ValueError, FieldstoneError):
            genuine = False
        if not genuine:
            raise Rejected(reason("BAD_OPERATOR_SIGNATURE"), reference, f"{self._founder} must sign the top-up's text")


def _same(body: Credit) -> Callable[[bytes], bool]:
    def same(other: bytes) -> bool:
        found = msgspec.json.decode(other, type=Credit)
        return (found.source, found.reference) == (body.source, body.reference)

    return same
