"""The HTTP doors over real sockets, through the fast lane and through h11: the same answers, whatever is sent."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Coroutine
from inspect import signature
from pathlib import Path
from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fieldstone.identity import entries
from fieldstone.intake import lane
from fieldstone.intake.loop import loop_factory
from fieldstone.journal import EntryKind
from fieldstone.journal.receipts import Receipt, verify_receipt
from fieldstone.reasons import REASONS

from .servers import ask, post, read_answer, serve
from .worlds import NETWORK_KEY, PLACE, POLICY, WALLET, World, bodies, key, message

BOTH = pytest.mark.parametrize("kind", ["lane", "h11"])
DEVICE = key(1)
SINGLE = "application/cose"


@BOTH
async def test_one_report_is_answered_by_its_own_result(tmp_path: Path, kind: str) -> None:
    report = message(DEVICE, 1)
    with World(tmp_path) as world:
        await world.enrol(DEVICE)
        async with serve(world, kind) as port:
            status, headers, body = await ask(port, post(report, SINGLE))
            assert status == 200 and headers["content-type"] == "application/json"
            answer = msgspec.json.decode(body)
            assert answer["ok"] is True and answer["position"] == 2
            assert verify_receipt(msgspec.convert(answer["receipt"], Receipt), report, NETWORK_KEY.public)
            status, _, body = await ask(port, post(report, SINGLE + '; cose-type="cose-sign1"'))
            repeat = msgspec.json.decode(body)
            assert status == 409 and repeat["ok"] is False
            assert (repeat["code"], repeat["position"]) == ("REPLAYED", 2) and repeat["remedy"]
            status, _, body = await ask(port, post(message(key(9), 1), SINGLE))
            assert status == 403 and msgspec.json.decode(body)["code"] == "UNKNOWN_DEVICE"


@BOTH
async def test_a_sequence_is_answered_in_order(tmp_path: Path, kind: str) -> None:
    with World(tmp_path) as world:
        await world.enrol(DEVICE)
        sent = [message(DEVICE, seq) for seq in range(1, 60)]
        async with serve(world, kind) as port:
            status, _, body = await ask(port, post(b"".join(sent)))
            answer = msgspec.json.decode(body)
            assert (status, answer["accepted"], answer["refused"]) == (200, 59, 0)
            for report, result in zip(sent, answer["results"], strict=True):
                assert verify_receipt(msgspec.convert(result["receipt"], Receipt), report, NETWORK_KEY.public)
            status, _, body = await ask(port, post(sent[5] + message(DEVICE, 60)))
            answer = msgspec.json.decode(body)
            assert (status, answer["accepted"], answer["refused"]) == (207, 1, 1)
            assert [result["ok"] for result in answer["results"]] == [False, True]


@BOTH
async def test_cbor_says_the_same_as_json(tmp_path: Path, kind: str) -> None:
    with World(tmp_path) as world:
        await world.enrol(DEVICE)
        async with serve(world, kind) as port:
            sent = post(message(DEVICE, 1) + b"\x01", accept="application/cbor")
            status, headers, body = await ask(port, sent)
            assert status == 207 and headers["content-type"] == "application/cbor"
            accepted, refused = cbor2.loads(body)["results"]
            receipt = msgspec.convert(accepted["receipt"], Receipt)
            assert verify_receipt(receipt, message(DEVICE, 1), NETWORK_KEY.public)
            assert refused["code"] == "BAD_COSE" and refused["ok"] is False
            _, _, body = await ask(port, post(message(DEVICE, 2), SINGLE, accept="application/cbor"))
            assert cbor2.loads(body)["position"] == 3


@BOTH
@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (post(b"x", "text/plain"), 415, "BAD_MEDIA_TYPE"),
        (post(b"x", ""), 415, "BAD_MEDIA_TYPE"),
        (post(gzip.compress(b"\0" * 10_000_000), content_encoding="gzip"), 415, "BAD_MEDIA_TYPE"),
        (post(b"\x28\xb5\x2f\xfd", content_encoding="zstd"), 415, "BAD_MEDIA_TYPE"),
        (post(b"", SINGLE), 400, "BAD_CBOR"),
        (post(b"\xff", SINGLE), 400, "BAD_CBOR"),
        (post(b"\x01", SINGLE), 400, "BAD_COSE"),
        (b"POST /v1/reports HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n", 413, "TOO_LARGE"),
        (post(b"\x01", "application/cbor", "/v1/registry"), 422, "BAD_PAYLOAD"),
        (post(b"\x01" * 20_000, "application/cbor", "/v1/registry"), 413, "TOO_LARGE"),
        (post(b"\x01", "text/plain", "/v1/registry"), 415, "BAD_MEDIA_TYPE"),
    ],
)
async def test_whole_bodies_are_refused_by_name(
    tmp_path: Path, kind: str, request_bytes: bytes, status: int, code: str
) -> None:
    with World(tmp_path) as world:
        async with serve(world, kind) as port:
            found, _, body = await ask(port, request_bytes)
            assert (found, msgspec.json.decode(body)["code"]) == (status, code)
            assert world.counts() == {(code, ""): 1}


@BOTH
async def test_an_endless_body_is_cut_off(tmp_path: Path, kind: str) -> None:
    small = msgspec.structs.replace(POLICY, intake=msgspec.structs.replace(POLICY.intake, max_body_bytes=10_000))
    with World(tmp_path, policy=small) as world:
        async with serve(world, kind) as port:
            head = b"POST /v1/reports HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
            chunks = [b"1000\r\n" + bytes(4_096) + b"\r\n"] * 3
            status, headers, body = await ask(port, head, *chunks)
            assert status == 413 and headers["connection"] == "close"
            assert msgspec.json.decode(body)["code"] == "TOO_LARGE"


@BOTH
async def test_slow_bodies_and_slow_headers_are_cut_off(tmp_path: Path, kind: str) -> None:
    with World(tmp_path) as world:
        async with serve(world, kind, body_timeout_s=0.3) as port:
            whole = post(bytes(100))
            status, _, body = await ask(port, whole[:-50])
            assert status == 408 and msgspec.json.decode(body)["code"] == "TOO_SLOW"
            if kind == "lane":
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(whole[:30])
                async with asyncio.timeout(5):
                    assert await reader.read() == b"", "closed without an answer"
                writer.close()


@BOTH
async def test_a_client_that_hangs_up_loses_nothing_but_its_answer(tmp_path: Path, kind: str) -> None:
    with World(tmp_path) as world:
        await world.enrol(DEVICE)
        async with serve(world, kind) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(post(message(DEVICE, 1), SINGLE))
            await writer.drain()
            writer.close()
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(post(message(DEVICE, 2), SINGLE)[:-5])
            writer.close()
            async with asyncio.timeout(5):
                while not bodies(world, [EntryKind.REPORT]):
                    await asyncio.sleep(0.01)
            status, _, body = await ask(port, post(message(DEVICE, 1), SINGLE))
            position = msgspec.json.decode(body)["position"]
            assert status == 409 and position == 2
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /v1/receipts/2 HTTP/1.1\r\nhost: x\r\n\r\n")
            status, _, body = await read_answer(reader)
            writer.close()
            assert status == 200
            assert verify_receipt(Receipt.from_json(body), message(DEVICE, 1), NETWORK_KEY.public)


@BOTH
async def test_keep_alive_pipelining_and_split_packets(tmp_path: Path, kind: str) -> None:
    with World(tmp_path) as world:
        await world.enrol(DEVICE)
        requests = [post(message(DEVICE, seq), SINGLE) for seq in range(1, 9)]
        async with serve(world, kind) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(requests[0])
            statuses = [(await read_answer(reader))[0]]
            writer.write(requests[1] + requests[2])  # two in one packet
            statuses += [(await read_answer(reader))[0] for _ in range(2)]
            writer.write(requests[3])
            writer.write(requests[4][:40])  # the next begins before the answer came
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.write(requests[4][40:])
            statuses += [(await read_answer(reader))[0] for _ in range(2)]
            for byte in requests[5]:
                writer.write(bytes([byte]))
                await writer.drain()
            statuses.append((await read_answer(reader))[0])
            writer.write(b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n")
            statuses.append((await read_answer(reader))[0])
            writer.write(requests[6])
            statuses.append((await read_answer(reader))[0])
            writer.close()
        assert statuses == [200] * 6 + [404, 200]


async def test_unavailable_is_503_and_comes_back(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        await world.enrol(DEVICE)
        async with serve(world) as port:
            world.group._recover_at = float("inf")
            world.journal._connection.execute("PRAGMA query_only = ON")
            for body, media_type in (
                (message(DEVICE, 1), SINGLE),
                (message(DEVICE, 1) + message(DEVICE, 2), "application/cbor-seq"),
            ):
                status, headers, answer = await ask(port, post(body, media_type))
                assert status == 503 and int(headers["retry-after"]) > 0
                assert msgspec.json.decode(answer)["code"] == "UNAVAILABLE"
            enrolment = entries.enrol(key(2), WALLET, POLICY, model="sim", place=PLACE)
            assert (await ask(port, post(enrolment, "application/cbor", "/v1/registry")))[0] == 503
            world.group._recover_at = 0.0
            async with asyncio.timeout(10):
                while (await ask(port, post(message(DEVICE, 1), SINGLE)))[0] != 200:
                    await asyncio.sleep(0.1)


async def test_a_full_queue_is_503(tmp_path: Path) -> None:
    with World(tmp_path, options={"max_waiting": 3}) as world:
        await world.enrol(DEVICE, *[key(number) for number in range(2, 12)])
        async with serve(world) as port:
            with world.journal.exclusive():  # the disk takes its time
                tasks = [
                    asyncio.create_task(ask(port, post(message(key(number), 1), SINGLE))) for number in range(1, 12)
                ]
                async with asyncio.timeout(10):
                    while sum(task.done() for task in tasks) < 5:
                        await asyncio.sleep(0.01)
            statuses = sorted([(await task)[0] for task in tasks])
        assert statuses.count(503) >= 5 and statuses.count(200) == len(bodies(world, [EntryKind.REPORT])) > 0


@pytest.mark.parametrize("limit", [2, 1_000])
async def test_the_lane_keeps_to_the_limit_of_connections(
    tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    start = lane.start_reports
    monkeypatch.setattr(lane, "start_reports", lambda *args: (taken.append(1), start(*args)))
    with World(tmp_path) as world:
        await world.enrol(DEVICE)
        async with serve(world, limit_concurrency=limit) as port:
            idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(post(message(DEVICE, 1), SINGLE))
            async with asyncio.timeout(5):
                line = await reader.readline()
            assert line.split()[1] == (b"503" if limit == 2 else b"200") and len(taken) == (limit > 2)
            for _, opened in [*idle, (reader, writer)]:
                opened.close()


async def test_the_lane_takes_a_connection_again_after_an_odd_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows the head of the request before by heart; what came in between must not make it forget, or err."""
    taken = []
    start = lane.start_reports
    monkeypatch.setattr(lane, "start_reports", lambda *args: (taken.append(args[1]), start(*args)))
    reports = [message(DEVICE, seq) for seq in range(1, 10)]
    same_head = post(reports[0], SINGLE)[: -len(reports[0])]
    assert {len(report) for report in reports} == {len(reports[0])}
    requests = [
        (post(reports[0], SINGLE), 200, True),
        (post(reports[1], SINGLE), 200, True),
        (b"GET /v1/receipts/1 HTTP/1.1\r\nhost: x\r\n\r\n", 200, False),
        (post(reports[2], SINGLE), 200, True),
        (post(reports[3], SINGLE, user_agent="other"), 200, True),
        (post(reports[4], SINGLE, x_odd="1"), 200, False),
        (post(reports[5], SINGLE), 200, True),
        (same_head.replace(b"cose", b"json") + reports[6], 415, True),
        (post(reports[6], SINGLE), 200, True),
    ]
    with World(tmp_path) as world:
        await world.enrol(DEVICE)
        async with serve(world) as port, asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for request, expected, by_lane in requests:
                before = len(taken)
                writer.write(request)
                assert (await read_answer(reader))[0] == expected
                assert len(taken) - before == by_lane
            writer.write(same_head + reports[7] + same_head + reports[8])  # begins like a plain request, but is two
            assert [(await read_answer(reader))[0] for _ in range(2)] == [200, 200]
            writer.write(same_head + reports[8][:-1])
            await asyncio.sleep(0.02)
            writer.write(reports[8][-1:])
            assert (await read_answer(reader))[0] == 409
            writer.close()


