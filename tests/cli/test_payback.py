"""`fieldstone payback` from outside: table, JSON, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fieldstone.cli import main


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    try:
        main(["payback", *(str(word) for word in words)])
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_table_always_shows_zero_growth_and_utility_only(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--hardware-usd", 300, "--revenue-usd-month", 4, "--paths", 50)
    assert code == 0
    assert "token price zero growth" in out and "utility only" in out and "break-even token price" in out


def test_json_under_a_network_s_own_policy(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "network.toml"
    file.write_text('[network]\nnetwork_id = "n"\n[rewards]\ntake_ppm = 500_000\ntoken_price_usd = "2"\n')
    code, out, _ = run(
        capsys, "--hardware-usd", 300, "--revenue-usd-month", 10, "--network", file, "--json", "--paths", 50
    )
    body = json.loads(out)
    assert code == 0
    assert body["token_price_usd"] == 2
    assert body["sales_first_month_usd"] == 5
    assert [one["name"] for one in body["scenarios"]] == ["price_paths", "zero_growth", "price_down_80", "utility_only"]
    assert len(body["policy_hash"]) == 64 and body["inputs"]["seed"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--hardware-usd", "-5"], "hardware_usd"),
        (["--hardware-usd", "nan"], "finite"),
        (["--hardware-usd", "300", "--service", "storage"], "no service"),
        (["--hardware-usd", "300", "--quality", "2"], "quality"),
        (["--hardware-usd", "300", "--revenue-usd-month", "5", "--network-revenue-usd-month", "4"], "below"),
        (["--hardware-usd", "300", "--network", "/nonexistent/network.toml"], "no such file"),
        ([], "hardware-usd"),
    ],
)
def test_bad_words_exit_2(capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "") and message in err
