"""`fieldstone up` as a process: it serves, and a signal ends it with everything closed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

TOML = '[node]\nport = 0\n[network]\nnetwork_id = "up"\n'


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_gracefully(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "network.toml").write_text(TOML)
    marker = tmp_path / "data" / "running.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "fieldstone", "up", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 90
        while not marker.exists():
            assert process.poll() is None and time.monotonic() < deadline, "it did not come up"
            time.sleep(0.1)
        url = json.loads(marker.read_text())["url"]
        for _ in range(100):
            try:
                assert httpx.get(f"{url}/healthz").status_code == 200
                break
            except httpx.TransportError:
                time.sleep(0.1)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert "everything accepted is in the journal" in said and "Traceback" not in said
    assert not marker.exists()
