"""The market on HTTP: `router(market)` for a FastAPI application, under `/v1/market`.

Every refusal is `{code, detail, remedy}` with the status of its reason; a bug answers 500 INTERNAL without a traceback.
Handlers are plain functions, so FastAPI runs them in its thread pool and a slow query does not hold up the intake.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

from fieldstone.errors import Rejected, Retryable, UsageError
from fieldstone.market import query as queries
from fieldstone.market.customers import KeyHolder
from fieldstone.market.delivery import DataFormat
from fieldstone.market.fund_parts import Fund
from fieldstone.market.http_models import (
    AccountOut,
    ChargeOut,
    ErrorOut,
    FundIn,
    FundOut,
    FundsOut,
    InvoiceOut,
    OrderIn,
    OrderOut,
    OrdersOut,
    PayerIn,
    ProductsOut,
    QuoteIn,
    QuoteOut,
    UsageOut,
)
from fieldstone.market.invoice_pages import as_html, as_text
from fieldstone.market.market import Market
from fieldstone.market.orders import Order
from fieldstone.market.quotes import Quote
from fieldstone.reasons import reason

MAX_BODY_BYTES = 65_536  # a thousand cells take 20 kB

_log = logging.getLogger("fieldstone.market")
_Id = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


def problem(error: Exception) -> JSONResponse:
    """Return the answer to an exception: the reason's status for a rejection, 503 to try again, 500 for a bug."""
    if isinstance(error, Rejected):
        detail = error.detail or error.reason.meaning
        headers = {"WWW-Authenticate": "Bearer"} if error.reason.http_status == 401 else None
        body = {"code": error.reason.code, "detail": detail, "remedy": error.reason.remedy}
        return JSONResponse(body, error.reason.http_status, headers)
    if isinstance(error, RequestValidationError):
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:5])
        return problem(Rejected(reason("BAD_QUERY"), detail=_printable(faults)))
    if isinstance(error, HTTPException) and error.status_code < 500:
        # the framework's own refusal of a body that is not text or is nested too deeply
        return problem(Rejected(reason("BAD_QUERY"), detail=_printable(str(error.detail))))
    if isinstance(error, UsageError):
        return problem(Rejected(reason("BAD_QUERY"), detail=_printable(str(error))))
    if isinstance(error, Retryable):
        body = {"code": "UNAVAILABLE", "detail": _printable(str(error)), "remedy": "Send the same request again."}
        return JSONResponse(body, 503, {"Retry-After": "2"})
    _log.error("market request failed", exc_info=error)
    detail = "The network could not answer because of a fault of its own."
    remedy = "Try again; if it stays, tell the network's founder the time of this answer."
    return JSONResponse({"code": "INTERNAL", "detail": detail, "remedy": remedy}, 500)


