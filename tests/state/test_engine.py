"""The state database opens safely, keeps its promises about durability, and refuses what it cannot be."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from fieldstone.errors import EnvironmentProblem, Retryable, UsageError
from fieldstone.state import engine as engine_module
from fieldstone.state import open_state, reading, writing
from fieldstone.state.schema import counter, ledger_account


def test_sqlite_is_durable_and_checks_references(tmp_path: Path) -> None:
    engine = open_state(tmp_path / "deep" / "state.sqlite")
    with reading(engine) as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.execute(
            text(
                "INSERT INTO ledger_posting (transaction_id, line, account_id, amount_micro_usd) VALUES (9, 0, 'x', 1)"
            )
        )


def test_only_the_owner_may_read_the_file(tmp_path: Path) -> None:
    open_state(tmp_path / "state.sqlite")
    assert stat.S_IMODE((tmp_path / "state.sqlite").stat().st_mode) == 0o600


def test_an_exception_rolls_everything_back(tmp_path: Path) -> None:
    engine = open_state(tmp_path / "state.sqlite")
    with pytest.raises(RuntimeError), writing(engine) as connection:
        connection.execute(counter.insert().values(name="a", value=1))
        raise RuntimeError
    with reading(engine) as connection:
        assert connection.execute(select(counter)).all() == []


def test_what_a_writer_read_cannot_change_before_it_writes(tmp_path: Path) -> None:
    engine = open_state(tmp_path / "state.sqlite")
    with writing(engine) as connection:
        connection.execute(counter.insert().values(name="n", value=0))

    def raise_by_one() -> None:
        for _ in range(25):
            with writing(engine) as connection:
                value = connection.execute(select(counter.c.value)).scalar_one()
                connection.execute(counter.update().values(value=value + 1))

    threads = [threading.Thread(target=raise_by_one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(engine) as connection:
        assert connection.execute(select(counter.c.value)).scalar_one() == 100


def test_a_busy_database_is_retryable_and_readers_do_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "BUSY_TIMEOUT_S", 0.05)
    engine = open_state(tmp_path / "state.sqlite")
    with writing(engine) as connection:
        connection.execute(counter.insert().values(name="n", value=0))
        with reading(engine) as other:
            assert other.execute(select(counter)).all() == []
        with pytest.raises(Retryable, match="locked"), writing(engine):
            pass


def test_the_database_itself_refuses_an_overdrawn_customer(tmp_path: Path) -> None:
    engine = open_state(tmp_path / "state.sqlite")
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.execute(ledger_account.insert().values(id="customer:a", kind="customer", balance_micro_usd=-1))


@pytest.mark.parametrize("url", ["mysql://host/db", "sqlite://", "sqlite:///:memory:", "nonsense://", "a b://x"])
def test_an_unusable_url_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError):
        open_state(url)


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match=str(tmp_path)):
        open_state(tmp_path)
