"""`fieldstone storage quote` as a user runs it: with a network's prices, and without one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fieldstone.cli import main
from tests.services.storage import sealed_object

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.delenv("FIELDSTONE_NODE", raising=False)

    def call(*words: object) -> tuple[int, str, str]:
        try:
            main(["storage", "quote", *map(str, words)])
            code: object = 0
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        return int(code or 0), said.out, said.err  # type: ignore[call-overload]

    return call


def test_a_networks_prices_and_profile_are_taken(run: Run, tmp_path: Path) -> None:
    """Twelve providers: a gateway would choose 6 of 12."""
    (tmp_path / "none").mkdir()
    with sealed_object.node(tmp_path / "none") as url:
        code, out, _ = run("1GiB", "--network", url, "--months", 2, "--egress", "1GiB", "--json")
        wide = run("1GiB", "--network", url, "--profile", "20/40")
    body = json.loads(out)
    assert (code, body["k"], body["n"], body["prices_of"]) == (0, 6, 12, url)
    assert body["prices_micro_usd"] == {"storage": 3_000, "egress": 7_000}
    assert body["storage_micro_usd"] == -(-body["stored_bytes"] * 2 * 3_000 // 2**30) == 12_006
    assert body["total_micro_usd"] == 12_006 + body["egress_micro_usd"] == 12_006 + 7_004
    assert wide[0] == 0 and "lists 12 providers" in wide[2]


def test_without_a_network_it_says_whose_prices_these_are(run: Run) -> None:
    code, out, _ = run("1TiB")
    assert code == 0
    assert "defaults of the software" in out and "20 of 40" in out and "$4.09" in out


def test_paying_once_is_shown_with_everything_it_rests_on(run: Run) -> None:
    code, out, _ = run("100GiB", "--permanent", "--decline", "1.5", "--seed", 7)
    assert code == 0
    for words in ("for ever: $", "1.5 % a year (assumed)", "seed 7", "costs fall 0 %", "At exhaustion", "expansion"):
        assert words in out, words


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (("much",), 2, "is no size"),
        (("9PiB",), 2, "an object has 0 to"),
        (("1GB", "--profile", "9/4"), 2, "1 ≤ k ≤ n"),
        (("1GB", "--profile", "x"), 2, "no profile"),
        (("1GB", "--permanent", "--decline", "0"), 2, "no finite price"),
        (("1GB", "--permanent", "--decline", "100"), 2, "--decline 100"),
        (("1GB", "--permanent", "--purchasing-power", "0"), 2, "--purchasing-power 0"),
        (("1GB", "--months", "-1"), 2, "months"),
        (("1GB", "--network", "http://127.0.0.1:1"), 3, "does not answer"),
        (("1GB", "--network", "http://[::"), 2, "is not the address of a node"),
        (("1GB", "--network", "foo"), 2, "is not the address of a node"),
        (("1GB", "--permanent", "--years", "1000", "--fund-return", "-99"), 2, "no fund lasts 1000 years"),
    ],
)
def test_mistakes_are_named(run: Run, words: tuple[str, ...], code: int, hint: str) -> None:
    found, _, err = run(*words)
    assert (found, hint in err) == (code, True), err
    assert "Traceback" not in err and "internal error" not in err
