"""Write the invoice of a delivery and the credit note of a refund. Pure.

Formula: the lines are the delivered readings per variable × price of one, plus, when fewer were delivered than quoted but the
service level was kept, the missing ones; they add up to what the customer paid.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from fieldstone.errors import Terminal
from fieldstone.market.invoices import Invoice, InvoiceLine, QualityLine, invoice_id
from fieldstone.market.metering import Delivered
from fieldstone.market.observations import Tally
from fieldstone.market.quotes import QuoteBody


def invoice(
    number: int,
    issued_ms: int,
    network: tuple[str, str],
    customer: tuple[str, str],
    quoted: QuoteBody,
    counted: Tally,
    metered: Delivered,
) -> Invoice:
    """Return the invoice of a delivered order. `network` and `customer` are (id, name)."""
    unit_price = quoted.unit_price_micro_usd
    lines = [
        _line(f"{metered.product}: {variable}", readings, unit_price)
        for variable, readings in counted.by_variable.items()
        if readings
    ]
    missing = quoted.readings - counted.readings
    notes = []
    if missing > 0 and metered.refund_micro_usd:
        notes.append(
            f"{missing} of {quoted.readings} quoted readings could not be delivered; what they cost is back in your credits."
        )
    elif missing > 0:
        lines.append(_line("not delivered, within level", missing, unit_price))
    elif missing < 0:
        lines.append(_line("more than quoted, free", missing, unit_price))
    total = sum(line.amount_micro_usd for line in lines)
    if total != metered.net_micro_usd:
        raise Terminal(f"order {metered.order}: invoice lines add up to {total}, {metered.net_micro_usd} were paid")
    return Invoice(
        id=invoice_id("invoice", number),
        number=number,
        kind="invoice",
        network_id=network[0],
        network_name=network[1],
        issued_ms=issued_ms,
        issued=_date(issued_ms),
        customer_id=customer[0],
        customer_name=customer[1],
        order_id=metered.order,
        currency="USD",
        lines=tuple(lines),
        total_micro_usd=total,
        quality=tuple(
            QualityLine(at_least_ppm=lower, readings=readings)
            for lower, readings in sorted(counted.by_quality.items(), reverse=True)
            if readings
        ),
        selection_sha256=quoted.selection_sha256,
        data_sha256=metered.data_sha256,
        notes=tuple(notes),
    )


def credit_note(
    number: int,
    issued_ms: int,
    network: tuple[str, str],
    customer: tuple[str, str],
    order_id: str,
    readings_by_device: Mapping[str, int],
    amount_micro_usd: int,
    cause: str,
) -> Invoice:
    """Return the credit note of a refund after delivery."""
    readings = sum(readings_by_device.values())
    line = InvoiceLine(
        text=f"refund, {len(readings_by_device)} devices",
        quantity=readings,
        unit="readings",
        unit_price_micro_usd=None,
        amount_micro_usd=-amount_micro_usd,
    )
    return Invoice(
        id=invoice_id("credit_note", number),
        number=number,
        kind="credit_note",
        network_id=network[0],
        network_name=network[1],
        issued_ms=issued_ms,
        issued=_date(issued_ms),
        customer_id=customer[0],
        customer_name=customer[1],
        order_id=order_id,
        currency="USD",
        lines=(line,),
        total_micro_usd=-amount_micro_usd,
        notes=(cause,),
    )


def _line(text: str, readings: int, unit_price_micro_usd: int) -> InvoiceLine:
    return InvoiceLine(
        text=text,
        quantity=readings,
        unit="readings",
        unit_price_micro_usd=unit_price_micro_usd,
        amount_micro_usd=readings * unit_price_micro_usd,
    )


def _date(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%d")