@BOTH
async def test_enrolment_over_http(tmp_path: Path, kind: str) -> None:
    body = entries.enrol(DEVICE, WALLET, POLICY, model="sim", place=PLACE)
    with World(tmp_path) as world:
        async with serve(world, kind) as port:
            status, _, text = await ask(port, post(body, "application/cbor", "/v1/registry"))
            answer = msgspec.json.decode(text)
            assert status == 200 and answer["device"] == DEVICE.public.device_id and answer["position"] == 1
            assert verify_receipt(msgspec.convert(answer["receipt"], Receipt), body, NETWORK_KEY.public)
            status, _, text = await ask(port, post(body, "application/cbor", "/v1/registry"))
            assert status == 409 and msgspec.json.decode(text)["code"] == "ALREADY_ENROLLED"


@pytest.mark.parametrize("position", ["0", "99", "x", "-1", "1e3", "9" * 40, "%00"])
async def test_receipts_of_nothing_are_404(tmp_path: Path, position: str) -> None:
    with World(tmp_path) as world:
        async with serve(world) as port:
            status, _, body = await ask(port, f"GET /v1/receipts/{position} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            assert status == 404 and msgspec.json.decode(body)["code"] == "UNKNOWN_POSITION"


ODD_HEADS = [
    b"content-length: 3",  # no host
    b"host: x\r\ncontent-length: 3\r\ncontent-length: 4",
    b"host: x\r\ncontent-length: +3",
    b"host: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked",
    b"host: x\r\ncontent-length: 3\r\nexpect: 100-continue",
    b"host: x\r\ncontent-length: 3\r\nconnection: close",
    b"host: x\r\ncontent-length: 3\r\ncontent-encoding: gzip",
    b"host: x\r\ncontent-length: 3\r\nx-forwarded-for: 1.2.3.4",
    b"host: x\r\ncontent-length: 3\r\n folded: line",
    b"host: x\r\ncontent-length : 3",
    b"host: x\x01\r\ncontent-length: 3",
    b"host: x\r\ncontent-length: 3\r\nno colon",
    b"host: x",
]


@pytest.mark.parametrize("head", ODD_HEADS)
def test_the_lane_leaves_odd_heads_to_h11(head: bytes) -> None:
    assert lane.read_head(head) is None


def test_the_lane_reads_plain_heads() -> None:
    found = lane.read_head(b"Host: x\r\nContent-Type: application/cose\r\nAccept: */*\r\nContent-Length: 12")
    assert found == (12, "application/cose", "*/*")


damaged = st.builds(
    lambda seq, place, value: (lambda b: b[: place % len(b)] + bytes([value]) + b[place % len(b) + 1 :])(
        message(DEVICE, seq)
    ),
    st.integers(1, 3),
    st.integers(0, 10_000),
    st.integers(0, 255),
)
pieces = st.lists(st.binary(max_size=40) | damaged | st.builds(message, st.just(DEVICE), st.integers(1, 3)), max_size=4)


@pytest.mark.parametrize("kind", ["lane", "h11"])
async def test_hostile_bodies_meet_named_reasons_only(tmp_path: Path, kind: str) -> None:
    with World(tmp_path, options={"address_refusals_per_minute": 10**6}) as world:
        await world.enrol(DEVICE)
        async with serve(world, kind) as port:
            loop = asyncio.get_running_loop()
            accepted: dict[int, bytes] = {}

            async def one(parts: list[bytes], media_type: str) -> None:
                body = b"".join(parts)
                status, _, text = await ask(port, post(body, media_type))
                answer = msgspec.json.decode(text)
                assert status in {200, 207} | {reason.http_status for reason in REASONS.values()}
                for result in answer.get("results", [answer]):
                    if result["ok"]:
                        accepted[result["position"]] = body
                    else:
                        assert result["code"] in REASONS and result["remedy"]

            @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
            @given(pieces, st.sampled_from([SINGLE, "application/cbor-seq", "application/cose; x=y", "a/b"]))
            def fuzz(parts: list[bytes], media_type: str) -> None:
                asyncio.run_coroutine_threadsafe(one(parts, media_type), loop).result(30)

            await asyncio.to_thread(fuzz)
        for position, body in accepted.items():
            entry = world.journal.entry(position)
            assert entry is not None and entry.body in body, "what was acknowledged is in the journal"


@pytest.mark.parametrize("kind", ["lane", "h11"])
async def test_hostile_requests_never_break_the_server(tmp_path: Path, kind: str) -> None:
    with World(tmp_path) as world:
        await world.enrol(DEVICE)
        async with serve(world, kind) as port:
            good = post(message(DEVICE, 1), SINGLE)

            async def one(flips: list[tuple[int, int]], cut: int) -> None:
                raw = bytearray(good)
                for place, value in flips:
                    raw[place % 110] = value  # the head only
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(bytes(raw[: len(raw) - cut]))
                writer.write_eof()
                async with asyncio.timeout(10):
                    answer = await reader.read()
                assert b" 500 " not in answer[:20] and b"Traceback" not in answer
                writer.close()

            loop = asyncio.get_running_loop()
            flips = st.lists(st.tuples(st.integers(0, 109), st.integers(0, 255)), min_size=1, max_size=3)

            @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
            @given(flips, st.integers(0, 3))
            def fuzz(flips: list[tuple[int, int]], cut: int) -> None:
                asyncio.run_coroutine_threadsafe(one(flips, cut), loop).result(30)

            await asyncio.to_thread(fuzz)
            assert (await ask(port, post(message(DEVICE, 2), SINGLE)))[0] == 200


@pytest.mark.parametrize(
    "check",
    [
        test_one_report_is_answered_by_its_own_result,
        test_a_sequence_is_answered_in_order,
        test_keep_alive_pipelining_and_split_packets,
        test_the_lane_takes_a_connection_again_after_an_odd_request,
    ],
)
def test_the_same_on_the_loop_that_the_doors_run_on(
    check: Callable[..., Coroutine[Any, Any, None]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"tmp_path": tmp_path, "kind": "lane", "monkeypatch": monkeypatch}
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(check(**{name: given[name] for name in signature(check).parameters}))
