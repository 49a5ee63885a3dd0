"""Counters of refusals: exact, durable, bounded."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from fieldstone.clock import SetClock
from fieldstone.journal import Journal, RejectionRow, rejections
from fieldstone.units import HOUR_MS


def test_counts_by_hour_reason_and_subject_survive_a_restart(tmp_path: Path) -> None:
    clock = SetClock(5 * HOUR_MS + 10)
    with Journal.open(tmp_path / "j.sqlite", clock=clock) as journal:
        journal.count_rejection("REPLAYED", "a")
        journal.flush_rejections()
        clock.set(5 * HOUR_MS + 20)
        journal.count_rejection("REPLAYED", "a", count=2)
        journal.count_rejection("TIME_STALE", "a")
        clock.set(6 * HOUR_MS)
        journal.count_rejection("REPLAYED", "b")
    with Journal.open(tmp_path / "j.sqlite", clock=clock, read_only=True) as journal:
        assert journal.rejections(0, 10 * HOUR_MS) == [
            RejectionRow(5 * HOUR_MS, "REPLAYED", "a", 3, 5 * HOUR_MS + 20),
            RejectionRow(5 * HOUR_MS, "TIME_STALE", "a", 1, 5 * HOUR_MS + 20),
            RejectionRow(6 * HOUR_MS, "REPLAYED", "b", 1, 6 * HOUR_MS),
        ]
        assert [row.subject for row in journal.rejections(6 * HOUR_MS, 7 * HOUR_MS)] == ["b"]


def test_made_up_subjects_cannot_grow_the_table_or_push_out_real_ones(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j.sqlite", clock=SetClock(0)) as journal:
        for number in range(3_000):
            journal.count_rejection("UNKNOWN_DEVICE", f"made-up-{number}", known=False)
        journal.count_rejection("UNKNOWN_DEVICE", "did:key:zReal")
        rows = {row.subject: row.count for row in journal.rejections(0, HOUR_MS)}
    assert len(rows) == rejections.MAX_UNKNOWN + 2
    assert rows[rejections.OTHER] == 3_000 - rejections.MAX_UNKNOWN
    assert rows["did:key:zReal"] == 1
    assert sum(rows.values()) == 3_001


def test_long_subjects_are_cut(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j.sqlite", clock=SetClock(0)) as journal:
        journal.count_rejection("BAD_TEXT", "x" * 10_000)
        assert [len(row.subject) for row in journal.rejections(0, 1)] == [rejections.MAX_SUBJECT_LENGTH]


def test_old_hours_are_dropped(tmp_path: Path) -> None:
    clock = SetClock(0)
    with Journal.open(tmp_path / "j.sqlite", clock=clock) as journal:
        journal.count_rejection("REPLAYED", "a")
        journal.flush_rejections()
        clock.set((rejections.KEEP_HOURS + 2) * HOUR_MS)
        journal.count_rejection("REPLAYED", "b")
        assert [row.subject for row in journal.rejections(0, clock.now_ms() + 1)] == ["b"]


def test_a_locked_side_file_loses_no_count(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j.sqlite", clock=SetClock(0)) as journal:
        journal.count_rejection("REPLAYED", "a")
        journal.flush_rejections()
        journal._side._connection.execute("PRAGMA busy_timeout = 0")  # type: ignore[union-attr]
        blocker = sqlite3.connect(tmp_path / "j.side.sqlite", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        journal.count_rejection("REPLAYED", "a")
        journal.flush_rejections()
        blocker.execute("COMMIT")
        blocker.close()
        assert [row.count for row in journal.rejections(0, 1)] == [2]
