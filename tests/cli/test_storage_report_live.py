"""The customer's commands against a real small network: node, four providers, gateway, rclone, rounds, sealed epochs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fieldstone.cli import main
from fieldstone.config import load
from fieldstone.demo import storage
from fieldstone.demo.live import LiveNode, wait_until
from fieldstone.errors import EnvironmentProblem
from fieldstone.node.node import Node

SIZE = 300_000
TOML = storage.NETWORK_TOML.replace(f"length_s = {storage.EPOCH_S}", "length_s = 20").replace(
    f"round_s = {storage.ROUND_S}", "round_s = 10"
)


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    try:
        main(["storage", *map(str, words), "--json"])
        code: object = 0
    except SystemExit as stop:
        code = stop.code
    # the node in this process logs to the same stdout
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    return int(code or 0), json.loads(lines[-1]) if lines else {}  # type: ignore[call-overload]


def test_an_uploaded_object_is_reported_retained_and_rechecked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        rclone = storage._rclone()
    except EnvironmentProblem:
        pytest.skip("rclone is not installed")
    monkeypatch.setattr(storage, "PROFILE", "2/4")
    (tmp_path / "network.toml").write_text(TOML)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "Ötztal.jpg").write_bytes(os.urandom(SIZE))
    file, processes = tmp_path / "it.report", []
    with LiveNode(Node(load(tmp_path / "network.toml", {})), close_epochs=True) as live:
        try:
            disks = [storage._start_disk(live.url, tmp_path, number) for number in range(4)]
            processes += [disk.process for disk in disks]
            storage._wait_for_disks(live.url, disks)
            gateway, [remote] = storage._start_gateway(live, tmp_path)
            processes.append(gateway)
            storage._call(rclone, "copy", str(tmp_path / "photos"), remote)
            code, quoted = call(capsys, "quote", SIZE, "--profile", "2/4", "--network", live.url)
            assert (code, quoted["providers"], quoted["prices_micro_usd"]["storage"]) == (0, 4, 1_000_000_000)
            words = ("photos/Ötztal.jpg", "--dir", tmp_path / "gateway", "--network", live.url, "--out", file)
            store = live.node.store
            for _ in range(6):
                seen = store.latest
                wait_until(lambda seen=seen: store.latest > seen, f"epoch {seen + 1}", timeout_s=60)
                code, body = call(capsys, "report", *words)
                if body.get("state") == "retained":
                    break
            assert (code, body["state"]) == (0, "retained")
            assert body["report"]["stored_bytes"] == quoted["stored_bytes"]
            assert {share["device"] for share in body["report"]["segments"][0]["shares"]} == {d.device for d in disks}
            assert body["reachable"] == {body["report"]["segments"][0]["segment"]: 4}
            assert call(capsys, "report", "--verify", file, "--network", live.url) == (0, body)
        finally:
            storage._end(processes)
        sealed = live.node.layout.sealed
    assert call(capsys, "report", "--verify", file, "--epochs", sealed) == (0, body)
