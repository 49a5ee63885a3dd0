"""A founder's own rules are found, told apart, linted, and their mistakes named."""

from __future__ import annotations

from pathlib import Path

import pytest

from fieldstone.economy.own_rules import lint_own
from fieldstone.errors import UsageError

GOOD = """
from fieldstone.rewards.lint import CreditSystem

TAKE_PPM = 100_000
BUDGET_NANO = 10**12

def rule(claims):
    total = sum(claim.work for claim in claims)
    return [10**12 * claim.work // total if total else 0 for claim in claims]

def mint(epoch, burned_base, revenue_micro_usd, price_micro_usd):
    return 10**24 >> (epoch // 100)

credits = CreditSystem(vault_tokens=300, price_usd=1, outstanding_usd=100)

def equal(claims):
    return [10**12 // len(claims)] * len(claims)

def matched(epoch, burned, revenue, price):
    return burned

def fails(claims):
    return [1 // (len(claims) - 1)] * len(claims)

def halves(claims):
    return [0.5] * len(claims)

def pair(first, second):
    return []

number = 3
"""


@pytest.fixture
def own(tmp_path: Path) -> str:
    path = tmp_path / "my_rules.py"
    path.write_text(GOOD)
    return str(path)


def checks(spec: str) -> set[str]:
    return {finding.check for finding in lint_own(spec, populations=30, seed=0)}


def test_a_whole_file_is_linted(own: str) -> None:
    assert checks(own) == set()


def test_bad_rules_of_each_kind_are_found(own: str) -> None:
    assert "split" in checks(f"{own}:equal")
    assert checks(f"{own}:matched") == {"unbounded-mint"}


def test_modules_are_imported_by_name() -> None:
    assert "split" in checks("fieldstone.economy.reward_rules:_score_with_floor")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("fails", "ZeroDivisionError"),
        ("halves", "whole number"),
        ("pair", "takes 2 arguments"),
        ("number", "neither a function"),
        ("missing", "has no 'missing'"),
    ],
)
def test_broken_rules_are_named(own: str, name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        checks(f"{own}:{name}")


def test_files_that_are_not_there_or_do_not_load_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        checks(str(tmp_path / "none.py"))
    with pytest.raises(UsageError, match="nowhere"):
        checks("nowhere.at_all:rule")
    broken, empty = tmp_path / "broken.py", tmp_path / "empty.py"
    broken.write_text("def rule(:")
    empty.write_text("")
    with pytest.raises(UsageError, match="SyntaxError"):
        checks(str(broken))
    with pytest.raises(UsageError, match="none of rule, mint, credits"):
        checks(str(empty))


def test_the_command_takes_own_rules(own: str, capsys: pytest.CaptureFixture[str]) -> None:
    from fieldstone.cli import main

    def run(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["policy", "lint", *words])
        return int(ended.value.code or 0), capsys.readouterr().out

    assert run("--rule", own, "--populations", "20")[0] == 0
    code, out = run("--rule", f"{own}:equal", "--populations", "20")
    assert code == 1 and "split" in out
    assert run("--rule", "mint.burned_again")[0] == 1
    assert run("--rule", "credits.sound")[0] == 0
    assert "akash.credits" in run("--list-rules")[1]
