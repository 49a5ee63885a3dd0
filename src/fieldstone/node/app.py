"""One ASGI application in front of a node. The hot route is plain Starlette; everything else is FastAPI (OpenAPI)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette

from fieldstone import __version__
from fieldstone.chain.embedded import EmbeddedChain
from fieldstone.chain.jsonrpc import JsonRpcApp
from fieldstone.console import explorer
from fieldstone.intake.http import routes as intake_routes
from fieldstone.intake.pipeline import Intake
from fieldstone.market.http import router as market_router
from fieldstone.node import admin_api, epochs_api, network_api, problems
from fieldstone.node.metrics import NodeMetrics
from fieldstone.node.node import Node
from fieldstone.node.rounds import Rounds
from fieldstone.units import DAY_MS

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Pages run no script at all, so nothing that a stranger put into a name can run either.
_PAGE_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


def build(node: Node, intake: Intake, rounds: Rounds) -> App:
    """Return the application. Device doors first, then the chain's JSON-RPC port, then everything else."""
    doors = Starlette(routes=intake_routes(intake))
    rest = _api(node, intake, rounds)
    rpc = JsonRpcApp(node.port) if isinstance(node.port, EmbeddedChain) else None

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if path == "/v1/reports" or path == "/v1/registry" or path.startswith("/v1/receipts/"):
            await doors(scope, receive, send)
        elif path == "/rpc" and rpc is not None:
            await rpc(scope, receive, send)
        else:
            await rest(scope, receive, _with_headers(send))

    return app


def _api(node: Node, intake: Intake, rounds: Rounds) -> FastAPI:
    api = FastAPI(
        title=node.config.node.name,
        version=__version__,
        description="Sealed epochs, devices, claims and the market of a Fieldstone network.",
        docs_url=None,
        redoc_url=None,
    )
    problems.install(api)
    api.include_router(network_api.router(node, lambda: intake.registry, lambda: _problems(node, intake), rounds))
    api.include_router(epochs_api.router(node.desk))
    api.include_router(market_router(node.market))
    api.include_router(admin_api.router(node))
    api.include_router(
        explorer.router(
            node.store,
            node.desk,
            node.config.node.name,
            node.policy.network_id,
            lambda: {"open_entries": node.open_entries(), "rejected_today": _refused_today(node)},
            api.openapi,
        )
    )
    intake.metrics.registry.register(NodeMetrics(node))

    @api.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(generate_latest(intake.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    api.mount("/static", explorer.static_files())
    return api


def _refused_today(node: Node) -> int:
    now_ms = node.clock.now_ms()
    return sum(row.count for row in node.journal.rejections(now_ms - DAY_MS, now_ms + 1))


def _problems(node: Node, intake: Intake) -> dict[str, str]:
    """Name what keeps the node from taking reports or closing epochs."""
    wrong = {}
    if not node.journal.healthy:
        wrong["journal"] = node.journal.failure or "not writable"
    elif not intake.ready:
        wrong["intake"] = "the queue is full"
    overdue_ms = node.clock.now_ms() - node.state.next_end_ms
    if overdue_ms > max(60_000, node.policy.epoch.length_s * 1000):
        wrong["epoch"] = f"epoch {node.state.epoch + 1} should have been closed {overdue_ms // 1000} s ago"
    return wrong


def _with_headers(send: Send) -> Send:
    async def wrapped(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *_PAGE_HEADERS]
        await send(message)

    return wrapped
