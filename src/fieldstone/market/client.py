"""Buy from a node over HTTP: what the command line does, as plain calls.

>>> shop = MarketClient("http://127.0.0.1:8080", key)                                             # doctest: +SKIP
>>> quote = shop.quote(start_ms=0, end_ms=now_ms, variables=["temperature_c"])                    # doctest: +SKIP
>>> shop.download(shop.buy(quote["id"])["id"], Path("data.parquet"), "parquet")                   # doctest: +SKIP
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from fieldstone.errors import CheckFailed, EnvironmentProblem, Rejected, Retryable, UsageError
from fieldstone.reasons import REASONS, Reason

TIMEOUT_S = 120.0
PATIENCE_S = 30.0


class MarketClient:
    """A customer's side of the market. `key` may be empty for the catalogue."""

    def __init__(self, url: str, key: str = "", *, transport: httpx.BaseTransport | None = None) -> None:
        """Raises UsageError for an address that is none."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"{url!r} is not the address of a node; it starts with http:// or https://")
        if not key.isascii():
            raise UsageError("the API key holds letters that no key has")
        self.url = url.rstrip("/")
        try:
            self._client = httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT_S, transport=transport)
        except httpx.InvalidURL as error:
            raise UsageError(f"{url!r} is not the address of a node: {error}") from None

    def __enter__(self) -> MarketClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def products(self) -> list[dict[str, Any]]:
        """Return what is on offer. Raises as every call here: Rejected by its reason, Retryable, EnvironmentProblem."""
        found: list[dict[str, Any]] = self._call("GET", "/products")["products"]
        return found

    def quote(self, **question: Any) -> dict[str, Any]:
        """Return a quote; the fields are those of `POST /v1/market/quotes`."""
        return self._call("POST", "/quotes", json=question)

    def buy(self, quote_id: str, idempotency_key: str | None = None) -> dict[str, Any]:
        """Return the delivered order of a quote; asks again while the network needs a moment, which buys nothing twice."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else None
        end_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self._call("POST", "/orders", json={"quote_id": quote_id}, headers=headers)
            except Retryable:
                if time.monotonic() > end_s:
                    raise
                time.sleep(1.0)

    def quote_once(self, payer: str, wish: dict[str, int | None], **question: Any) -> dict[str, Any]:
        """Return a quote for paying once; the fields are those of `POST /v1/market/funds`. Buy it with `buy`."""
        return self._call("POST", "/funds", json={"payer": payer, "wish": wish, **question})

    def funds(self) -> list[dict[str, Any]]:
        """Return what was paid once, oldest first, each with its review."""
        found: list[dict[str, Any]] = self._call("GET", "/funds")["funds"]
        return found

    def order(self, order_id: str) -> dict[str, Any]:
        """Return an order with its provenance."""
        return self._call("GET", f"/orders/{order_id}")

    def orders(self, limit: int = 100) -> list[dict[str, Any]]:
        """Return the newest orders, newest first."""
        found: list[dict[str, Any]] = self._call("GET", "/orders", params={"limit": limit})["orders"]
        return found

    def account(self) -> dict[str, Any]:
        """Return the account behind the key."""
        return self._call("GET", "/account")

    def pay_for(self, device: str, signature: bytes) -> dict[str, Any]:
        """Pay for what a device uses; its signature is over `usage.binding_text`. Returns what `usage` does."""
        return self._call("PUT", "/payers", json={"device": device, "signature": signature.hex()})

    def usage(self, limit: int = 100) -> dict[str, Any]:
        """Return the devices that the account pays for and the newest charges: {payers, charges}."""
        return self._call("GET", "/usage", params={"limit": limit})

    def invoice(self, invoice_id: str, form: str = "json") -> str:
        """Return an invoice as `json`, `text` or `html`."""
        return self._send("GET", f"/invoices/{invoice_id}", params={"format": form}).text

    def download(self, order_id: str, target: Path, form: str) -> int:
        """Write an order's data to `target` and return its size in bytes; a broken transfer leaves no file behind."""
        partial = target.with_name(target.name + ".partial")
        try:
            with self._client.stream("GET", f"/v1/market/orders/{order_id}/data", params={"format": form}) as answer:
                if answer.status_code != 200:
                    answer.read()
                    raise _refusal(answer, self.url)
                size = 0
                with partial.open("wb") as file:
                    for block in answer.iter_bytes():
                        size += file.write(block)
            os.replace(partial, target)
        except httpx.HTTPError as error:
            raise Retryable(f"{self.url}: the download broke off ({error}); downloading again is free") from error
        except OSError as error:
            raise EnvironmentProblem(f"{target} cannot be written: {error.strerror}") from error
        finally:
            partial.unlink(missing_ok=True)
        return size

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer = self._send(method, path, **options)
        try:
            body = answer.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise CheckFailed(f"{self.url} did not answer like a Fieldstone node; check the address")
        return body

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._client.request(method, f"/v1/market{path}", **options)
        except httpx.HTTPError as error:
            raise Retryable(f"{self.url} does not answer ({error}); is the node up?") from error
        if answer.is_success:
            return answer
        raise _refusal(answer, self.url)


def _refusal(answer: httpx.Response, url: str) -> Exception:
    try:
        body = answer.json()
        code, detail, remedy = str(body["code"]), str(body["detail"]), str(body["remedy"])
    except (ValueError, KeyError, TypeError):
        return CheckFailed(f"{url} answered {answer.status_code}, and not like a Fieldstone node; check the address")
    if answer.status_code >= 500:
        return Retryable(f"{url}: {detail} {remedy}")
    return Rejected(REASONS.get(code, Reason(code, answer.status_code, detail, remedy)), "", detail)
