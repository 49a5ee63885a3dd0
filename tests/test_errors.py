from __future__ import annotations

import inspect

import pytest

from fieldstone import errors
from fieldstone.errors import ConfigError, EnvironmentProblem, FieldstoneError, Rejected, Retryable, UsageError
from fieldstone.reasons import REASONS


def test_the_tree_at_the_top_names_every_error() -> None:
    classes = [
        value
        for name, value in inspect.getmembers(errors, inspect.isclass)
        if value.__module__ == "fieldstone.errors" and name != "FieldstoneError"
    ]
    assert len(classes) >= 7
    for value in classes:
        assert issubclass(value, FieldstoneError)
        assert value.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize(
    ("error", "code"),
    [(UsageError("x"), 2), (ConfigError("x"), 2), (EnvironmentProblem("x"), 3), (Retryable("x"), 3)],
)
def test_exit_codes(error: FieldstoneError, code: int) -> None:
    assert error.exit_code == code


def test_a_rejection_says_what_which_and_what_to_do() -> None:
    error = Rejected(REASONS["TIME_STALE"], "did:key:z1", "8 days old")
    assert str(error) == f"TIME_STALE (did:key:z1): 8 days old. {REASONS['TIME_STALE'].remedy}"
    assert str(Rejected(REASONS["BAD_CBOR"])) == f"BAD_CBOR. {REASONS['BAD_CBOR'].remedy}"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConfigError("is missing", key="a.b", line=3), "network.toml:3: a.b: is missing"),
        (ConfigError("not TOML", line=1, path="x.toml"), "x.toml:1: not TOML"),
        (ConfigError("no such file"), "network.toml: no such file"),
    ],
)
def test_a_config_error_names_file_line_and_key(error: ConfigError, text: str) -> None:
    assert str(error) == text
