"""`fieldstone simulate` from outside: table, JSON, files, A/B, from a network, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fieldstone.cli import main
from tests.economy.experiments.conftest import SMALL
from tests.epoch.conftest import SmallNetwork

QUICK = ("--runs", 4, "--no-stress", "--no-sensitivity")


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    try:
        main(["simulate", *(str(word) for word in words)])
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_founder_s_first_command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything that was promised is printed, utility-only beside, and the report lies where it says."""
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "starter", "--runs", 5)
    assert code == 0
    for words in (
        "collapse probability", "utility only", "tipping point", "cover costs and wear", "subsidy ratio", "payback",
        "treasury would have lasted", "demand −70 %", "stale oracle", "Its size hangs most on",
    ):  # fmt: skip
        assert words in out
    folder = tmp_path / "simulation-starter"
    assert {path.name for path in folder.iterdir()} == {"report.html", "summary.json", "runs.parquet"}
    assert "simulation-starter/report.html" in out


def test_json_writes_no_files_unless_asked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, SMALL, *QUICK, "--seed", 3, "--json")
    body = json.loads(out)
    assert (code, body["seed"], body["runs"]) == (0, 3, 4)
    assert list(tmp_path.iterdir()) == []
    assert err == ""
    again = run(capsys, SMALL, *QUICK, "--seed", 3, "--json", "--out", "kept")[1]
    assert again == out
    assert (tmp_path / "kept" / "summary.json").read_text(encoding="utf-8") == out


def test_two_policies_under_the_same_weather(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "starter", "--against", "fixed-emission", *QUICK, "--out", tmp_path)
    assert code == 0
    assert "A starter against B fixed-emission" in out
    assert (tmp_path / "runs-against.parquet").exists()
    body = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert body["against"]["scenario"]["name"] == "fixed-emission"


def test_from_a_network(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    network = SmallNetwork(tmp_path)
    network.pay(0, 3_000_000)
    network.run_hours(6)
    network.close()
    network.journal.close()
    code, out, _ = run(capsys, "--from-network", tmp_path, *QUICK, "--out", tmp_path / "out")
    assert code == 0
    assert "from sealed epochs 1 to 1 of test" in out
    assert "assumed:" in out and "what the hardware costs" in out
    body = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert {"measured", "assumed", "warnings"} <= set(body["network"])


def test_scenarios_are_listed_and_printed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "--list")
    assert code == 0 and "starter" in out and "fixed-emission" in out
    assert set(json.loads(run(capsys, "--list", "--json")[1])) == {"starter", "fixed-emission"}
    (tmp_path / "mine.toml").write_text(run(capsys, "--write", "starter")[1], encoding="utf-8")
    assert run(capsys, tmp_path / "mine.toml", *QUICK, "--json")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "name a scenario file"),
        (("unheard-of",), "there are fixed-emission, starter"),
        (("absent.toml",), "no such file"),
        (("starter", "--runs", 0), "between 1 and"),
        (("starter", "--runs", 10**9), "between 1 and"),
        (("starter", "--seed", -1), "--seed must lie"),
        (("starter", "--against", SMALL), "same months"),
        (("--write", "unheard-of"), "there are fixed-emission, starter"),
        (("--from-network", "/nonexistent"), "holds no network.toml"),
    ],
)
def test_bad_calls_end_with_2(capsys: pytest.CaptureFixture[str], words: tuple[object, ...], message: str) -> None:
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())


def test_a_mistake_in_a_file_is_named_with_its_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(SMALL.read_text(encoding="utf-8").replace("capex_usd = 120", "capex_usd = -120"), encoding="utf-8")
    code, _, err = run(capsys, file)
    assert code == 2
    assert "mine.toml:32: cohorts[1].capex_usd: must not be negative" in err


def test_the_back_test_stands_alone_and_in_a_report(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "--backtest")
    assert code == 0 and "bars met" in out
    assert run(capsys, SMALL, *QUICK, "--backtest", "--out", tmp_path)[0] == 0
    assert "How far to trust the model" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["backtest"]
