"""The market's door: right status codes, named reasons, no traceback, one's own orders only."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from fieldstone.errors import Terminal
from fieldstone.market import market as market_module
from fieldstone.market import router
from fieldstone.market.http import MAX_BODY_BYTES
from fieldstone.reasons import REASONS
from tests.market.world import ALL_READINGS, START_MS, World

ASK: dict[str, Any] = {"start_ms": 0, "end_ms": START_MS * 2}


@pytest.fixture
def client(world: World) -> Iterator[TestClient]:
    app = FastAPI()
    app.include_router(router(world.market))
    with TestClient(app, raise_server_exceptions=False, headers={"Authorization": f"Bearer {world.key}"}) as client:
        yield client


def refused(response: Any, status: int, code: str) -> dict[str, str]:
    assert response.status_code == status, response.text
    body: dict[str, str] = response.json()
    assert set(body) == {"code", "detail", "remedy"}
    assert body["code"] == code
    assert code in REASONS or code == "INTERNAL"
    assert "Traceback" not in response.text
    assert body["detail"]
    assert body["remedy"]
    return body


def test_the_whole_way_from_catalogue_to_invoice(client: TestClient, world: World) -> None:
    (product,) = client.get("/v1/market/products", headers={"Authorization": ""}).json()["products"]
    assert (product["product"], product["unit_price_micro_usd"], product["min_quality_ppm"]) == (
        "observations",
        20,
        500_000,
    )
    quote = client.post("/v1/market/quotes", json={**ASK, "variables": ["temperature_c"]})
    assert quote.status_code == 201
    assert (quote.json()["readings"], quote.json()["price_micro_usd"]) == (10, 200)
    order = client.post("/v1/market/orders", json={"quote_id": quote.json()["id"]}, headers={"Idempotency-Key": "k"})
    assert order.status_code == 201
    assert order.json()["status"] == "delivered"
    assert client.get(f"/v1/market/orders/{order.json()['id']}").json() == order.json()
    assert client.get("/v1/market/orders").json()["orders"] == [order.json()]
    data = client.get(f"/v1/market/orders/{order.json()['id']}/data")
    assert data.headers["content-type"] == "application/vnd.apache.parquet"
    assert pl.read_parquet(io.BytesIO(data.content)).height == 10
    csv = client.get(f"/v1/market/orders/{order.json()['id']}/data?format=csv")
    assert csv.headers["content-type"] == "text/csv; charset=utf-8"
    assert csv.headers["content-disposition"].endswith('.csv"')
    assert len(csv.text.splitlines()) == 11
    body = client.get(f"/v1/market/orders/{order.json()['id']}/data?format=json").json()
    assert body["header"] == order.json()["provenance"]
    (document,) = order.json()["invoices"]
    assert client.get(f"/v1/market/invoices/{document}").json()["total_micro_usd"] == 200
    assert "total USD" in client.get(f"/v1/market/invoices/{document}?format=text").text
    page = client.get(f"/v1/market/invoices/{document}?format=html")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert client.get("/v1/market/account").json()["credits_micro_usd"] == 1_000_000 - 200
    world.healthy()


@pytest.mark.parametrize(
    "key", ["", "Bearer", "Bearer ", "Basic abc", "Bearer fsk_x", "Bearer fsk_\xe9", "bearer fsk_000000000000_x"]
)
def test_without_a_key_nothing_but_the_catalogue(client: TestClient, key: str) -> None:
    for method, path in (("GET", "account"), ("GET", "orders"), ("GET", "orders/x"), ("GET", "orders/x/data")):
        response = client.request(method, f"/v1/market/{path}", headers={"Authorization": key.encode("latin-1")})
        refused(response, 401, "BAD_API_KEY")
        assert response.headers["www-authenticate"] == "Bearer"
    refused(
        client.post("/v1/market/quotes", json=ASK, headers={"Authorization": key.encode("latin-1")}), 401, "BAD_API_KEY"
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"start_ms":0}',
        b'{"start_ms":0,"end_ms":1e308}',
        b'{"start_ms":0,"end_ms":99999999999999999999999}',
        b'{"start_ms":"0","end_ms":10}',
        b'{"start_ms":true,"end_ms":10}',
        b'{"start_ms":0,"end_ms":10,"unknown":1}',
        b'{"start_ms":0,"end_ms":10,"box":{"south":NaN,"west":0,"north":0,"east":0}}',
        b'{"start_ms":0,"end_ms":10,"box":{"south":-Infinity,"west":0,"north":0,"east":0}}',
        b'{"start_ms":0,"end_ms":10,"box":{"south":5,"west":0,"north":0,"east":0}}',
        b'{"start_ms":0,"end_ms":10,"cells":["=1+1"]}',
        b'{"start_ms":0,"end_ms":10,"variables":["\\u0000\\ud800"]}',
        b'{"start_ms":10,"end_ms":10}',
        b"\xff\xfe\x00",
        b"[" * 20_000,
    ],
)
def test_a_malformed_question_is_named(client: TestClient, body: bytes) -> None:
    refused(
        client.post("/v1/market/quotes", content=body, headers={"Content-Type": "application/json"}), 422, "BAD_QUERY"
    )


def test_an_unknown_product_or_path_part_is_named(client: TestClient) -> None:
    refused(client.post("/v1/market/quotes", json={**ASK, "product": "gold"}), 404, "UNKNOWN_PRODUCT")
    refused(client.post("/v1/market/quotes", json={**ASK, "service": "../../etc"}), 404, "UNKNOWN_PRODUCT")
    refused(client.post("/v1/market/orders", json={"quote_id": "quo_none"}), 404, "UNKNOWN_PRODUCT")
    refused(client.get("/v1/market/orders/ord_none/data"), 404, "UNKNOWN_PRODUCT")
    refused(client.get("/v1/market/invoices/INV-1"), 404, "UNKNOWN_PRODUCT")
    refused(client.get("/v1/market/orders/..%5C..%5Cx/data"), 422, "BAD_QUERY")
    refused(client.get("/v1/market/orders/ord_none/data?format=xlsx"), 422, "BAD_QUERY")


async def test_an_endless_body_is_not_read(client: TestClient, world: World) -> None:
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/market/quotes",
        "raw_path": b"/v1/market/quotes",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"authorization", f"Bearer {world.key}".encode()), (b"content-type", b"application/json")],
        "server": ("test", 80),
        "client": ("test", 1),
    }
    pieces, sent = 0, []

    async def receive() -> dict[str, Any]:
        nonlocal pieces
        pieces += 1
        return {"type": "http.request", "body": b" " * 1024, "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await client.app(scope, receive, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 413
    assert pieces <= MAX_BODY_BYTES // 1024 + 2


def test_a_giant_body_is_refused(client: TestClient) -> None:
    refused(client.post("/v1/market/orders", content=b" " * (MAX_BODY_BYTES + 1)), 413, "TOO_LARGE")


def test_money_troubles_have_their_codes(client: TestClient, world: World) -> None:
    first, second = (client.post("/v1/market/quotes", json=ASK).json() for _ in range(2))
    client.post("/v1/market/orders", json={"quote_id": first["id"]}, headers={"Idempotency-Key": "k"})
    conflict = client.post("/v1/market/orders", json={"quote_id": second["id"]}, headers={"Idempotency-Key": "k"})
    refused(conflict, 409, "IDEMPOTENCY_CONFLICT")
    limited = world.market.customers.add_key(world.customer, limit_micro_usd=1).secret
    headers = {"Authorization": f"Bearer {limited}"}
    refused(client.post("/v1/market/orders", json={"quote_id": second["id"]}, headers=headers), 402, "SPENDING_LIMIT")
    world.clock.set(second["valid_until_ms"] + 1)
    refused(client.post("/v1/market/orders", json={"quote_id": second["id"]}), 409, "QUOTE_EXPIRED")
    (order,) = client.get("/v1/market/orders").json()["orders"]
    world.clock.set(order["downloadable_until_ms"])
    refused(client.get(f"/v1/market/orders/{order['id']}/data"), 410, "DOWNLOAD_EXPIRED")


def test_no_credits(client: TestClient, world: World) -> None:
    poor = world.market.customers.add_key(world.market.customers.add("Poor").id).secret
    headers = {"Authorization": f"Bearer {poor}"}
    quote = client.post("/v1/market/quotes", json=ASK, headers=headers).json()
    refused(client.post("/v1/market/orders", json={"quote_id": quote["id"]}, headers=headers), 402, "NO_CREDITS")


def test_a_journal_that_refuses_is_503_and_the_same_request_carries_on(client: TestClient, world: World) -> None:
    quote = client.post("/v1/market/quotes", json=ASK).json()
    flaky = world.flaky()
    flaky.fail = "after"
    response = client.post("/v1/market/orders", json={"quote_id": quote["id"]})
    refused(response, 503, "UNAVAILABLE")
    assert response.headers["retry-after"] == "2"
    (held,) = client.get("/v1/market/orders").json()["orders"]
    assert held["status"] == "held"
    refused(client.get(f"/v1/market/orders/{held['id']}/data"), 503, "UNAVAILABLE")
    flaky.fail = ""
    done = client.post("/v1/market/orders", json={"quote_id": quote["id"]})
    assert (done.json()["id"], done.json()["status"]) == (held["id"], "delivered")
    world.healthy()


@pytest.mark.parametrize("fault", [Terminal("a secret path /srv/x"), ZeroDivisionError("boom"), RecursionError()])
def test_a_bug_is_500_without_a_word_about_the_inside(
    client: TestClient, world: World, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object) -> None:
        raise fault

    monkeypatch.setattr(market_module, "select", break_down)
    body = refused(client.post("/v1/market/quotes", json=ASK), 500, "INTERNAL")
    assert "secret" not in json.dumps(body)
    assert "boom" not in json.dumps(body)


def test_too_many_large_queries_wait_and_then_are_asked_to_come_back(
    client: TestClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(market_module, "WAIT_S", 0.01)
    for _ in range(market_module.CONCURRENT_READS):
        world.market._reads.acquire()
    refused(client.post("/v1/market/quotes", json=ASK), 503, "UNAVAILABLE")
    world.market._reads.release()
    assert client.post("/v1/market/quotes", json=ASK).json()["readings"] == ALL_READINGS


def test_fuzzed_requests_keep_to_the_document(world: World) -> None:
    """Every answer is one that the OpenAPI document names, whatever is sent."""
    app = FastAPI()
    app.include_router(router(world.market))
    tried = []
    for operation in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations():

        @settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(case=operation.ok().as_strategy())
        def check(case: Any) -> None:
            # JSON Schema cannot say that start_ms < end_ms, so a body that fits it may still be refused.
            case.call_and_validate(
                headers={"Authorization": f"Bearer {world.key}"}, excluded_checks=[positive_data_acceptance]
            )

        check()
        tried.append(operation.ok().label)
    assert len(tried) == 13
