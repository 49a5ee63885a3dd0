"""Bring a part's tables to this program's version: create them, or go step by step, all in one transaction or none.

The pool and the catalogue share a database and are upgraded apart: each keeps its version in a table of its own, as the
row `schema`. `steps[v]` leads from version v to v + 1; a step must be able to run on both databases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine, MetaData, Table, inspect, select, text

from fieldstone.errors import EnvironmentProblem

Step = Callable[[Connection], None]


@dataclass(frozen=True)
class Schema:
    """One part's tables. `what`: in messages. `state`: the table (name, value) with the row `schema`; `first`: other rows
    that it begins with. `lock_id`: any constant of its own: two gateways that start together must not both upgrade."""

    what: str
    metadata: MetaData
    state: Table
    version: int
    lock_id: int
    steps: Mapping[int, Step] = field(default_factory=dict)
    first: Mapping[str, int] = field(default_factory=dict)


def upgrade(engine: Engine, schema: Schema) -> None:
    """Create the tables or bring them up to date. Raises EnvironmentProblem for those of a newer program."""
    state = schema.state
    version = state.c.name == "schema"
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": schema.lock_id})
        if not inspect(connection).has_table(state.name):
            schema.metadata.create_all(connection)
            rows = {**schema.first, "schema": schema.version}
            connection.execute(state.insert(), [{"name": name, "value": value} for name, value in rows.items()])
        found = int(connection.execute(select(state.c.value).where(version)).scalar_one())
        if found > schema.version:
            raise EnvironmentProblem(
                f"{schema.what} has schema {found}, newer than this program's {schema.version}; install the version of "
                f"fieldstone that wrote it, or restore an older backup"
            )
        for step in range(found, schema.version):
            schema.steps[step](connection)
        if found < schema.version:
            connection.execute(state.update().where(version).values(value=schema.version))
