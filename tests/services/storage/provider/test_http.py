"""The provider's doors as gateways, attackers and broken clients see them; the same through the lane and through ASGI."""

from __future__ import annotations

import base64
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fieldstone.identity import cose
from fieldstone.identity.keys import DeviceKey, verify
from fieldstone.services.storage import records
from fieldstone.services.storage.codes import chunk_opening, fast_tree
from fieldstone.services.storage.codes.chunk_opening import Claim
from fieldstone.services.storage.provider import taking
from fieldstone.services.storage.provider.door import CAPACITY, CapacityStatement, live_purpose
from fieldstone.services.storage.provider.orders import challenge_subject, header
from fieldstone.services.storage.records import RECEIPT, ProofSet, ShareReceipt
from tests.services.storage.provider.running import MIB, Gateway, Running, running, share_id, some_bytes

SHARE = share_id(7)


@pytest.fixture(params=["lane", "asgi"])
def provider(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path / "disk", use_lane=request.param == "lane") as made:
        yield made


@pytest.mark.parametrize("size", [1, 16_384, 131_073, 3_355_443])
def test_what_is_stored_comes_back_and_the_receipt_commits_to_it(provider: Running, size: int) -> None:
    gateway, data = provider.gateway, some_bytes(size)
    before_ms = time.time_ns() // 1_000_000
    stored = gateway.put(SHARE, data)
    assert stored.status == 201
    receipt = records.open_signed(stored.body, ShareReceipt, provider.key.public.device_id, RECEIPT)
    tree = fast_tree.Tree.build(data, receipt.leaf_bytes)
    assert (receipt.root, receipt.size_bytes, receipt.share) == (tree.commitment, size, SHARE)
    assert receipt.gateway == gateway.name
    assert before_ms <= receipt.stored_ms <= time.time_ns() // 1_000_000
    assert gateway.put(SHARE, data).body == stored.body
    whole = gateway.get(SHARE, 0, size)
    assert (whole.status, whole.body) == (200, data)
    if size > 2:
        part = gateway.get(SHARE, size // 3, size - 1)
        assert (part.status, part.body) == (206, data[size // 3 : size - 1])
        assert part.headers["content-range"] == f"bytes {size // 3}-{size - 2}/{size}"
    order = gateway.order("delete", SHARE)
    assert gateway.delete(SHARE, order).status == 204
    refused = gateway.get(SHARE, 0, 1)  # shows by whose word: nobody need take the provider's
    shown = str(msgspec.json.decode(refused.body)["order"])
    assert (refused.status, refused.code) == (410, "SHARE_DELETED")
    assert base64.urlsafe_b64decode(shown + "=" * (-len(shown) % 4)) == order
    assert gateway.get(share_id(8), 0, 1).code == "SHARE_UNKNOWN"
    assert gateway.delete(SHARE).status == 204


def test_a_gateway_that_the_list_does_not_know_yet_is_looked_up_while_it_waits(tmp_path: Path) -> None:
    class Registry:
        def __init__(self) -> None:
            self.enrolled: set[str] = set()
            self.known: set[str] = set()
            self.looks = 0

        def key_of(self, gateway: str) -> str | None:
            return gateway if gateway in self.known else None

        def look_up(self, gateway: str) -> bool:
            self.looks += 1
            self.known |= self.enrolled & {gateway}
            return gateway in self.known

    registry = Registry()
    with running(tmp_path, gateways=registry) as provider:
        gateway = provider.gateway
        assert gateway.put(SHARE, some_bytes(1000)).code == "UNKNOWN_GATEWAY"
        registry.enrolled.add(gateway.name)
        assert gateway.put(SHARE, some_bytes(1000)).status == 201
        assert gateway.delete(SHARE).status == 204
    assert registry.looks == 2


def test_orders_are_for_one_thing_from_one_gateway(provider: Running) -> None:
    gateway, other = provider.gateway, DeviceKey.generate().public.device_id
    data = some_bytes(1000)
    assert gateway.put(SHARE, data, gateway.order("put", SHARE, provider=other)).code == "ORDER_ELSEWHERE"
    assert gateway.put(SHARE, data, gateway.order("put", share_id(8))).code == "ORDER_ELSEWHERE"
    assert gateway.put(SHARE, data, gateway.order("get", SHARE)).code == "ORDER_ELSEWHERE"
    assert gateway.put(SHARE, data, gateway.order("put", SHARE, gateway=other)).code == "UNKNOWN_GATEWAY"
    stranger = Gateway(gateway.port, gateway.provider)
    assert stranger.put(SHARE, data).code == "UNKNOWN_GATEWAY"
    forged = stranger.order("put", SHARE, gateway=gateway.name)
    assert gateway.put(SHARE, data, forged).code == "BAD_SIGNATURE"
    assert gateway.ask("PUT", f"/v1/shares/{SHARE.hex()}", None, data).code == "ORDER_MISSING"
    assert gateway.ask("GET", f"/v1/shares/{SHARE.hex()}").code == "ORDER_MISSING"
    assert provider.store.totals().shares == 0


@pytest.mark.parametrize(
    "text", ["Fieldstone", "Fieldstone !!!", "Bearer abc", "Fieldstone AAAA", "Fieldstone " + "A" * 5000]
)
def test_what_is_no_order_is_refused(provider: Running, text: str) -> None:
    got = provider.gateway.ask("GET", f"/v1/shares/{SHARE.hex()}", authorization=text)
    assert (got.status, got.code) == (400, "ORDER_MALFORMED")


def test_orders_expire_and_are_short(provider: Running) -> None:
    gateway, now_ms = provider.gateway, time.time_ns() // 1_000_000
    assert gateway.put(SHARE, b"x", gateway.order("put", SHARE, expires_ms=now_ms - 70_000)).code == "ORDER_EXPIRED"
    assert gateway.put(SHARE, b"x", gateway.order("put", SHARE, expires_ms=now_ms + 3_700_000)).code == "ORDER_TOO_LONG"
    assert gateway.put(SHARE, b"x", gateway.order("put", SHARE, expires_ms=now_ms - 20_000)).status == 201  # skew


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "..%2f..%2findex.db", "0" * 31, "0" * 33, "A" * 32, "0" * 31 + "/", "é" * 16, "%30" * 32, ""],
)
def test_nothing_but_a_share_id_becomes_a_path(provider: Running, name: str) -> None:
    order = provider.gateway.order("get", SHARE, start=0, end=1, egress_bytes=1)
    raw = f"GET /v1/shares/{name} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: {header(order)}\r\n\r\n"
    answer = provider.gateway.raw(raw.encode("utf-8"))
    status = int(answer.split(b" ")[1])
    assert status in (400, 403, 404), answer[:200]  # "%30" × 32 is an id, spelled oddly: another share's order
    assert b"root:" not in answer


def test_reads_need_a_voucher_that_rises(provider: Running) -> None:
    gateway, data = provider.gateway, some_bytes(10_000)
    gateway.put(SHARE, data)
    assert gateway.get(SHARE, 0, 1000, egress_bytes=1000).status == 206
    again = gateway.get(SHARE, 0, 1000, egress_bytes=1000)
    assert (again.status, again.code) == (409, "VOUCHER_TOO_LOW")
    assert msgspec.json.decode(again.body)["egress_bytes"] == 1000
    assert gateway.get(SHARE, 0, 1000, egress_bytes=1999).code == "VOUCHER_TOO_LOW"
    assert gateway.get(SHARE, 0, 1000, egress_bytes=999).code == "VOUCHER_TOO_LOW"
    assert gateway.get(SHARE, 0, 1000, egress_bytes=4000).status == 206
    # an order that was overtaken is good once
    assert gateway.get(SHARE, 0, 1000, egress_bytes=2500).status == 206
    assert gateway.get(SHARE, 0, 1000, egress_bytes=2500).code == "VOUCHER_TOO_LOW"
    assert gateway.get(SHARE, 0, 500, egress_bytes=3000).status == 206
    assert gateway.get(SHARE, 0, 1, egress_bytes=3001).code == "VOUCHER_TOO_LOW"
    order = gateway.order("get", SHARE, start=0, end=10, egress_bytes=5000)
    path = f"/v1/shares/{SHARE.hex()}"
    assert gateway.ask("GET", path, order).body == data[:10]
    assert gateway.ask("GET", path, order).code == "VOUCHER_TOO_LOW"  # replayed


def test_a_refused_read_is_not_paid(provider: Running) -> None:
    gateway = provider.gateway
    gateway.put(SHARE, b"x" * 1000)
    assert gateway.get(share_id(9), 0, 10, egress_bytes=10).code == "SHARE_UNKNOWN"
    assert gateway.get(SHARE, 0, 1001, egress_bytes=2000).code == "BAD_RANGE"
    assert gateway.get(SHARE, 0, 10, egress_bytes=10).status == 206


@pytest.mark.parametrize(("start", "end"), [(0, 0), (5, 5), (9, 3), (0, 1001), (1000, 1001), (2**40, 2**41)])
def test_ranges_outside_the_share_are_refused(provider: Running, start: int, end: int) -> None:
    provider.gateway.put(SHARE, b"x" * 1000)
    got = provider.gateway.get(SHARE, start, end, egress_bytes=2**50)
    assert (got.status, got.code) == (416, "BAD_RANGE")


def test_lengths_are_enforced(provider: Running) -> None:
    gateway = provider.gateway
    assert gateway.put(SHARE, b"", gateway.order("put", SHARE)).code == "WRONG_LENGTH"
    assert gateway.put(SHARE, b"abc", gateway.order("put", SHARE, end=4)).code == "WRONG_LENGTH"
    assert gateway.put(SHARE, b"abcd", gateway.order("put", SHARE, end=4)).status == 201
    chunked = gateway.ask("PUT", f"/v1/shares/{SHARE.hex()}", gateway.order("put", SHARE), iter([b"abc", b"d"]))
    assert chunked.code == "LENGTH_NEEDED"


def test_a_huge_announced_length_costs_nothing(provider: Running) -> None:
    gateway = provider.gateway
    for length in (300 * MIB, 10**17, 10**30):
        head = f"PUT /v1/shares/{SHARE.hex()} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n"
        answer = gateway.raw(f"{head}authorization: {header(gateway.order('put', SHARE))}\r\n\r\nabc".encode(), 0.3)
        assert answer.split(b" ")[1] in (b"413", b"411", b"400"), answer[:100]
    over = gateway.raw(
        f"PUT /v1/shares/{SHARE.hex()} HTTP/1.1\r\nhost: x\r\ncontent-length: {230 * MIB}\r\n"
        f"authorization: {header(gateway.order('put', SHARE))}\r\n\r\nabc".encode(),
        0.3,
    )
    assert b"DISK_FULL" in over and b" 507 " in over
    assert provider.store.used_bytes == 0


def test_a_body_that_breaks_off_leaves_nothing(provider: Running) -> None:
    gateway = provider.gateway
    head = f"PUT /v1/shares/{SHARE.hex()} HTTP/1.1\r\nhost: x\r\ncontent-length: 3000000\r\n"
    message = f"{head}authorization: {header(gateway.order('put', SHARE))}\r\n\r\n".encode()
    for sent in (0, 100, 1_500_000, 2_999_999):
        with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
            connection.sendall(message + b"x" * sent)
    for _ in range(200):
        stored = gateway.put(SHARE, b"x" * 3_000_000)
        if stored.status == 201:
            break
        assert stored.code == "SHARE_BUSY"  # the provider has not noticed yet that the last one is gone
        time.sleep(0.02)
    assert stored.status == 201
    assert provider.store.totals().shares == 1
    assert list(provider.store.tmp.iterdir()) == []
    assert provider.store.used_bytes < 3_010_000


def test_a_body_in_drops_arrives_whole(provider: Running) -> None:
    gateway, data = provider.gateway, some_bytes(700_000)
    head = f"PUT /v1/shares/{SHARE.hex()} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n"
    message = f"{head}authorization: {header(gateway.order('put', SHARE))}\r\n\r\n".encode() + data
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(message), 30_011):
            connection.sendall(message[at : at + 30_011])
            time.sleep(0.001)
        assert connection.recv(100).startswith(b"HTTP/1.1 201")
    assert gateway.get(SHARE, 0, len(data)).body == data


