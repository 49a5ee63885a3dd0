"""Where a request comes from, and whether its way here was encrypted: the connection's word, or a trusted proxy's.

A proxy says what it saw in `X-Forwarded-For` and `X-Forwarded-Proto`. Anybody can send these headers, so they count only
on connections from addresses that the operator named; from all others they are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from fieldstone.errors import UsageError
from fieldstone.services.storage.s3.wire import Request


class Callers:
    """`trusted_proxies`: addresses or networks (10.0.0.0/8). `behind_tls`: the connection's other end is known to take
    only encrypted requests, and nobody else can reach the gateway. Raises UsageError for what is no network."""

    def __init__(self, trusted_proxies: Sequence[str] = (), *, behind_tls: bool = False) -> None:
        self._trusted = tuple(_network(text) for text in trusted_proxies)
        self._behind_tls = behind_tls

    def of(self, scope: Mapping[str, Any], request: Request) -> tuple[str, bool]:
        """Return the caller's address and whether the request came encrypted."""
        client = scope.get("client")
        remote = client[0] if client else ""
        secure = self._behind_tls or scope.get("scheme") == "https"
        if not self._trusted or not self._trusts(remote):
            return remote, secure
        scheme = request.header("x-forwarded-proto")
        if scheme is not None:  # the last word is that of the proxy next to us
            secure = scheme.rpartition(",")[2].strip().lower() == "https"
        for hop in reversed((request.header("x-forwarded-for") or "").split(",")):
            if _is_address(hop.strip()):
                remote = hop.strip()
            if not self._trusts(remote):
                break
        return remote, secure

    def _trusts(self, remote: str) -> bool:
        return _is_address(remote) and any(ip_address(remote) in network for network in self._trusted)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise UsageError(f"--trusted-proxy {text!r} is no address and no network: {error}") from None


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
