"""An HTTP client for a node whose address a user typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx


def node_client(node: str, *, timeout_s: float = 60.0) -> httpx.Client:
    """Return a client of the node at an address; use it in a `with`. Raises UsageError for an address that is none."""
    import httpx

    from fieldstone.errors import UsageError

    try:
        address = httpx.URL(node)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise UsageError(f"{node!r} is not the address of a node: {error}") from None
    if address.scheme not in ("http", "https") or not address.host or (address.port or 1) > 65_535:
        raise UsageError(f"{node!r} is not the address of a node; it starts with http:// or https://")
    return httpx.Client(base_url=address, timeout=timeout_s)
