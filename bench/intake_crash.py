"""Kill -9 the intake at random moments under load; every acknowledged report must be in the journal.

    python bench/intake_crash.py [--kills 100] [--seed 1]

Each round: start a real server process, send single reports and sequences on several connections, kill it after a
random time, open the journal and compare it with every receipt ever handed out. Devices behave as an agent does:
what was not answered is sent again after the restart, and comes back accepted or REPLAYED with its position.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
from intake_server import COLUMNS, KINDS, NETWORK_KEY, POLICY, device_key

from fieldstone.clock import SystemClock
from fieldstone.identity import cose
from fieldstone.identity.report import Report, encode
from fieldstone.journal import Journal
from fieldstone.journal.receipts import Receipt, verify_receipt

AAD = cose.network_aad(POLICY.network_id, POLICY.chain_id, POLICY.schema_version)
DEVICES = 12


class Device:
    """One sender: the reports that wait for an answer, and the receipts it holds."""

    def __init__(self, number: int) -> None:
        self.key = device_key(number)
        self.per_request = (1, 1, 7, 40)[number % 4]
        self.seq = 0
        self.waiting: list[bytes] = []
        self.receipts: list[tuple[Receipt, bytes]] = []
        self.repeats: list[tuple[int, bytes]] = []

    def next_batch(self) -> list[bytes]:
        while len(self.waiting) < self.per_request:
            self.seq += 1
            now = int(time.time() * 1000)
            report = Report(1, "sensing", "readings", self.seq, now, now, [now], {COLUMNS[0]: [20.5]})
            self.waiting.append(cose.sign(self.key, encode(report, KINDS), AAD))
        return self.waiting[: self.per_request]

    def take_answer(self, batch: list[bytes], text: bytes) -> None:
        for message, result in zip(batch, msgspec.json.decode(text)["results"], strict=True):
            if result["ok"]:
                self.receipts.append((msgspec.convert(result["receipt"], Receipt), message))
            elif result["code"] == "REPLAYED" and "position" in result:
                self.repeats.append((result["position"], message))
            else:
                raise SystemExit(f"an honest report was refused: {result}")
        del self.waiting[: len(batch)]

    async def send(self, port: int) -> None:
        """Send until the server dies."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            while True:
                batch = self.next_batch()
                body = b"".join(batch)
                writer.write(
                    b"POST /v1/reports HTTP/1.1\r\nhost: x\r\ncontent-type: application/cbor-seq\r\n"
                    b"content-length: %d\r\n\r\n" % len(body) + body
                )
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.take_answer(batch, await reader.readexactly(length))
        except (OSError, asyncio.IncompleteReadError):
            return


async def one_round(port: int, devices: list[Device], server: subprocess.Popen[str], after_s: float) -> None:
    tasks = [asyncio.create_task(device.send(port)) for device in devices]
    await asyncio.sleep(after_s)
    server.send_signal(signal.SIGKILL)
    await asyncio.gather(*tasks)
    server.wait()


def check(folder: Path, devices: list[Device], checked: dict[str, int]) -> int:
    """Compare every new receipt with the journal; return how many entries it holds. Raises SystemExit on a loss."""
    with Journal.open(folder / "journal.sqlite", clock=SystemClock()) as journal:
        digests = {}
        expected = 1
        for entry in journal.read():
            if entry.position != expected:
                raise SystemExit(f"position {expected} is missing")
            expected += 1
            digests[entry.position] = hashlib.sha256(entry.body).digest()
        for device in devices:
            for receipt, message in device.receipts:
                if digests.get(receipt.position) != hashlib.sha256(message).digest():
                    raise SystemExit(f"LOST: acknowledged position {receipt.position}")
            fresh = device.receipts[checked.get(device.key.public.device_id, 0) :]
            for receipt, message in fresh:
                if not verify_receipt(receipt, message, NETWORK_KEY.public):
                    raise SystemExit("a receipt does not verify")
            checked[device.key.public.device_id] = len(device.receipts)
            for position, message in device.repeats:
                if digests.get(position) != hashlib.sha256(message).digest():
                    raise SystemExit(f"REPLAYED named position {position}, which holds something else")
        return len(digests)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    devices = [Device(number) for number in range(DEVICES)]
    checked: dict[str, int] = {}
    script = Path(__file__).with_name("intake_server.py")
    started = time.process_time()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        entries = 0
        for _ in range(options.kills):
            server = subprocess.Popen(
                [sys.executable, str(script), name, str(DEVICES)], stdout=subprocess.PIPE, text=True
            )
            assert server.stdout is not None
            port = int(server.stdout.readline())
            asyncio.run(one_round(port, devices, server, chance.uniform(0.02, 0.5)))
            server.stdout.close()
            entries = check(folder, devices, checked)
    receipts = sum(len(device.receipts) for device in devices)
    repeats = sum(len(device.repeats) for device in devices)
    print(f"kills {options.kills}, journal entries {entries}, receipts {receipts}, acknowledged and lost 0")
    print(f"durable but unanswered when killed, found again as repeats: {repeats}")
    print(f"client CPU {time.process_time() - started:.1f} s")


if __name__ == "__main__":
    main()
