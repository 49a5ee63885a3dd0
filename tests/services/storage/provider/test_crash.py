"""kill -9 of a real provider while clients write: what was acknowledged is there, whole and provable, every time."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fieldstone.identity.keys import DeviceKey
from fieldstone.services.storage import records
from fieldstone.services.storage.codes import fast_tree
from fieldstone.services.storage.records import RECEIPT, ShareReceipt
from tests.services.storage.provider.running import Gateway, wait_until_up

KILLS = int(os.environ.get("FIELDSTONE_PROVIDER_KILLS", "4"))


def start(folder: Path, gateway: str) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "fieldstone", "storage", "provide", "--dir", str(folder), "--capacity", "2GiB",
         "--listen", "127.0.0.1:0", "--gateway", gateway],
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        found = re.search(r"serving  http://127.0.0.1:(\d+)", line)
        if found:
            threading.Thread(target=process.stderr.read, daemon=True).start()
            wait_until_up(int(found[1]))
            return process, int(found[1])
    raise AssertionError("the provider did not start")


@pytest.mark.crash
def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    key, draw = DeviceKey.generate(), random.Random(7)
    held: dict[bytes, tuple[bytes, ShareReceipt]] = {}
    deleted: set[bytes] = set()
    folder = tmp_path / "disk"
    process, port = start(folder, key.public.device_id)
    provider = DeviceKey.load(folder / "device.key").public.device_id
    try:
        for kill in range(KILLS):
            stop = threading.Event()

            def write(seed: int, port: int = port, stop: threading.Event = stop) -> None:
                mine, gateway = random.Random(seed), Gateway(port, provider, key)
                try:
                    while not stop.is_set():
                        share, data = mine.randbytes(16), mine.randbytes(mine.choice((1_000, 70_000, 600_000)))
                        got = gateway.put(share, data)
                        assert got.status == 201, got
                        receipt = records.open_signed(got.body, ShareReceipt, provider, RECEIPT)
                        if mine.random() < 0.1:
                            deleted.add(share)  # from now on either way is right
                            gateway.delete(share)
                        else:
                            held[share] = (data, receipt)
                except OSError:
                    pass  # killed: what was not answered does not count
                except Exception as error:  # http.client's ways to say that the line broke
                    assert "http" in type(error).__module__, error

            writers = [threading.Thread(target=write, args=(kill * 100 + number,)) for number in range(4)]
            for writer in writers:
                writer.start()
            wanted = len(held) + draw.randrange(6, 40)  # by progress: a busy machine stores little in half a second
            for _ in range(2_000):
                if len(held) >= wanted:
                    break
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
            stop.set()
            for writer in writers:
                writer.join(20)
            process, port = start(folder, key.public.device_id)
            assert list((folder / "tmp").iterdir()) == []
        gateway = Gateway(port, provider, key)
        gateway.egress_bytes = 10**12
        assert len(held) > 5 * KILLS
        for share, (data, receipt) in held.items():
            assert receipt.root == fast_tree.Tree.build(data, receipt.leaf_bytes).commitment
            assert gateway.get(share, 0, len(data)).body == data
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    assert not any(folder.glob("aside/*"))
