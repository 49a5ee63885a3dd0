"""`fieldstone lab sensing`."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from fieldstone.cli.lab import app
from fieldstone.errors import UsageError


def test_attacks_are_listed() -> None:
    result = CliRunner().invoke(app, ["sensing", "--list", "--json"])
    assert result.exit_code == 0 and "copied_neighbour" in json.loads(result.stdout)


def test_a_small_scoreboard_as_json() -> None:
    call = ["sensing", "--seeds", "1", "--stations", "24", "--attack", "indoors", "--json"]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output
    board = json.loads(result.stdout)
    assert board["seeds"] == 1 and [row["label"] for row in board["attacks"]] == ["indoors"]


def test_an_unknown_attack_names_the_way_out() -> None:
    with pytest.raises(UsageError, match="--list"):
        CliRunner().invoke(app, ["sensing", "--attack", "magic"], catch_exceptions=False)
