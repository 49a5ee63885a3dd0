"""Show an invoice or a credit note as plain text or as one HTML page. Pure."""

from __future__ import annotations

from html import escape
from typing import Any

from fieldstone.market.invoices import Invoice, InvoiceLine
from fieldstone.units import format_usd


def as_text(document: Invoice) -> str:
    """Return a document as plain text, 78 columns."""
    rows = [
        f"{_title(document)} {document.id}",
        f"{document.network_name} ({document.network_id})",
        f"issued {document.issued}",
        "",
        f"to     {document.customer_name} ({document.customer_id})",
        f"order  {document.order_id}",
        "",
    ]
    for line in document.lines:
        quantity = f"{line.quantity:,} {line.unit}" + (f" × {_usd(line.unit_price_micro_usd)}" if _priced(line) else "")
        rows.append(f"{line.text[:30]:<30} {quantity:>31} {_usd(line.amount_micro_usd):>15}")
    rows += ["-" * 78, f"{'total ' + document.currency:<30} {'':>31} {_usd(document.total_micro_usd):>15}"]
    if document.quality:
        rows += ["", "quality of what was delivered"]
        rows += [
            f"  at least {band.at_least_ppm / 10_000:5.1f} %  {band.readings:>12,} readings"
            for band in document.quality
        ]
    rows += [""] if document.notes or document.selection_sha256 else []
    rows += [*document.notes]
    rows += [f"selection sha-256  {document.selection_sha256}"] if document.selection_sha256 else []
    rows += [f"data sha-256       {document.data_sha256}"] if document.data_sha256 else []
    return "\n".join(rows) + "\n"


def as_html(document: Invoice) -> str:
    """Return a document as one self-contained HTML page without scripts; every text is escaped."""

    def cells(tag: str, *values: Any) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(str(value))}</{tag}>" for value in values) + "</tr>"

    lines = "".join(
        cells(
            "td",
            line.text,
            f"{line.quantity:,} {line.unit}",
            _usd(line.unit_price_micro_usd) if _priced(line) else "",
            _usd(line.amount_micro_usd),
        )
        for line in document.lines
    )
    quality = "".join(cells("td", f"≥ {b.at_least_ppm / 10_000:.1f} %", f"{b.readings:,}") for b in document.quality)
    title = f"{_title(document)} {document.id}"
    facts = (
        ("issued", document.issued),
        ("to", f"{document.customer_name} ({document.customer_id})"),
        ("order", document.order_id),
        ("selection SHA-256", document.selection_sha256),
        ("data SHA-256", document.data_sha256),
        *(("note", note) for note in document.notes),
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>'
        "body{font:15px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem}"
        "table{border-collapse:collapse;width:100%;margin:1rem 0}td,th{padding:.3rem .5rem;text-align:left;"
        "border-bottom:1px solid #ddd}td:not(:first-child),th:not(:first-child){text-align:right}"
        "dt{color:#666}dd{margin:0 0 .4rem;overflow-wrap:anywhere}</style></head><body>"
        f"<h1>{escape(title)}</h1><p>{escape(document.network_name)} ({escape(document.network_id)})</p><dl>"
        + "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts if text)
        + f"</dl><table>{cells('th', 'item', 'quantity', 'price', 'amount')}{lines}"
        + cells("th", f"total {document.currency}", "", "", _usd(document.total_micro_usd))
        + "</table>"
        + (f"<h2>Quality</h2><table>{cells('th', 'quality', 'readings')}{quality}</table>" if quality else "")
        + "</body></html>\n"
    )


def _title(document: Invoice) -> str:
    return "Invoice" if document.kind == "invoice" else "Credit note"


def _priced(line: InvoiceLine) -> bool:
    return line.unit_price_micro_usd is not None


def _usd(amount_micro_usd: int | None) -> str:
    return format_usd(amount_micro_usd or 0)