def test_a_refused_upload_reads_its_refusal(provider: Running) -> None:
    """The answer comes before the body is sent whole; closing then would lose it in a reset."""
    gateway = provider.gateway
    for _ in range(5):
        got = gateway.put(SHARE, bytes(8 * MIB), gateway.order("put", share_id(1)))
        assert got.code == "ORDER_ELSEWHERE"
    assert gateway.put(SHARE, b"abc").status == 201


def test_requests_on_one_connection_follow_each_other(provider: Running) -> None:
    """Pipelined: two stores and a read in one go; answers come in order and bodies are not mixed up."""
    gateway = provider.gateway
    first, second = some_bytes(200_000), some_bytes(5)
    message = b""
    for number, data in ((1, first), (2, second)):
        share = share_id(number)
        head = f"PUT /v1/shares/{share.hex()} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n"
        message += f"{head}authorization: {header(gateway.order('put', share))}\r\n\r\n".encode() + data
    order = gateway.order("get", share_id(1), start=0, end=200_000, egress_bytes=200_000)
    message += (
        f"GET /v1/shares/{share_id(1).hex()} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        f"authorization: {header(order)}\r\n\r\n"
    ).encode()
    answer = gateway.raw(message)
    assert answer.count(b"HTTP/1.1 201") == 2
    assert answer.endswith(first)
    assert gateway.get(share_id(2), 0, 5, egress_bytes=10**6).body == second


