"""Whose word counts about where a request comes from and whether it came encrypted."""

from __future__ import annotations

import pytest

from fieldstone.errors import UsageError
from fieldstone.services.storage.s3.server.callers import Callers
from fieldstone.services.storage.s3.wire import Request

PROXY, OTHER = "10.1.2.3", "192.0.2.9"
TOLD = {"x-forwarded-for": "198.51.100.7", "x-forwarded-proto": "https"}


def seen(callers: Callers, peer: str, headers: dict[str, str], scheme: str = "http") -> tuple[str, bool]:
    request = Request("GET", b"/b/k", b"", [(n.encode(), v.encode()) for n, v in headers.items()])
    return callers.of({"client": (peer, 1), "scheme": scheme}, request)


def test_the_connection_says_it_where_no_proxy_is_trusted() -> None:
    assert seen(Callers(), OTHER, TOLD) == (OTHER, False)
    assert seen(Callers(), OTHER, {}, "https") == (OTHER, True)
    assert seen(Callers(behind_tls=True), OTHER, {}) == (OTHER, True)
    assert Callers().of({"client": None, "scheme": "http"}, Request("GET", b"/", b"", [])) == ("", False)


def test_a_trusted_proxy_is_believed_and_nobody_else() -> None:
    callers = Callers(["10.0.0.0/8", "2001:db8::1"])
    assert seen(callers, PROXY, TOLD) == ("198.51.100.7", True)
    assert seen(callers, "2001:db8::1", TOLD) == ("198.51.100.7", True)
    assert seen(callers, OTHER, TOLD) == (OTHER, False)
    assert seen(callers, PROXY, {}) == (PROXY, False)
    assert seen(callers, "unix", TOLD) == ("unix", False)


def test_what_a_client_put_before_the_proxy_does_not_count() -> None:
    callers = Callers(["10.0.0.0/8"], behind_tls=True)
    forged = {"x-forwarded-for": "203.0.113.1, 198.51.100.7, 10.9.9.9", "x-forwarded-proto": "https, http"}
    assert seen(callers, PROXY, forged) == ("198.51.100.7", False)
    assert seen(callers, PROXY, {"x-forwarded-for": "nonsense"}) == (PROXY, True)


@pytest.mark.parametrize("text", ["proxy.example.org", "10.0.0.1/8", "", "10.0.0.0/33"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--trusted-proxy"):
        Callers([text])
