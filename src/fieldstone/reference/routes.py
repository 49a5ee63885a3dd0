"""`docs/reference/http.md`: the routes of a node, from the OpenAPI document that it serves."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fieldstone.intake import http as doors
from fieldstone.reference.markdown import code, docstring, head, table


def page() -> str:
    """Return the page."""
    document = openapi()
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for path, methods in document["paths"].items():
        for method, what in methods.items():
            tag = (what.get("tags") or ["other"])[0]
            groups.setdefault(tag, []).append((code(f"{method.upper()} {path}"), _sentence(what), _parameters(what)))
    parts = [
        head(
            "HTTP",
            "the OpenAPI document of a node",
            "`GET /openapi.json` is the machine-readable form, `/api` a page of it. Errors have one shape, "
            "`{code, detail, remedy}`; [codes](reasons.md). Times are Unix milliseconds, amounts of tokens decimal texts in base "
            "units (10⁻¹⁸), credits integers in micro-dollars.",
        ),
        "## Device doors\n\n"
        + docstring(doors)
        + "\nThe bytes are described in [report.md](report.md). Over MQTT the same messages are published to "
        "`<topic>/<device>`.\n",
    ]
    for tag, rows in groups.items():
        parts.append(f"## {tag.capitalize()}\n\n" + table(("route", "what", "parameters"), rows))
    parts.append(
        "## For machines\n\n"
        + table(
            ("route", "what"),
            (
                (code("GET /metrics"), "Prometheus figures of intake, journal and epochs"),
                (code("POST /rpc"), "JSON-RPC of the embedded chain, for wallets and `web3`"),
                (code("GET /openapi.json"), "this page for programs"),
            ),
        )
    )
    return "\n".join(parts)


def openapi() -> Mapping[str, Any]:
    """Return the OpenAPI document of a node that is opened for it in a temporary folder."""
    import asyncio

    import httpx

    with _application() as application:

        async def ask() -> Mapping[str, Any]:
            transport = httpx.ASGITransport(app=application)
            async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
                answer: Mapping[str, Any] = (await client.get("/openapi.json")).json()
                return answer

        return asyncio.run(ask())


@contextmanager
def _application() -> Any:
    from types import SimpleNamespace

    from prometheus_client import CollectorRegistry
    from structlog.testing import capture_logs

    from fieldstone.config import load
    from fieldstone.node.app import build
    from fieldstone.node.node import Node
    from fieldstone.node.rounds import Rounds

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.toml"
        path.write_text('[network]\nnetwork_id = "reference"\n')
        with capture_logs():
            node = Node(load(path, {}))
        try:
            intake = SimpleNamespace(metrics=SimpleNamespace(registry=CollectorRegistry()), registry=None, ready=True)
            yield build(node, intake, Rounds(node))  # type: ignore[arg-type]
        finally:
            node.close()


def _sentence(what: Mapping[str, Any]) -> str:
    text = what.get("description") or what.get("summary") or ""
    return " ".join(str(text).split())


def _parameters(what: Mapping[str, Any]) -> str:
    names = [code(p["name"]) for p in what.get("parameters", ()) if p["in"] != "path"]
    for media in what.get("requestBody", {}).get("content", {}).values():
        reference = str(media.get("schema", {}).get("$ref", "")).rsplit("/", 1)[-1]
        names += [f"body: {reference or 'JSON'}"]
    return ", ".join(names)
