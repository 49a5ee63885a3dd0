"""The explorer: plain pages over sealed epochs. Read only, no scripts, everything escaped, works offline.

Every page has a JSON twin under /v1, linked at its foot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from fieldstone.console.facts import EpochFacts, device_history, device_rows, epoch_facts, operators_of, verdict_word
from fieldstone.console.funds import fund_history, fund_rows, has_funds
from fieldstone.epoch.settle import Desk
from fieldstone.epoch.store import EpochStore
from fieldstone.errors import UsageError
from fieldstone.rewards.explain import explain
from fieldstone.services import load_service
from fieldstone.units import format_token, format_usd

PAGE_ROWS = 100
_VERDICT_CLASS = {"accepted": "ok", "partial": "warn", "rejected": "bad"}
_STATE_CLASS = {"covers": "ok", "ending": "warn", "short": "bad", "empty": "bad"}


def static_files() -> StaticFiles:
    """Return the app that serves the explorer's style sheet."""
    return StaticFiles(directory=Path(str(resources.files("fieldstone.console") / "static")))


def router(
    store: EpochStore,
    desk: Desk,
    name: str,
    network_id: str,
    counts: Callable[[], Mapping[str, Any]],
    openapi: Callable[[], Mapping[str, Any]],
) -> APIRouter:
    """Return the explorer's pages. `counts` tells live facts that no epoch holds yet (open reports, rejections)
    and `openapi` the API's document, which the API page lists."""
    pages = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    templates = _environment(name, network_id)
    templates.globals["has_funds"] = lambda: has_funds(store)

    def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
        return HTMLResponse(templates.get_template(template).render(**values), status)

    def missing(sentence: str) -> HTMLResponse:
        return page("missing.html", 404, sentence=sentence)

    @pages.get("/")
    def overview() -> HTMLResponse:
        facts = [epoch_facts(store, n) for n in store.epochs()[-30:]]
        latest = facts[-1] if facts else None
        return page(
            "overview.html",
            facts=list(reversed(facts)),
            latest=latest,
            live_epoch=desk.chain.live_epoch(),
            counts=counts(),
            reasons=_reason_table(latest),
        )

    @pages.get("/devices")
    def devices(
        q: str = Query("", max_length=200), page_number: int = Query(1, alias="page", ge=1, le=10**6)
    ) -> HTMLResponse:
        rows = device_rows(store, q)
        first = (page_number - 1) * PAGE_ROWS
        return page(
            "devices.html",
            rows=rows[first : first + PAGE_ROWS].to_dicts(),
            total=rows.height,
            query=q,
            page_number=page_number,
            pages=max(1, -(-rows.height // PAGE_ROWS)),
        )

    @pages.get("/devices/{device}")
    def device(device: str, epoch: int | None = Query(None, ge=1, le=2**53)) -> HTMLResponse:
        if not store.latest:
            return missing("No epoch is sealed yet.")
        number = epoch or store.latest
        if number not in store.epochs():
            return missing(f"Epoch {number} is not sealed; the latest is {store.latest}.")
        sealed = store.sealed(number)
        here = pl.col("device") == device
        identity = sealed.table("state-registry").filter(here).to_dicts()
        if not identity:
            return missing(f"No device {device[:80]} is enrolled in epoch {number}.")
        statements = []
        for row in sealed.table("statements").filter(here).to_dicts():
            verdict = sealed.table("verdicts").filter(here & (pl.col("service") == row["service"])).to_dicts()
            statements.append((row, _lines(row, verdict[0] if verdict else None)))
        return page(
            "device.html",
            device=identity[0],
            number=number,
            statements=statements,
            history=device_history(store, device),
            epochs=store.epochs()[-50:],
        )

    @pages.get("/epochs")
    def epochs() -> HTMLResponse:
        return page(
            "epochs.html",
            facts=[epoch_facts(store, n) for n in reversed(store.epochs()[-200:])],
            live_epoch=desk.chain.live_epoch(),
        )

    @pages.get("/epochs/{number}")
    def epoch(number: int) -> HTMLResponse:
        if number not in store.epochs():
            return missing(f"Epoch {number} is not sealed; the latest is {store.latest}.")
        live = desk.chain.live_epoch()
        return page(
            "epoch.html",
            facts=epoch_facts(store, number),
            manifest=store.sealed(number).manifest,
            live=number <= live,
            signatures=desk.book.signatures(number, desk.attempt(number)),
            refusals=desk.book.refusals(number),
            threshold=desk.quorum()[1],
            operators=operators_of(store, number),
        )

    @pages.get("/funds")
    def funds(page_number: int = Query(1, alias="page", ge=1, le=10**6)) -> HTMLResponse:
        if not store.latest:
            return missing("No epoch is sealed yet.")
        rows = fund_rows(store, store.latest)
        first = (page_number - 1) * PAGE_ROWS
        return page(
            "funds.html",
            rows=rows[first : first + PAGE_ROWS],
            total=len(rows),
            locked_micro_usd=sum(one["balance_micro_usd"] for one in rows),
            paid_micro_usd=sum(one["drawn_now_micro_usd"] for one in rows),
            warned=sum(bool(one["review"] and one["review"]["warning"]) for one in rows),
            epoch=store.latest,
            page_number=page_number,
            pages=max(1, -(-len(rows) // PAGE_ROWS)),
            state_class=_STATE_CLASS,
        )

    @pages.get("/funds/{fund}")
    def fund(fund: str) -> HTMLResponse:
        rows = fund_rows(store, store.latest) if store.latest else []
        found = next((one for one in rows if one["fund"] == fund), None)
        if found is None:
            return missing(f"No fund {fund[:80]} is in the newest sealed epoch.")
        history = fund_history(store, fund)
        return page("fund.html", fund=found, history=history, epoch=store.latest, state_class=_STATE_CLASS)

    @pages.get("/api")
    def api() -> HTMLResponse:
        operations = [
            {
                "method": method.upper(),
                "path": path,
                "summary": operation.get("description") or operation.get("summary", ""),
            }
            for path, methods in openapi()["paths"].items()
            for method, operation in methods.items()
        ]
        return page("api.html", operations=operations)

    return pages


def _lines(statement: Mapping[str, Any], verdict: Mapping[str, Any] | None) -> list[Any]:
    try:
        service = load_service(statement["service"])
    except UsageError:
        return explain(statement, verdict)
    return explain(statement, verdict, reasons=service.reasons, quantity_unit=service.quantity_unit)


def _reason_table(facts: EpochFacts | None) -> list[dict[str, Any]]:
    """Return the reasons of an epoch with meaning and remedy, most frequent first."""
    if facts is None:
        return []
    known: dict[str, Any] = {}
    for service in facts.services:
        known.update(load_service(service).reasons)
    return [
        {
            "code": code,
            "devices": n,
            "meaning": getattr(known.get(code), "meaning", ""),
            "remedy": getattr(known.get(code), "remedy", ""),
        }
        for code, n in facts.reasons
    ]


def _day(moment_ms: int | None) -> str:
    if moment_ms is None:
        return "never"
    try:
        return datetime.fromtimestamp(moment_ms / 1000, UTC).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):
        return "after the year 9999"


def _verdict(row: Mapping[str, Any]) -> str:
    return verdict_word(row["verdict"], row["quality_ppm"])


def _environment(name: str, network_id: str) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fieldstone.console"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(
        token=lambda value: format_token(int(value)),
        usd=lambda value: format_usd(int(value)),
        percent=lambda ppm: f"{ppm / 10_000:.1f} %",
        when=lambda ms: datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        short=lambda text: text if len(text) <= 22 else f"{text[:8]}…{text[-10:]}",
        years=lambda years: "for ever" if years is None else f"{years:,.1f} years",
        day=_day,
        verdict=_verdict,
        verdict_class=lambda row: _VERDICT_CLASS.get(_verdict(row), ""),
        tail=lambda text: text if len(text) <= 14 else f"…{text[-12:]}",
    )
    environment.globals.update(network_name=name, network_id=network_id)
    return environment
