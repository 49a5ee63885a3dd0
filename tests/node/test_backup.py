"""Back up a network that is running and taking reports; restore it; nothing that was acknowledged before is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fieldstone.clock import SetClock
from fieldstone.config import load
from fieldstone.epoch.replay import replay
from fieldstone.epoch.store import EpochStore
from fieldstone.errors import CheckFailed, UsageError
from fieldstone.journal import Journal
from fieldstone.node.backup import backup, restore
from fieldstone.node.node import Node

from .conftest import Network


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "network"
    folder.mkdir()
    return folder


def test_backup_of_a_running_network_restores_and_goes_on(source: Path, tmp_path: Path) -> None:
    network = Network(source, stations=2)
    network.hours()
    network.live.close_epoch()
    network.live.node.settle()
    network.hours(2)
    head = network.live.node.journal.head
    command = [sys.executable, "-m", "fieldstone", "backup", str(tmp_path / "copy"), "--at", str(source), "--with-keys"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    network.hours(1)  # it kept running
    network.close()

    summary = restore(tmp_path / "copy", tmp_path / "restored", keys=None)
    assert summary["journal_head"] == head and summary["epochs"] == 1
    assert replay(EpochStore(tmp_path / "restored" / "data" / "sealed"), 1).agrees
    clock = SetClock(network.clock.now_ms())
    node = Node(load(tmp_path / "restored" / "network.toml", {}), clock)
    assert node.chain.live_epoch() == 1
    clock.set(node.state.next_end_ms)
    sealed = node.close_due()
    assert sealed is not None and sealed.manifest.counts["report"] == 4
    node.settle()
    assert node.chain.live_epoch() == 2
    node.close()


def test_a_damaged_copy_is_refused(source: Path, tmp_path: Path) -> None:
    network = Network(source, stations=1)
    network.hours()
    network.live.close_epoch()
    network.close()
    backup(load(source / "network.toml", {}), tmp_path / "copy", with_keys=True)
    victim = tmp_path / "copy" / "data" / "sealed" / "epoch=1" / "verdicts.parquet"
    victim.write_bytes(victim.read_bytes()[:-1])
    with pytest.raises(CheckFailed, match="verdicts"):
        restore(tmp_path / "copy", tmp_path / "restored", keys=None)


def test_keys_stay_at_home_unless_asked_for(source: Path, tmp_path: Path) -> None:
    network = Network(source, stations=1)
    network.close()
    backup(load(source / "network.toml", {}), tmp_path / "copy", with_keys=False)
    assert not list((tmp_path / "copy").rglob("*.key")) and not list((tmp_path / "copy").rglob("*.wallet"))
    with pytest.raises(UsageError, match="keys"):
        restore(tmp_path / "copy", tmp_path / "restored", keys=None)
    restore(tmp_path / "copy", tmp_path / "again", keys=source / "data" / "keys")
    journal = Journal.open(tmp_path / "again" / "data" / "journal.db", clock=SetClock(0))
    assert journal.head >= 1
    journal.close()


def test_no_copy_over_something_else(source: Path, tmp_path: Path) -> None:
    network = Network(source, stations=1)
    network.close()
    with pytest.raises(UsageError, match="not empty"):
        backup(load(source / "network.toml", {}), source, with_keys=False)
    with pytest.raises(UsageError, match="no backup"):
        restore(source, tmp_path / "x", keys=None)
