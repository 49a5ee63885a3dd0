"""Databases for the catalogue's and the gateway's tests: SQLite always, PostgreSQL where it is installed."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from fieldstone.state.engine import connect_state
from tests.services.storage import postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    if postgres.programs() is None:
        pytest.skip("PostgreSQL's initdb is not installed")
    pytest.importorskip("psycopg")
    with postgres.server() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """Return the URL of a new, empty schema: a database each would be a thousand files each."""
    name = f"t{secrets.token_hex(6)}"
    engine = connect_state(f"{postgres_server}/postgres")
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {name}"))
    engine.dispose()
    return f"{postgres_server}/postgres?options=-csearch_path%3D{name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL or path of an empty database, of each kind in turn."""
    if request.param == "sqlite":
        return str(tmp_path / "gateway.db")
    url: str = request.getfixturevalue("postgres_url")
    return url
