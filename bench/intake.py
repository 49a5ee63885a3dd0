"""Durable signed intake over real HTTP against raw signature checks, per CPU-second of the server process.

    python bench/intake.py [--seconds 4] [--http lane|h11]

The server is another process (bench/intake_server.py); its CPU time comes from the kernel. The yardstick is
`nacl.signing.VerifyKey.verify` in one thread on the very same messages, measured before and after each case while another
process keeps the other core as busy as the client does.
Every answer is held for the fsync and carries a signed receipt; a tenth of them is checked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
from intake_server import COLUMNS, KINDS, NETWORK_KEY, POLICY, device_key
from nacl.signing import VerifyKey

from fieldstone.identity import cose
from fieldstone.identity.report import Report, encode
from fieldstone.journal.receipts import Receipt, verify_receipt

AAD = cose.network_aad(POLICY.network_id, POLICY.chain_id, POLICY.schema_version)
DEVICES = 256


@dataclass
class Case:
    name: str
    per_request: int
    readings: int
    bar: float
    connections: int


CASES = (
    Case("single reports", 1, 1, 0.5, 256),
    Case("sequences of 100", 100, 1, 0.8, 4),
    Case("sequences of 100, 60 readings", 100, 60, 0.0, 4),
    Case("single reports, 60 readings", 1, 60, 0.0, 256),
)


def make_messages(case: Case, count: int, seqs: list[int]) -> list[list[bytes]]:
    """Return messages per device, `count` in all."""
    out: list[list[bytes]] = []
    for number in range(DEVICES):
        key = device_key(number)
        mine = []
        for _ in range(count // DEVICES):
            seqs[number] += 1
            start = int(time.time() * 1000) - 60_000 * case.readings
            times = [start + 60_000 * place for place in range(case.readings)]
            columns = {
                name: [round(10.0 * where + 0.1 * ((place + seqs[number]) % 97), 1) for place in range(case.readings)]
                for where, name in enumerate(COLUMNS)
            }
            report = Report(1, "sensing", "readings", seqs[number], start, times[-1], times, columns)
            mine.append(cose.sign(key, encode(report, KINDS), AAD))
        out.append(mine)
    return out


def raw_rate(messages: list[list[bytes]], limit: int = 6_000) -> float:
    """Return raw PyNaCl verifications per CPU-second on these messages, in the same surroundings as the server has.

    While the server is measured, this process keeps another core busy; so something does here too. On cores that share
    an arithmetic unit that matters, and so does what the neighbours do: hence the best of several slices is not taken,
    but their mean.
    """
    work = []
    for number, mine in enumerate(messages):
        verifier = VerifyKey(device_key(number).public.raw)
        for message in mine[: max(1, limit // DEVICES)]:
            envelope = cose.parse(message)
            work.append((verifier, envelope.signed_bytes(AAD), envelope.signature))
    other = subprocess.Popen([sys.executable, "-c", "while True: sum(range(1000))"])
    try:
        started = time.process_time()
        for verifier, signed, signature in work:
            verifier.verify(signed, signature)
        return len(work) / (time.process_time() - started)
    finally:
        other.kill()
        other.wait()


async def get_json(port: int, path: str) -> dict[str, float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    body = (await reader.read()).partition(b"\r\n\r\n")[2]
    writer.close()
    return json.loads(body)  # type: ignore[no-any-return]


async def client(port: int, bodies: list[bytes], media_type: str, stop_at: float) -> list[tuple[bytes, bytes]]:
    """Send bodies one after the other on one connection; return (body, answer) pairs."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    done = []
    for body in bodies:
        if time.monotonic() > stop_at:
            break
        head = (
            f"POST /v1/reports HTTP/1.1\r\nhost: x\r\ncontent-type: {media_type}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answer_head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in answer_head[:20]:
            raise SystemExit(answer_head.decode() + (await reader.read(2_000)).decode())
        length = int(answer_head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        done.append((body, await reader.readexactly(length)))
    writer.close()
    return done


async def measure(port: int, case: Case, messages: list[list[bytes]], seconds: float) -> dict[str, float]:
    lanes: list[list[bytes]] = [[] for _ in range(case.connections)]
    for number, mine in enumerate(messages):
        for start in range(0, len(mine), case.per_request):
            lanes[number % case.connections].append(b"".join(mine[start : start + case.per_request]))
    media_type = "application/cose" if case.per_request == 1 else "application/cbor-seq"
    before = await get_json(port, "/cpu")
    started = time.monotonic()
    results = await asyncio.gather(*[client(port, bodies, media_type, started + seconds) for bodies in lanes])
    wall = time.monotonic() - started
    after = await get_json(port, "/cpu")
    requests = sum(map(len, results))
    check(case, [pair for result in results for pair in result])
    return {
        "reports": requests * case.per_request,
        "cpu_s": after["cpu_s"] - before["cpu_s"],
        "wall_s": wall,
        "batch": (after["entries"] - before["entries"]) / max(1, after["commits"] - before["commits"]),
    }


def check(case: Case, pairs: list[tuple[bytes, bytes]]) -> None:
    for body, text in pairs[::10]:
        answer = msgspec.json.decode(text)
        results = [answer] if case.per_request == 1 else answer["results"]
        for message, result in zip(cose.split(body), results, strict=True):
            receipt = msgspec.convert(result["receipt"], Receipt)
            if not verify_receipt(receipt, message, NETWORK_KEY.public):
                raise SystemExit("a receipt does not verify")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--http", default="lane", choices=("lane", "h11"))
    parser.add_argument("--case", type=int, default=None)
    options = parser.parse_args()
    seqs = [0] * DEVICES
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("intake_server.py")), folder, str(DEVICES), options.http],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            print(f"{'case':32} {'reports':>8} {'per CPU-s':>10} {'raw/CPU-s':>10} {'ratio':>6} {'bar':>5}"
                  f" {'readings/CPU-s':>15} {'per commit':>10} {'wall s':>7}")  # fmt: skip
            for place, case in enumerate(CASES):
                if options.case is not None and place != options.case:
                    continue
                # Warm up with every device, however busy the machine is: the door learns the form of its reports.
                asyncio.run(measure(port, case, make_messages(case, DEVICES * case.per_request, seqs), 60.0))
                messages = make_messages(case, int(options.seconds * 6_500) // 25_600 * 25_600 or 25_600, seqs)
                raw = [raw_rate(messages)]
                found = asyncio.run(measure(port, case, messages, options.seconds))
                raw.append(raw_rate(messages))
                rate, yardstick = found["reports"] / found["cpu_s"], sum(raw) / 2
                print(f"{case.name:32} {found['reports']:8.0f} {rate:10.0f} {yardstick:10.0f} {rate / yardstick:6.2f}"
                      f" {case.bar or '':>5} {rate * case.readings:15.0f} {found['batch']:10.1f} {found['wall_s']:7.1f}",
                      flush=True)  # fmt: skip
        finally:
            server.terminate()
            server.wait(timeout=20)


if __name__ == "__main__":
    main()
