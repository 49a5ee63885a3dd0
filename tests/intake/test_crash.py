"""Kill -9 under load. The long run (100 kills) is bench/intake_crash.py; this is the same program with eight."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "intake_crash.py"


@pytest.mark.crash
def test_no_acknowledged_report_is_lost() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCH), "--kills", "8", "--seed", "8"], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "acknowledged and lost 0" in done.stdout
    receipts = int(done.stdout.partition("receipts ")[2].partition(",")[0])
    assert receipts > 100, "the kills came before anything was acknowledged: the test showed nothing"
