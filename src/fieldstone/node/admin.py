"""The founder's hand: prices, corrections, closing an epoch. Over HTTP with the node's admin token, or on its files.

The token is a file in the data folder: whoever may read the node's keys may use it, nobody else.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fieldstone.errors import EnvironmentProblem, UsageError
from fieldstone.journal.entries import EntryKind, NewEntry
from fieldstone.node.layout import Layout

FOUNDER_KINDS = (EntryKind.PRICE, EntryKind.CORRECTION)


def admin_token(layout: Layout) -> str:
    """Return the node's admin token; made on first use, readable by the owner only."""
    path = layout.admin_token
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(32))
    return path.read_text().strip()


def is_admin(given: str, layout: Layout) -> bool:
    """Compare a bearer token in constant time."""
    return hmac.compare_digest(given.encode(), admin_token(layout).encode())


def append_entries(at: str, entries: Sequence[NewEntry]) -> list[int]:
    """Append founder's entries to the network in folder `at`, through the running node if there is one."""
    body = [{"kind": e.kind.value, "subject": e.subject, "body": base64.b64encode(e.body).decode()} for e in entries]
    answer = _ask(at, "/v1/admin/entries", {"entries": body})
    if answer is not None:
        return [int(position) for position in answer["positions"]]
    from fieldstone.node.node import open_node

    node = open_node(_folder(at))
    try:
        return node.append(entries)
    finally:
        node.close()


def request_close(at: str) -> int | None:
    """Close the epoch that is due at the network in folder `at`; return its number, or None when none is due."""
    answer = _ask(at, "/v1/admin/close", {})
    if answer is not None:
        return answer["closed"]  # type: ignore[no-any-return]
    from fieldstone.node.node import open_node

    node = open_node(_folder(at))
    try:
        sealed = node.close_due()
        node.settle()
        return sealed.manifest.epoch if sealed else None
    finally:
        node.close()


def refund_customers(at: str, correction: str, service: str, epoch: int, devices: Sequence[str], cause: str) -> int:
    """Refund whoever bought readings of `devices` in an epoch that turned out bad; return the micro-dollars given back.

    Once per `correction`: repeat at will.
    """
    body = {"correction": correction, "service": service, "epoch": epoch, "devices": list(devices), "cause": cause}
    answer = _ask(at, "/v1/admin/refunds", body)
    if answer is not None:
        return int(answer["refunded_micro_usd"])
    from fieldstone.node.node import open_node

    node = open_node(_folder(at))
    try:
        refunds = node.market.refund_corrected(correction, service, epoch, set(devices), cause)
        return sum(refund.refund_micro_usd for refund in refunds)
    finally:
        node.close()


def running_url(layout: Layout) -> str | None:
    """Return the address of the node that runs on this data folder, None when none does."""
    import httpx

    path = layout.root / "running.json"
    try:
        url = str(json.loads(path.read_text())["url"])
        httpx.get(f"{url}/healthz", timeout=2.0).raise_for_status()
    except (OSError, ValueError, KeyError, httpx.HTTPError):
        return None
    return url


def _ask(at: str, path: str, body: dict[str, Any]) -> Any:
    import httpx

    layout = _layout(at)
    url = running_url(layout)
    if url is None:
        return None
    response = httpx.post(
        f"{url}{path}", json=body, headers={"Authorization": f"Bearer {admin_token(layout)}"}, timeout=120
    )
    if response.status_code != 200:
        raise EnvironmentProblem(f"the node refused {path}: {response.text[:300]}")
    return response.json()


def _folder(at: str) -> Path:
    if at.startswith(("http://", "https://")):
        raise UsageError("this needs the founder's keys: run it in the network's folder on the node's machine")
    return Path(at)


def _layout(at: str) -> Layout:
    from fieldstone.config import load

    return Layout(load(_folder(at) / "network.toml").data_dir)
