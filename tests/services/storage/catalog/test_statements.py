"""Statements give the same rows and raise the same errors on both databases, past SQLAlchemy or through it."""

from __future__ import annotations

import pytest
from sqlalchemy import bindparam, delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError

from fieldstone.services.storage.catalog.schema import state
from fieldstone.services.storage.catalog.statements import Statement
from tests.services.storage.catalog.conftest import Catalogue

PUT = Statement(insert(state).returning(state.c.name), ["name", "value"])
GET = Statement(select(state.c.value, state.c.name).where(state.c.name == bindparam("which")).limit(1))
SET = Statement(update(state).where(state.c.name == bindparam("which")).values(value=bindparam("new")))
TAKE = Statement(delete(state).where(state.c.name == bindparam("which")).returning(state.c.value))


def test_rows_are_written_found_changed_and_taken(catalogue: Catalogue) -> None:
    def work(c: object) -> None:
        assert PUT.first(c, {"name": "leaf", "value": 7}) == ("leaf",)  # type: ignore[arg-type]
        SET.run(c, {"which": "leaf", "new": 8})  # type: ignore[arg-type]
        assert GET.first(c, {"which": "leaf"}) == (8, "leaf")  # type: ignore[arg-type]

    catalogue.do(work)
    assert catalogue.store.read_now(lambda c: GET.first(c, {"which": "leaf"})) == (8, "leaf")
    assert catalogue.do(lambda c: TAKE.first(c, {"which": "leaf"})) == (8,)
    assert catalogue.store.read_now(lambda c: GET.first(c, {"which": "leaf"})) is None


def test_what_fails_is_undone_with_its_transaction_and_says_what_sqlalchemy_says(catalogue: Catalogue) -> None:
    def twice(c: object) -> None:
        for _ in range(2):
            PUT.run(c, {"name": "leaf", "value": 1})  # type: ignore[arg-type]

    with pytest.raises(IntegrityError), catalogue.engine.begin() as connection:
        twice(connection)
    assert catalogue.store.read_now(lambda c: GET.first(c, {"which": "leaf"})) is None


def test_a_table_that_is_gone_is_an_operational_error(catalogue: Catalogue) -> None:
    if not catalogue.store.is_sqlite:
        pytest.skip("PostgreSQL has a class of its own for it")
    catalogue.do(lambda c: c.execute(text("DROP TABLE s3_state")))
    with pytest.raises(OperationalError, match="no such table"), catalogue.engine.begin() as connection:
        GET.first(connection, {"which": "leaf"})
