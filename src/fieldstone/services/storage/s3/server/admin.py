"""Health and metrics, on a port of their own: nobody reaches them through the S3 door, and no bucket name is taken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fieldstone.errors import FieldstoneError
from fieldstone.services.storage.catalog.accounts import GENERATIONS
from fieldstone.services.storage.s3.server.gateway import Gateway


class AdminApp:
    """`GET /healthz`: 200 when the database answers, else 503. `GET /metrics`: Prometheus text."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        status, kind, body = 404, b"application/json", b'{"error": "no such page"}'
        if scope["path"] == "/healthz":
            status, body = await self._health()
        elif scope["path"] == "/metrics":
            status, kind, body = 200, b"text/plain; version=0.0.4", self._gateway.metrics.render()
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _health(self) -> tuple[int, bytes]:
        try:
            await self._gateway.store.first(GENERATIONS)
        except FieldstoneError as error:
            return 503, json.dumps({"status": "unavailable", "why": str(error)}).encode()
        return 200, b'{"status": "ok"}'