def test_wrong_bytes_on_disk_are_not_served(provider: Running) -> None:
    gateway, data = provider.gateway, some_bytes(400_000)
    gateway.put(SHARE, data)
    assert gateway.get(SHARE, 0, 400_000).body == data
    path = provider.store.path(SHARE)
    with path.open("r+b") as file:
        file.seek(200_000)
        file.write(bytes([data[200_000] ^ 255]))
    got = gateway.get(SHARE, 190_000, 210_000)
    assert (got.status, got.code) == (410, "SHARE_DAMAGED")
    assert gateway.put(SHARE, data).status == 201  # storing it again heals
    assert gateway.get(SHARE, 0, 400_000).body == data


def test_live_challenges_prove_chunks_for_one_seed(provider: Running) -> None:
    gateway, data = provider.gateway, some_bytes(500_000)
    receipt = records.open_signed(gateway.put(SHARE, data).body, ShareReceipt, gateway.provider, RECEIPT)
    seed = b"s" * 32
    body = msgspec.msgpack.encode(
        [seed, [[SHARE, 3_072], [share_id(99), 0], [SHARE, 30 * 16_384], [SHARE, 31 * 16_384]]]
    )
    order = gateway.order("get", challenge_subject(body))
    got = gateway.ask("POST", "/v1/challenge", order, body)
    assert got.status == 200
    envelope = cose.parse(got.body)
    assert verify(provider.key.public, envelope.signed_bytes(live_purpose(seed)), envelope.signature)
    assert not verify(provider.key.public, envelope.signed_bytes(live_purpose(b"t" * 32)), envelope.signature)
    proofs = records.decode(envelope.payload, ProofSet).proofs
    assert [(p.share, p.start) for p in proofs] == [(SHARE, 3_072), (SHARE, 30 * 16_384)]
    for p in proofs:
        claim = Claim(receipt.root, receipt.size_bytes, receipt.leaf_bytes, p.start, p.chunk, p.siblings)
        assert chunk_opening.verify(claim)
    other = msgspec.msgpack.encode([seed, [[SHARE, 4_095]]])
    assert gateway.ask("POST", "/v1/challenge", order, other).code == "ORDER_ELSEWHERE"
    bad = b"\x93garbage"
    assert (
        gateway.ask("POST", "/v1/challenge", gateway.order("get", challenge_subject(bad)), bad).code == "BAD_CHALLENGE"
    )
    assert gateway.ask("POST", "/v1/challenge", order, b"x" * 300_000).code == "BAD_CHALLENGE"


