from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fieldstone.cli import agent as agent_verb
from fieldstone.cli import device as device_verb
from fieldstone.errors import CheckFailed, FieldstoneError, Rejected, Retryable, UsageError
from tests.agent.doors import Door

_RUNNER = CliRunner()


def _run(app: Any, *arguments: object) -> Any:
    """Run a verb; return its JSON. Raises what the verb raises, as the main wrapper would get it."""
    result = _RUNNER.invoke(app, [*map(str, arguments), "--json"])
    if result.exception is not None and isinstance(result.exception, FieldstoneError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def _device(*arguments: object) -> Any:
    return _run(device_verb.app, *arguments)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    paths = {name: tmp_path / f"{name}.json" for name in ("key", "new", "third", "wallet")}
    for name in ("key", "new", "third"):
        _device("new", paths[name], "--algorithm", {"key": "Ed25519", "new": "es256", "third": "ES256K"}[name])
    _device("wallet", paths["wallet"])
    return paths


_PLACE = ("--lat", 52.5, "--lon", 13.4, "--elevation", 34)


def test_the_life_of_a_device(door: Door, files: dict[str, Path], tmp_path: Path) -> None:
    node = ("--node", door.url)
    signed = ("--wallet", files["wallet"], *node)
    name = _device("id", files["key"])["device"]
    with pytest.raises(UsageError, match="nothing there"):
        _device("show", name, *node)
    answer = _device("enrol", "--key", files["key"], "--model", "WS-1", *_PLACE, *signed)
    assert answer["device"] == name
    assert answer["position"] == 1
    with pytest.raises(Rejected, match="ALREADY_ENROLLED"):
        _device("enrol", "--key", files["key"], "--model", "WS-1", *_PLACE, *signed)

    rows = tmp_path / "r.csv"
    start = door.journal._clock.now_ms() - 3_600_000
    rows.write_text("t_ms,temperature_c\n" + "".join(f"{start + n * 1000},{n / 10}\n" for n in range(100)))
    sent = _run(agent_verb.app, "send", rows, "--key", files["key"], "--per-report", 30, *node)
    assert (sent["readings"], sent["accepted"], sent["waiting"]) == (100, 4, 0)
    assert _run(agent_verb.app, "status", "--key", files["key"])["accepted"] == 4

    rotated = _device("rotate", "--key", files["key"], "--new-key", files["new"], *signed)
    assert rotated["device"] == name
    assert _device("show", name, *node)["nonce"] == 2
    with pytest.raises(CheckFailed, match="DEVICE_REVOKED"):
        _run(agent_verb.app, "send", rows, "--key", files["key"], *node)
    sent = _run(agent_verb.app, "send", rows, "--key", files["new"], *node)
    assert sent["accepted"] == 2
    with pytest.raises(Rejected, match="MOVE_TOO_SOON"):
        _device("move", "--key", files["new"], "--device", name, *_PLACE, *signed)
    noted = _device("rotate", "--lost", "--device", name, "--new-key", files["third"], *signed)
    assert noted["device"] == name
    _device("revoke", name, *signed)
    assert _device("list", *node)[0]["revoked_ms"] is not None


def test_mistakes_are_named(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none of"):
        _device("new", tmp_path / "x", "--algorithm", "RSA")
    with pytest.raises(UsageError, match="never overwritten"):
        _device("new", files["key"])
    with pytest.raises(Retryable, match="does not answer"):
        _device(
            "enrol",
            "--key",
            files["key"],
            "--wallet",
            files["wallet"],
            "--model",
            "X",
            *_PLACE,
            "--node",
            "http://127.0.0.1:1",
        )
    with pytest.raises(UsageError, match="--lost"):
        _device("rotate", "--wallet", files["wallet"], "--new-key", files["new"], "--lost")
    with pytest.raises(UsageError, match="not a fieldstone-device-key"):
        _device("id", files["wallet"])
    for listen, protocol in (("nowhere", "ecowitt"), ("127.0.0.1:99999", "ecowitt"), ("127.0.0.1:0", "smoke-signals")):
        result = _RUNNER.invoke(
            agent_verb.app, ["run", "--key", str(files["key"]), "--listen", listen, "--protocol", protocol]
        )
        assert isinstance(result.exception, UsageError)


def test_undelivered_reports_are_a_reason_to_come_back(door: Door, files: dict[str, Path], tmp_path: Path) -> None:
    rows = tmp_path / "r.csv"
    rows.write_text(f"t_ms,rain_mm\n{door.journal._clock.now_ms() - 1000},0.2\n")
    with pytest.raises(Retryable, match="UNKNOWN_DEVICE"):
        _run(agent_verb.app, "send", rows, "--key", files["key"], "--node", door.url, "--wait", 0)
    assert _run(agent_verb.app, "status", "--key", files["key"])["queued"] == 1
