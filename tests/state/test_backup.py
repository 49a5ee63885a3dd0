"""A backup taken under load opens, balances, and never holds half a transaction."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from fieldstone.errors import EnvironmentProblem, UsageError
from fieldstone.ledger import Ledger, Line, Transaction
from fieldstone.state import backup_state, open_state


def test_a_backup_under_load_is_consistent(tmp_path: Path) -> None:
    engine = open_state(tmp_path / "state.sqlite")
    ledger = Ledger(engine)
    stop = threading.Event()

    def keep_posting() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            lines = (Line("external:fiat", -n), Line("customer:a", n))
            ledger.post(Transaction(f"topup:{n}", "topup", str(n), n, lines))

    thread = threading.Thread(target=keep_posting)
    thread.start()
    try:
        for copy in range(3):
            backup_state(engine, tmp_path / "backups" / f"{copy}.sqlite")
    finally:
        stop.set()
        thread.join()
    sizes = []
    for copy in range(3):
        restored = Ledger(open_state(tmp_path / "backups" / f"{copy}.sqlite"))
        assert restored.trial_balance().faults == ()
        sizes.append(len(restored.transactions()))
    assert sizes == sorted(sizes)
    assert not list((tmp_path / "backups").glob("*.partial"))


def test_a_backup_never_overwrites(tmp_path: Path) -> None:
    engine = open_state(tmp_path / "state.sqlite")
    (tmp_path / "old.sqlite").write_text("precious")
    with pytest.raises(UsageError, match="exists"):
        backup_state(engine, tmp_path / "old.sqlite")
    assert (tmp_path / "old.sqlite").read_text() == "precious"


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    engine = open_state(tmp_path / "state.sqlite")
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match="could not be copied"):
        backup_state(engine, tmp_path / "file" / "copy.sqlite")
