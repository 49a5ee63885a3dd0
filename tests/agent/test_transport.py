from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from fieldstone.agent.transport import HttpTransport, RateLimited
from fieldstone.errors import CheckFailed, Rejected, Retryable, UsageError


def _door(answer: Callable[[httpx.Request], httpx.Response]) -> HttpTransport:
    return HttpTransport("http://node/", client=httpx.Client(transport=httpx.MockTransport(answer)))


def _says(status: int, body: Any = None, **headers: str) -> HttpTransport:
    return _door(lambda request: httpx.Response(status, json=body, headers=headers))


def test_one_message_and_a_sequence_have_their_content_types() -> None:
    seen: list[tuple[str, str, bytes]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.path, request.headers["content-type"], request.content))
        count = request.content.count(b"m")
        return httpx.Response(200, json={"results": [{"ok": False, "code": "TIME_STALE"}] * count})

    door = _door(answer)
    assert [result.code for result in door.send([b"m1"])] == ["TIME_STALE"]
    assert len(door.send([b"m1", b"m2"])) == 2
    door.send_entry(b"m")
    assert seen == [
        ("/v1/reports", "application/cose", b"m1"),
        ("/v1/reports", "application/cbor-seq", b"m1m2"),
        ("/v1/registry", "application/cbor", b"m"),
    ]


@pytest.mark.parametrize("status", [200, 403, 409, 422])
def test_a_single_message_is_answered_by_its_own_result(status: int) -> None:
    result = _says(status, {"ok": status == 200, "code": "BAD_SIGNATURE", "remedy": "r", "detail": "d"}).send([b"m"])[0]
    assert (result.ok, result.code, result.remedy, result.detail) == (status == 200, "BAD_SIGNATURE", "r", "d")


def test_many_messages_answered_at_once_are_a_refused_body() -> None:
    door = _says(413, {"ok": False, "code": "TOO_LARGE", "remedy": "", "detail": "9 bytes"})
    with pytest.raises(Rejected, match="TOO_LARGE"):
        door.send([b"a", b"b"])
    with pytest.raises(Rejected, match="TOO_LARGE"):
        _says(413, "html").send([b"a"])  # a proxy in between


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_later_is_later(status: int, count: int) -> None:
    for body in ({"ok": False, "code": "UNAVAILABLE"}, None, "bad gateway"):
        with pytest.raises(Retryable):
            _says(status, body).send([b"m"] * count)


@pytest.mark.parametrize(("header", "seconds"), [("30", 30.0), ("99999999", 3600.0), ("soon", None), ("-5", 0.0)])
def test_a_rate_limit_says_how_long(header: str, seconds: float | None) -> None:
    with pytest.raises(RateLimited) as caught:
        _says(429, {"ok": False, "code": "RATE_LIMITED"}, **{"retry-after": header}).send([b"m"])
    assert caught.value.retry_after_s == seconds


@pytest.mark.parametrize(
    "body",
    [None, [], {}, 5, "ok", {"results": 5}, {"results": []}, {"results": [5]}, {"results": [{"ok": "yes"}]}, {"ok": 1}],
)
def test_nonsense_with_status_200_is_no_acknowledgement(body: Any) -> None:
    with pytest.raises(Retryable):
        _says(200, body).send([b"m"])


@pytest.mark.parametrize("body", [b"\xff\xfe", b"{", b"<html>", b""])
def test_bytes_that_are_no_json(body: bytes) -> None:
    with pytest.raises(Retryable):
        _door(lambda request: httpx.Response(200, content=body)).send([b"m"])


def test_cbor_answers_are_read_too() -> None:
    import cbor2

    body = cbor2.dumps({"results": [{"ok": True, "position": 7, "receipt": b"r"}]})
    door = _door(lambda request: httpx.Response(200, content=body, headers={"content-type": "application/cbor"}))
    assert door.send([b"m"])[0].receipt == b"r"


def test_a_node_that_is_away_and_an_address_that_is_none() -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(Retryable, match="does not answer"):
        _door(broken).send([b"m"])
    for url in ("node", "ftp://node", ""):
        with pytest.raises(UsageError, match="no address"):
            HttpTransport(url)


def test_what_is_no_network_description() -> None:
    with pytest.raises(CheckFailed, match="no description of a network"):
        _says(200, {"network_id": 5}).network()
    with pytest.raises(UsageError, match="nothing there"):
        _says(404, {"detail": "no"}).get("/v1/devices/x")