class _Route(APIRoute):
    """Answers every exception with `problem` and refuses bodies that no request needs."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                await _read_body(request)
                return await handle(request)
            except Exception as error:
                return problem(error)

        return guarded


async def _read_body(request: Request) -> None:
    """Read the body up to the limit; Starlette hands the same bytes to the handler."""
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > MAX_BODY_BYTES:
            raise Rejected(reason("TOO_LARGE"), detail=f"more than {MAX_BODY_BYTES} bytes")
        pieces.append(piece)
    request._body = b"".join(pieces)


_bearer = HTTPBearer(auto_error=False, description="An API key: `fsk_…`")


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    meanings = {
        401: "The API key is missing, unknown or revoked.",
        402: "Not enough credits, or the key's spending limit is reached.",
        404: "No such product, quote, order or invoice of this customer.",
        409: "The quote expired, or the Idempotency-Key belongs to another quote.",
        410: "The data is no longer kept for download.",
        413: "The body is too large.",
        422: "The request is malformed or asks for something impossible.",
        500: "A fault of the network.",
        503: "Try again in a moment.",
    }
    return {status: {"model": ErrorOut, "description": meanings[status]} for status in (*statuses, 413, 422, 500, 503)}


def router(market: Market) -> APIRouter:
    """Return the market's routes."""
    routes = APIRouter(prefix="/v1/market", tags=["market"], route_class=_Route)

    def caller(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> KeyHolder:
        if credentials is None:
            raise Rejected(reason("BAD_API_KEY"), detail="Send `Authorization: Bearer fsk_…`.")
        return market.authenticate(credentials.credentials)

    def show(order: Order, documents: list[str]) -> OrderOut:
        return OrderOut(
            id=order.id,
            quote_id=order.quote_id,
            status=order.status,
            price_micro_usd=order.price_micro_usd,
            refund_micro_usd=order.refund_micro_usd,
            quoted_readings=order.quoted_readings,
            delivered_readings=order.delivered_readings,
            created_ms=order.created_ms,
            delivered_ms=order.delivered_ms,
            downloadable_until_ms=market.downloadable_until_ms(order),
            data_sha256=order.data_sha256,
            invoices=documents,
            provenance=order.provenance,
        )

    @routes.get("/products", responses=_errors())
    def products() -> ProductsOut:
        """List what is on offer. Needs no key."""
        return ProductsOut.model_validate(
            {
                "currency": "USD",
                "quote_valid_s": market.quote_valid_s,
                "products": [
                    {
                        "service": offer.service,
                        "product": offer.product.name,
                        "title": offer.product.title,
                        "description": offer.product.description,
                        "unit": offer.product.unit,
                        "unit_price_micro_usd": offer.unit_price_micro_usd,
                        "usage_per_unit": offer.product.usage_per_unit,
                        "min_quality_ppm": offer.min_quality_ppm,
                        "variables": [
                            {"name": column.name, "unit": column.unit, "description": column.description}
                            for column in offer.columns
                        ],
                        "formats": [form.value for form in DataFormat],
                    }
                    for offer in market.products()
                ],
            }
        )

    @routes.post("/quotes", status_code=201, responses=_errors(401, 404))
    def make_quote(wanted: QuoteIn, holder: KeyHolder = Depends(caller)) -> QuoteOut:
        """Price an exact selection. Costs nothing and binds the network until `valid_until_ms`."""
        edges = wanted.box
        box = None if edges is None else queries.Box(edges.south, edges.west, edges.north, edges.east)
        asked = queries.Query(
            service=wanted.service,
            product=wanted.product,
            start_ms=wanted.start_ms,
            end_ms=wanted.end_ms,
            variables=tuple(wanted.variables),
            cells=tuple(wanted.cells),
            box=box,
            min_quality_ppm=wanted.min_quality_ppm,
        )
        return _quote_out(market.quote(holder, asked))

    @routes.post("/orders", status_code=201, responses=_errors(401, 402, 404, 409))
    def place_order(
        wanted: OrderIn,
        idempotency_key: Annotated[str | None, Header(alias="Idempotency-Key", max_length=128)] = None,
        holder: KeyHolder = Depends(caller),
    ) -> OrderOut | FundOut:
        """Buy a quote with credits; one for paying once becomes a fund. Repeating it returns the same order; 503 means
        paid, repeat to carry on."""
        if market.is_once(wanted.quote_id):
            return _fund_out(market.order_once(holder, wanted.quote_id, idempotency_key))
        order = market.order(holder, wanted.quote_id, idempotency_key)
        return show(order, market.invoice_ids(holder, order.id))

    @routes.post("/funds", status_code=201, responses=_errors(401, 404))
    def quote_fund(wanted: FundIn, holder: KeyHolder = Depends(caller)) -> FundOut:
        """Price paying once. Costs nothing and binds the network until `valid_until_ms`; buy it as an order."""
        made = market.quote_once(holder, wanted.service, wanted.product, wanted.payer, wanted.wish)
        return _fund_out(made)

    @routes.get("/funds", responses=_errors(401))
    def list_funds(holder: KeyHolder = Depends(caller)) -> FundsOut:
        """List what the caller paid once, with what became of it."""
        return FundsOut(funds=[_fund_out(one) for one in market.funds.of_customer(holder.customer_id)])

    @routes.get("/funds/{fund_id}", responses=_errors(401, 404))
    def show_fund(fund_id: _Id, holder: KeyHolder = Depends(caller)) -> FundOut:
        """Show a quote for paying once, or the fund that it bought."""
        return _fund_out(market.funds.get(holder, fund_id))

    @routes.get("/orders", responses=_errors(401))
    def list_orders(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100, holder: KeyHolder = Depends(caller)
    ) -> OrdersOut:
        """List the newest orders of the caller."""
        return OrdersOut(
            orders=[show(order, market.invoice_ids(holder, order.id)) for order in market.orders(holder, limit)]
        )

    @routes.get("/orders/{order_id}", responses=_errors(401, 404))
    def show_order(order_id: _Id, holder: KeyHolder = Depends(caller)) -> OrderOut:
        """Show an order; `provenance` names the sealed epochs, roots and hashes to check its data against."""
        return show(market.order_status(holder, order_id), market.invoice_ids(holder, order_id))

    @routes.get(
        "/orders/{order_id}/data",
        response_class=Response,
        responses={
            **_errors(401, 404, 410),
            200: {
                "description": "The data, as often as wanted until `downloadable_until_ms`.",
                "content": {form.media_type.partition(";")[0]: {} for form in DataFormat},
            },
        },
    )
    def download(
        order_id: _Id,
        form: Annotated[DataFormat, Query(alias="format")] = DataFormat.PARQUET,
        holder: KeyHolder = Depends(caller),
    ) -> Response:
        """Download what was bought."""
        headers = {
            "Content-Disposition": f'attachment; filename="{order_id}.{form.value}"',
            "Link": f'</v1/market/orders/{order_id}>; rel="describedby"',
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "private, no-store",
        }
        if form is DataFormat.PARQUET:
            path = market.data_path(holder, order_id)
            return FileResponse(path, media_type=form.media_type, headers=headers)
        body = market.data(holder, order_id, form)
        return StreamingResponse(body, media_type=form.media_type, headers=headers)

    @routes.get(
        "/invoices/{invoice_id}",
        response_model=InvoiceOut,
        responses={
            **_errors(401, 404),
            200: {"content": {"text/plain": {}, "text/html": {}}, "description": "An invoice or a credit note."},
        },
    )
    def show_invoice(
        invoice_id: _Id,
        form: Annotated[str, Query(alias="format", pattern="^(json|text|html)$")] = "json",
        holder: KeyHolder = Depends(caller),
    ) -> Response:
        """Show an invoice or a credit note as JSON, text or HTML."""
        document = market.invoice(holder, invoice_id)
        if form == "text":
            return PlainTextResponse(as_text(document))
        if form == "html":
            return HTMLResponse(as_html(document), headers={"Content-Security-Policy": _INVOICE_POLICY})
        return JSONResponse(msgspec.to_builtins(document))

    @routes.put("/payers", responses=_errors(401))
    def pay_for(wanted: PayerIn, holder: KeyHolder = Depends(caller)) -> UsageOut:
        """Pay for what a device of the caller (a storage gateway) uses, from the caller's credits."""
        market.usage.bind(holder.customer_id, wanted.device, bytes.fromhex(wanted.signature))
        return show_usage(100, holder)

    @routes.get("/usage", responses=_errors(401))
    def show_usage(limit: Annotated[int, Query(ge=1, le=1000)] = 100, holder: KeyHolder = Depends(caller)) -> UsageOut:
        """Show the devices that the caller pays for, and the newest charges for what they used."""
        charges = [
            ChargeOut(
                id=charge.id,
                payer=charge.payer,
                service=charge.service,
                product=charge.product,
                epoch=charge.epoch,
                units=charge.units,
                due_micro_usd=charge.due_micro_usd,
                paid_micro_usd=charge.paid_micro_usd,
                from_funds_micro_usd=charge.from_funds_micro_usd,
            )
            for charge in market.usage.charges(holder.customer_id, limit)
        ]
        return UsageOut(payers=market.usage.payers(holder.customer_id), charges=charges)

    @routes.get("/account", responses=_errors(401))
    def show_account(holder: KeyHolder = Depends(caller)) -> AccountOut:
        """Show the caller's credits and what its key may still spend."""
        return AccountOut.model_validate(msgspec.to_builtins(market.account(holder)))

    return routes


_INVOICE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


def _fund_out(one: Fund) -> FundOut:
    names = set(FundOut.model_fields) - {"balance_micro_usd"}
    fields = {name: getattr(one, name) for name in names}
    fields["also"] = msgspec.to_builtins(dict(one.also))
    fields["terms"], fields["review"] = dict(one.terms), None if one.review is None else dict(one.review)
    return FundOut.model_validate({**fields, "balance_micro_usd": one.balance_micro_usd})


def _quote_out(made: Quote) -> QuoteOut:
    body = made.body
    return QuoteOut.model_validate(
        {
            "id": made.id,
            "service": body.query.service,
            "product": body.query.product,
            "variables": list(body.query.variables),
            "min_quality_ppm": body.query.min_quality_ppm,
            "readings": body.readings,
            "rows": body.rows,
            "devices": body.devices,
            "by_variable": body.by_variable,
            "by_quality": [
                {"at_least_ppm": lower, "readings": readings}
                for lower, readings in sorted(body.by_quality.items(), reverse=True)
            ],
            "unit_price_micro_usd": body.unit_price_micro_usd,
            "price_micro_usd": made.price_micro_usd,
            "valid_until_ms": made.valid_until_ms,
            "selection_sha256": body.selection_sha256,
            "epochs": [msgspec.to_builtins(part) for part in body.parts],
            "excluded": {str(epoch): why for epoch, why in body.excluded.items()},
        }
    )


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:400]
