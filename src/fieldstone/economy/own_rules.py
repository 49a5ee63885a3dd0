"""A founder's own rules from Python, for the linter: `rules.py`, `rules.py:my_rule` or `package.module:my_rule`.

What the linter understands, told apart by what the object is:
    def rule(claims)                                                      rewards of one epoch, `rewards.lint.Rule`
    def mint(epoch, burned_base, revenue_micro_usd, price_micro_usd)      tokens of one epoch, `rewards.lint_money.MintRule`
    credits = CreditSystem(…)                                             prepaid credits, `rewards.lint.CreditSystem`
Without a name all three are looked for. A reward rule may say more beside it in its file: `TAKE_PPM = 100_000`,
`UNSPLITTABLE = True` (a bond, a hardware key, an exclusive place), `BUDGET_NANO = …`. The file is executed: lint your
own. Rules are called with thousands of populations, so they should be pure.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from fieldstone.errors import UsageError
from fieldstone.rewards.lint import Claim, CreditSystem, Finding, Rule, lint, lint_credits, lint_mint
from fieldstone.rewards.lint_money import MintRule

NAMES = ("rule", "mint", "credits")


def lint_own(spec: str, *, populations: int, seed: int) -> list[Finding]:
    """Return the weaknesses of the rules that `spec` names. Raises UsageError for a rule that is not there or breaks."""
    where, colon, name = spec.rpartition(":") if ":" in spec else (spec, "", "")
    module = _module(where)
    wanted = [name] if colon else [each for each in NAMES if hasattr(module, each)]
    if not wanted:
        raise UsageError(f"{where} defines none of {', '.join(NAMES)}; name the function: {where}:my_rule")
    findings: list[Finding] = []
    for each in wanted:
        if not hasattr(module, each):
            raise UsageError(f"{where} has no {each!r}")
        findings += _lint(getattr(module, each), f"{where}:{each}", module, populations, seed)
    return sorted(findings, key=lambda finding: (finding.severity, finding.check))


def _lint(rule: Any, label: str, module: ModuleType, populations: int, seed: int) -> list[Finding]:
    if isinstance(rule, CreditSystem):
        return lint_credits(rule)
    if not callable(rule):
        raise UsageError(f"{label} is neither a function nor a CreditSystem")
    count = len(inspect.signature(rule).parameters)
    if count == 4:
        return lint_mint(_mint(rule, label))
    if count != 1:
        raise UsageError(
            f"{label} takes {count} arguments; a reward rule takes (claims), a mint (epoch, burned_base, "
            "revenue_micro_usd, price_micro_usd)"
        )
    budget = getattr(module, "BUDGET_NANO", None)
    return lint(
        _reward(rule, label),
        take_ppm=int(getattr(module, "TAKE_PPM", 0)),
        unsplittable=bool(getattr(module, "UNSPLITTABLE", False)),
        budget_nano=None if budget is None else int(budget),
        populations=populations,
        seed=seed,
        cliffs=True,
    )


def _module(where: str) -> ModuleType:
    path = Path(where)
    try:
        if path.suffix != ".py":
            return importlib.import_module(where)
        if not path.is_file():
            raise UsageError(f"there is no file {where}")
        spec = importlib.util.spec_from_file_location(f"_own_rules_{path.stem}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module
    except UsageError:
        raise
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{where}: {error}; a file is named with its .py, a known rule is listed by --list-rules"
        ) from None
    except Exception as error:
        raise UsageError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error


def _reward(rule: Any, label: str) -> Rule:
    def checked(claims: Sequence[Claim]) -> Sequence[int]:
        try:
            rewards = list(rule(list(claims)))
        except Exception as error:
            shown = [[claim.work, claim.bought_nano, claim.place, claim.witnesses] for claim in claims]
            raise UsageError(f"{label} fails on claims {shown}: {type(error).__name__}: {error}") from error
        for reward in rewards:
            if isinstance(reward, bool) or not isinstance(reward, int):
                raise UsageError(f"{label} returned {reward!r}: a reward is a whole number of 10⁻⁹ $")
        return rewards

    return checked


def _mint(rule: Any, label: str) -> MintRule:
    def checked(epoch: int, burned_base: int, revenue_micro_usd: int, price_micro_usd: int) -> int:
        given = (epoch, burned_base, revenue_micro_usd, price_micro_usd)
        try:
            minted = rule(*given)
        except Exception as error:
            raise UsageError(f"{label} fails on {given}: {type(error).__name__}: {error}") from error
        if isinstance(minted, bool) or not isinstance(minted, int) or minted < 0:
            raise UsageError(
                f"{label} returned {minted!r} for {given}: a mint is a whole number of base units, not negative"
            )
        return minted

    return checked
