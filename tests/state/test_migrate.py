"""Migrations build what `schema` says, keep old data, and refuse a newer database."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from fieldstone.errors import EnvironmentProblem
from fieldstone.ledger import Ledger, Line, Transaction
from fieldstone.state import open_state, reading, revision_of, upgrade, writing
from fieldstone.state.engine import connect_state
from fieldstone.state.migrate import MIGRATIONS
from fieldstone.state.schema import HEAD, REVISIONS, ledger_posting, metadata, order


def test_migrations_build_exactly_the_schema(tmp_path: Path) -> None:
    engine = open_state(tmp_path / "state.sqlite")
    with reading(engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert revision_of(connection) == HEAD


def test_the_list_of_revisions_is_the_shipped_one() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    shipped = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(shipped)) == REVISIONS


def test_data_of_the_oldest_revision_survives_the_upgrade(tmp_path: Path) -> None:
    engine = connect_state(tmp_path / "state.sqlite")
    upgrade(engine, REVISIONS[0])
    lines = (Line("external:fiat", -700), Line("customer:a", 700))
    Ledger(engine).post(Transaction("topup:1", "topup", "1", 5, lines))
    engine.dispose()

    engine = open_state(tmp_path / "state.sqlite")
    ledger = Ledger(engine)
    assert ledger.balance("customer:a") == 700
    assert ledger.transactions() == [Transaction("topup:1", "topup", "1", 5, lines)]
    assert ledger.trial_balance().faults == ()
    with reading(engine) as connection:
        assert revision_of(connection) == HEAD
        assert connection.execute(select(func.count()).select_from(order)).scalar_one() == 0
    with pytest.raises(IntegrityError, match="append-only"), writing(engine) as connection:
        connection.execute(ledger_posting.delete())


def test_a_failed_step_leaves_the_old_state_whole(tmp_path: Path) -> None:
    engine = connect_state(tmp_path / "state.sqlite")
    upgrade(engine, REVISIONS[0])
    with writing(engine) as connection:
        # in the way of a later step: the upgrade must fail half way
        connection.execute(text("CREATE TABLE market_invoice (id TEXT)"))
    with pytest.raises(Exception, match="market_invoice"):
        upgrade(engine)
    with reading(engine) as connection:
        assert revision_of(connection) == REVISIONS[0]
        tables = connection.execute(text("SELECT name FROM sqlite_master WHERE name LIKE 'market_%'")).scalars().all()
    assert tables == ["market_invoice"]


def test_a_newer_schema_is_refused_with_what_to_do(tmp_path: Path) -> None:
    engine = open_state(tmp_path / "state.sqlite")
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(EnvironmentProblem, match=r"9999, newer than .* install"):
        open_state(tmp_path / "state.sqlite")


def test_the_steps_can_be_written_for_postgresql() -> None:
    config = Config(output_buffer=io.StringIO())
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["dialect"] = "postgresql"
    command.upgrade(config, "head", sql=True)
    sql = config.output_buffer.getvalue()  # type: ignore[attr-defined]
    assert "CREATE TRIGGER ledger_posting_append_only BEFORE UPDATE OR DELETE" in sql
    assert "BIGSERIAL" in sql
    for table in metadata.tables:
        assert f"CREATE TABLE {table} (" in sql
