"""Logs go where stderr is now."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

import pytest
import structlog

from fieldstone.node.logs import configure


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_a_stderr_that_was_replaced_and_closed_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = io.StringIO(), io.StringIO()
    log = structlog.get_logger("test")
    monkeypatch.setattr(sys, "stderr", first)
    configure()
    log.info("one")
    monkeypatch.setattr(sys, "stderr", second)
    first_text = first.getvalue()
    first.close()
    log.warning("two", where="there")
    assert '"event": "one"' in first_text
    assert '"event": "two"' in second.getvalue() and '"where": "there"' in second.getvalue()


def test_what_is_below_the_level_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    told = io.StringIO()
    monkeypatch.setattr(sys, "stderr", told)
    configure("warning", as_json=True)
    structlog.get_logger("test").info("quiet")
    structlog.get_logger("test").warning("loud")
    assert "quiet" not in told.getvalue() and "loud" in told.getvalue()
