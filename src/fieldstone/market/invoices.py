"""Invoices and credit notes: one gapless series of numbers, each document written once and never changed."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.dialects import postgresql, sqlite

from fieldstone.errors import Rejected
from fieldstone.reasons import reason
from fieldstone.state.engine import reading
from fieldstone.state.schema import counter, invoice

_SERIES = "invoice"


class InvoiceLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line. `unit_price_micro_usd` is None where an amount is not a number of readings times a price."""

    text: str
    quantity: int
    unit: str
    unit_price_micro_usd: int | None
    amount_micro_usd: int


class QualityLine(msgspec.Struct, frozen=True, kw_only=True):
    """How many delivered readings had at least this quality (and less than the line above)."""

    at_least_ppm: int
    readings: int


class Invoice(msgspec.Struct, frozen=True, kw_only=True):
    """`kind`: invoice | credit_note. `total_micro_usd` is what the customer pays, negative on a credit note."""

    id: str
    number: int
    kind: str
    network_id: str
    network_name: str
    issued_ms: int
    issued: str
    customer_id: str
    customer_name: str
    order_id: str
    currency: str
    lines: tuple[InvoiceLine, ...]
    total_micro_usd: int
    quality: tuple[QualityLine, ...] = ()
    selection_sha256: str = ""
    data_sha256: str = ""
    notes: tuple[str, ...] = ()


def next_number(connection: Connection) -> int:
    """Take the next number inside the caller's transaction; it is given back when that rolls back."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    connection.execute(insert(counter).values(name=_SERIES, value=0).on_conflict_do_nothing(index_elements=["name"]))
    return int(
        connection.execute(
            update(counter)
            .where(counter.c.name == _SERIES)
            .values(value=counter.c.value + 1)
            .returning(counter.c.value)
        ).scalar_one()
    )


def invoice_id(kind: str, number: int) -> str:
    """Return the id of a document: INV-000001, CN-000002."""
    return f"{'INV' if kind == 'invoice' else 'CN'}-{number:06d}"


def keep(connection: Connection, document: Invoice) -> None:
    """Write a document inside the caller's transaction."""
    connection.execute(
        invoice.insert().values(
            id=document.id,
            number=document.number,
            customer_id=document.customer_id,
            order_id=document.order_id,
            body=msgspec.json.encode(document, order="sorted"),
            created_ms=document.issued_ms,
        )
    )


class Invoices:
    """The documents that were issued."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, document_id: str, customer_id: str | None = None) -> Invoice:
        """Return a document, of `customer_id` when given. Raises Rejected UNKNOWN_PRODUCT, also for somebody else's."""
        with reading(self._engine) as connection:
            row = connection.execute(select(invoice).where(invoice.c.id == document_id)).one_or_none()
        if row is None or customer_id not in (None, row.customer_id):
            raise Rejected(reason("UNKNOWN_PRODUCT"), document_id[:40])
        return msgspec.json.decode(row.body, type=Invoice)

    def of_order(self, order_id: str) -> list[str]:
        """Return the ids of an order's documents, in order of issue."""
        with reading(self._engine) as connection:
            query = select(invoice.c.id).where(invoice.c.order_id == order_id).order_by(invoice.c.number)
            return list(connection.execute(query).scalars())
