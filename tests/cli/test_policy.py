"""`fieldstone policy` from outside: JSON on stdout, exit codes, no tracebacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fieldstone.cli import main
from fieldstone.economy.policies import POLICIES

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> tuple[int, str, str]:
        try:
            main([str(word) for word in words])
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_eval_prints_exact_integers(run: Run) -> None:
    code, out, _ = run("policy", "eval", "filecoin.simple_reward", "epoch=5000")
    assert code == 0
    assert out.strip() == '{"reward_atto": 36246341860983438171}'


def test_eval_of_the_names_others_rely_on(run: Run) -> None:
    calls = {
        ("filecoin.baseline_reward", "theta0=0", "theta1=340282366920938463463374607398434878123"): {"reward_atto"},
        ("helium.hip20", "year=3"): {"hnt"},
        ("helium.utility_score", "dc_usd=1", "onboarding_usd=2000", "vehnt=1"): {"score"},
        ("helium.hip147", "gb_per_day=40000", "hnt_price=2"): {"poc_usd", "data_usd"},
        ("render.emission", "month=1"): {"render"},
        ("akash.bme", "usd=1000", "price_mint=1.14", "price_settle=1.5"): {"burned_akt", "minted_akt", "net_akt"},
        ("arweave.inflation", "year=1"): {"ar"},
    }
    for words, outputs in calls.items():
        code, out, _ = run("policy", "eval", *words)
        assert code == 0 and outputs <= set(json.loads(out)), words


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["filecoin.simple_reward"], "missing epoch"),
        (["filecoin.simple_reward", "epoch"], "is not key=value"),
        (["filecoin.simple_reward", "=5"], "is not key=value"),
        (["filecoin.simple_reward", "epoch=1", "epoch=2"], "given twice"),
        (["filecoin.simple_reward", "epoch=-1"], "at least 0"),
        (["filecoin.simple_reward", "epoch=x"], "not a whole number"),
        (["filecoin.simple_reward", "epoch=1", "self=2"], "unknown key"),
        (["filecoin.simple_reward", "epoch=1", "policy=2"], "unknown key"),
    ],
)
def test_bad_keys_exit_2_with_the_usage(run: Run, words: list[str], message: str) -> None:
    code, out, err = run("policy", "eval", *words)
    assert (code, out) == (2, "")
    assert message in err and "usage: fieldstone policy eval filecoin.simple_reward epoch=…" in err


def test_an_unknown_policy_exits_2(run: Run) -> None:
    code, _, err = run("policy", "eval", "filecoin.reward", "epoch=1")
    assert code == 2 and "did you mean" in err


def test_list_shows_every_policy(run: Run) -> None:
    code, out, _ = run("policy", "list")
    assert code == 0 and all(name in out for name in POLICIES)
    listed = json.loads(run("policy", "list", "--json")[1])
    assert [policy["name"] for policy in listed] == list(POLICIES)
    assert all(policy["source"]["title"] and policy["source"]["locator"] for policy in listed)
    for policy in listed:
        words = [f"{key}={value}" for key, value in policy["example"].items()]
        code, out, _ = run("policy", "eval", policy["name"], *words)
        assert code == 0 and set(json.loads(out)) == {output["name"] for output in policy["outputs"]}


def test_show(run: Run) -> None:
    assert "rounding:" in run("policy", "show", "akash.bme")[1]
    assert json.loads(run("policy", "show", "akash.bme", "--json")[1])["name"] == "akash.bme"


def test_lint_passes_a_fair_network_and_refuses_a_free_self_deal(run: Run, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text('[network]\nnetwork_id = "fair"\n[rewards]\nbootstrap_decay_ppm = 100\n')
    bad.write_text('[network]\nnetwork_id = "free"\n[rewards]\ntake_ppm = 0\n')
    code, out, _ = run("policy", "lint", good)
    assert code == 0 and "0 errors" in out
    code, out, _ = run("policy", "lint", bad, "--json")
    body = json.loads(out)
    assert code == 1 and not body["ok"]
    assert {finding["check"] for finding in body["findings"] if finding["severity"] == "error"} >= {"take"}


def test_lint_names_the_line_of_a_wrong_key(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "network.toml"
    file.write_text('[network]\nnetwork_id = "x"\n[rewards]\ntake_ppn = 5\n')
    code, _, err = run("policy", "lint", file)
    assert code == 2 and "network.toml:4" in err and "rewards.take_ppn" in err


def test_lint_finds_the_arbitrage_that_hip10_ended(run: Run) -> None:
    code, out, _ = run("policy", "lint", "--rule", "helium.fixed_pool", "--json")
    finding = next(one for one in json.loads(out)["findings"] if one["check"] == "self-deal")
    assert code == 1 and finding["gain_ppm"] > 100 * 1_000_000 and finding["example"]["seed"] == 0
    assert run("policy", "lint", "--rule", "helium.hip10")[0] == 0
    assert "render.score_floor" in run("policy", "lint", "--list-rules")[1]


@pytest.mark.parametrize("words", [[], ["network.toml", "--rule", "capped"], ["--rule", "nonsense"]])
def test_lint_wants_one_thing_to_check(run: Run, words: list[str]) -> None:
    assert run("policy", "lint", *words)[0] == 2
