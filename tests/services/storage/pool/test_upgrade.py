"""Tables of a part: made new, brought up step by step, all or nothing, and left alone when they are newer."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Column, Connection, MetaData, Table, Text, inspect, select, text

from fieldstone.errors import EnvironmentProblem
from fieldstone.services.storage.catalog.schema import SCHEMA as CATALOGUE
from fieldstone.services.storage.pool.tables import SCHEMA as POOL
from fieldstone.services.storage.pool.upgrade import Schema, upgrade
from fieldstone.state.engine import connect_state

METADATA = MetaData()
STATE = Table("part_state", METADATA, Column("name", Text, primary_key=True), Column("value", Text))
FIRST = Schema("the part", METADATA, STATE, 1, 7, first={"other": 5})


def column(name: str):  # type: ignore[no-untyped-def]
    def add(connection: Connection) -> None:
        connection.execute(text(f"ALTER TABLE part_state ADD COLUMN {name} TEXT"))

    return add


def test_tables_are_made_and_brought_up_step_by_step(database_url: str) -> None:
    engine = connect_state(database_url)
    third = replace(FIRST, version=3, steps={1: column("one"), 2: column("two")})
    for _ in range(2):
        upgrade(engine, FIRST)
    for _ in range(2):
        upgrade(engine, third)
    with engine.connect() as connection:
        assert [column["name"] for column in inspect(connection).get_columns("part_state")][2:] == ["one", "two"]
        rows = connection.execute(select(STATE.c.name, STATE.c.value)).all()
    assert {name: int(value) for name, value in rows} == {"schema": 3, "other": 5}
    with pytest.raises(EnvironmentProblem, match="the part has schema 3, newer than this program's 1"):
        upgrade(engine, FIRST)
    engine.dispose()


def test_a_step_that_fails_leaves_everything_as_it_was(database_url: str) -> None:
    def broken(connection: Connection) -> None:
        raise ValueError("no")

    engine = connect_state(database_url)
    upgrade(engine, FIRST)
    with pytest.raises(ValueError, match="no"):
        upgrade(engine, replace(FIRST, version=3, steps={1: column("one"), 2: broken}))
    with engine.connect() as connection:
        assert len(inspect(connection).get_columns("part_state")) == 2
    upgrade(engine, FIRST)
    engine.dispose()


@pytest.mark.parametrize("schema", [CATALOGUE, POOL], ids=["catalogue", "pool"])
def test_every_version_has_its_step(schema: Schema) -> None:
    assert sorted(schema.steps) == list(range(1, schema.version))
    assert CATALOGUE.lock_id != POOL.lock_id
