"""The whole house once, as `fieldstone demo` shows it: real processes, a real chain, every claim of its ending checked."""

from __future__ import annotations

import json
import subprocess
import sys


def test_the_demo_keeps_what_it_says(tmp_path) -> None:
    command = [sys.executable, "-m", "fieldstone", "demo", str(tmp_path / "net"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=420)
    assert done.returncode == 0, done.stderr[-2000:]
    facts = json.loads(done.stdout)
    assert facts["replay_agrees"] and facts["active_epoch"] == 3
    assert len(facts["signed_by"]) >= 2
    assert facts["claim"]["paid_base"] == facts["claim"]["balance_base"] > 0
    assert len(facts["purchases"]) == 4 and all(p["price_micro_usd"] > 0 for p in facts["purchases"])
    assert facts["caught"]["cheaters_caught"] >= facts["caught"]["cheaters"] - 1
    assert facts["caught"]["honest_cut"] <= 1
    assert "SPIKE" in facts["airport_fault"]
    earned = sum(o["total_base"] for o in facts["operators"])
    paid = sum(o["paid_base"] for o in facts["operators"])
    spent_micro = sum(p["price_micro_usd"] for p in facts["purchases"])
    assert earned > 0 and paid <= spent_micro * 10**18 // 50_000  # never more than customers paid, at $0.05 a token
    explained = subprocess.run(
        [
            sys.executable,
            "-m",
            "fieldstone",
            "epoch",
            "explain",
            "3",
            "--device",
            facts["suspects"][0]["device"][-12:],
            "--at",
            str(tmp_path / "net"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert explained.returncode == 0 and facts["suspects"][0]["reasons"][0] in explained.stdout
