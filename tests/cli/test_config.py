from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fieldstone.cli import app
from fieldstone.cli.config import settings_in_force
from fieldstone.errors import ConfigError

TEXT = """\
[network]
network_id = "field"

[rewards]
take_ppm = 50_000

[services.sensing]
params = { "limits.grace" = 3 }

[node]
port = 9000
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "network.toml"
    path.write_text(TEXT)
    return path


def test_each_value_names_its_origin(file: Path) -> None:
    environ = {"FIELDSTONE_NODE_HOST": "0.0.0.0", "FIELDSTONE_REWARDS_TAKE_PPM": "1"}
    found = {setting.key: setting for setting in settings_in_force(file, environ)}
    assert (found["network.network_id"].value, found["network.network_id"].origin) == ("field", "network.toml:2")
    assert (found["rewards.take_ppm"].value, found["rewards.take_ppm"].origin) == (50_000, "network.toml:5")
    assert found["services.sensing.params"].origin == "network.toml:8"
    assert (found["node.port"].value, found["node.port"].origin) == (9000, "network.toml:11")
    assert (found["node.host"].value, found["node.host"].origin) == ("0.0.0.0", "environment FIELDSTONE_NODE_HOST")
    assert (found["node.workers"].value, found["node.workers"].origin) == (2, "default")
    assert found["rewards.take_ppm"].unit == "ppm of revenue"


def test_the_environment_wins_over_the_file_and_says_so(file: Path) -> None:
    found = {setting.key: setting for setting in settings_in_force(file, {"FIELDSTONE_NODE_PORT": "7"})}
    assert (found["node.port"].value, found["node.port"].origin) == (7, "environment FIELDSTONE_NODE_PORT")


def test_show_prints_lines_with_and_without_origin(file: Path) -> None:
    plain = CliRunner().invoke(app, ["config", "show", "--config", str(file)])
    assert plain.exit_code == 0, plain.output
    assert "rewards.take_ppm = 50000" in plain.stdout.splitlines()
    assert "settlement.treasury = not set" in plain.stdout.splitlines()
    with_origin = CliRunner().invoke(app, ["config", "show", "--origin", "--config", str(file)])
    line = next(line for line in with_origin.stdout.splitlines() if line.startswith("rewards.take_ppm"))
    assert line.split() == ["rewards.take_ppm", "50000", "network.toml:5"]


def test_json_has_every_setting_and_the_policy_hash(file: Path) -> None:
    result = CliRunner().invoke(app, ["config", "show", "--json", "--config", str(file)])
    shown = json.loads(result.stdout)
    assert len(shown["policy_hash"]) == 64
    assert {"key": "node.port", "value": 9000, "unit": "port", "origin": "network.toml:11"} in shown["settings"]


def test_a_broken_file_is_named(file: Path) -> None:
    file.write_text(TEXT + "colour = 1\n")
    with pytest.raises(ConfigError, match=r"node\.colour"):
        settings_in_force(file, {})