def test_capacity_is_signed_and_honest(provider: Running) -> None:
    gateway = provider.gateway
    gateway.put(SHARE, b"x" * 100_000)
    facts = msgspec.json.decode(gateway.ask("GET", "/v1/capacity").body)
    assert facts["capacity_bytes"] == 200 * MIB
    assert facts["free_bytes"] + facts["used_bytes"] <= 200 * MIB
    assert 100_000 < facts["used_bytes"] < 110_000
    text = facts["signed"]
    envelope = cose.parse(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    assert verify(provider.key.public, envelope.signed_bytes(CAPACITY), envelope.signature)
    statement = msgspec.msgpack.decode(envelope.payload, type=CapacityStatement)
    assert statement.used_bytes == facts["used_bytes"]


def test_health_metrics_and_what_is_not_there(provider: Running) -> None:
    gateway = provider.gateway
    assert gateway.ask("GET", "/healthz").status == 200
    gateway.put(SHARE, b"x" * 1000)
    text = gateway.ask("GET", "/metrics").body.decode()
    assert "fieldstone_storage_shares 1.0" in text
    assert "fieldstone_storage_put_bytes_total 1000.0" in text
    assert gateway.ask("GET", "/v1/nothing").status == 404
    assert gateway.ask("POST", f"/v1/shares/{SHARE.hex()}", None, b"").status == 405
    assert gateway.ask("DELETE", "/healthz").status == 404


def test_answers_bear_the_time(provider: Running) -> None:
    for _ in range(2):
        for got in (provider.gateway.ask("GET", "/healthz"), provider.gateway.put(SHARE, b"x")):
            assert abs(parsedate_to_datetime(got.headers["date"]).timestamp() - time.time()) < 5
        time.sleep(0.01)


def test_slow_heads_and_slow_bodies_are_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fieldstone.services.storage.provider.lane.HEAD_PATIENCE_S", 0.2)
    monkeypatch.setattr(taking, "_PATIENCE_S", 0.2)
    monkeypatch.setattr(taking, "_SLOWEST_BYTES_S", 10**9)
    with running(tmp_path / "disk") as provider:
        gateway = provider.gateway
        assert gateway.raw(b"", wait_s=5) == b""  # says nothing
        assert gateway.raw(b"GET /v1/capa", wait_s=5) == b""  # never ends its head
        head = f"PUT /v1/shares/{SHARE.hex()} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n"
        message = f"{head}authorization: {header(gateway.order('put', SHARE))}\r\n\r\nabc".encode()
        answer = gateway.raw(message, wait_s=5)
        assert b" 408 " in answer and b"TOO_SLOW" in answer
        assert provider.store.used_bytes == 0


def test_many_parallel_requests_stay_in_bounds(tmp_path: Path) -> None:
    """64 uploads of 1 MiB at a time through four pieces: all arrive, no more than four buffers were made."""
    with running(tmp_path / "disk", most_pieces=4) as provider:
        key, port, name = provider.gateway.key, provider.server.port, provider.gateway.provider
        data = [some_bytes(1_000) * 900 for _ in range(64)]

        def put(number: int) -> int:
            return Gateway(port, name, key).put(share_id(number), data[number]).status

        with ThreadPoolExecutor(16) as pool:
            assert set(pool.map(put, range(64))) == {201}
        assert len(provider.door.buffers.spare) <= 4
        assert provider.store.totals().shares == 64
        assert provider.store.committer.commits < 64 + 5  # committed together


def test_two_providers_cannot_use_each_others_orders(tmp_path: Path) -> None:
    with running(tmp_path / "a") as one, running(tmp_path / "b") as two:
        order = one.gateway.order("put", SHARE)
        two.gateway.key, two.gateway.name = one.gateway.key, one.gateway.name
        assert two.gateway.put(SHARE, b"x", order).code in ("UNKNOWN_GATEWAY", "ORDER_ELSEWHERE")


def test_stopping_answers_what_is_open(tmp_path: Path) -> None:
    """A stop in the middle of an upload: it still gets its receipt."""
    with running(tmp_path / "disk") as provider:
        gateway, data = provider.gateway, some_bytes(2_000_000)
        head = f"PUT /v1/shares/{SHARE.hex()} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n"
        message = f"{head}authorization: {header(gateway.order('put', SHARE))}\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
            connection.sendall(message + data[:1_000_000])
            time.sleep(0.1)
            stopping = threading.Thread(target=provider.server.stop)
            stopping.start()
            time.sleep(0.2)
            connection.sendall(data[1_000_000:])
            answer: Any = connection.recv(4096)
            assert answer.startswith(b"HTTP/1.1 201")
        stopping.join()
