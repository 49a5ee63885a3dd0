"""Rules of law that a service meets in a region: `data/regulation.toml`. A list of questions to ask, not legal advice.

Few of these were read for this table; each row's grade says so. How a network stands to a rule comes from its case file and
is "unknown" without one. It carries no weight in the score: a rule is met or not, it is not traded against a price.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from fieldstone.assess.case import Case


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `services` it concerns; `region` as in case files ("EU", "US"; "any")."""

    id: str
    region: str
    services: tuple[str, ...]
    title: str
    asks: str
    source: str
    grade: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How a network stands to a rule. `grade` is the rule row's; a rule that only the case names has none."""

    region: str
    title: str
    status: str
    asks: str
    source: str
    grade: str
    note: str


@cache
def rules() -> tuple[Rule, ...]:
    """Return all rules in the order of the file."""
    text = (resources.files("fieldstone.assess") / "data" / "regulation.toml").read_text(encoding="utf-8")
    return tuple(Rule(**{**row, "services": tuple(row["services"])}) for row in tomllib.loads(text)["rule"])


def standing(case: Case) -> list[Standing]:
    """Return the rules that concern a network's service and regions, with what the case says, then the case's own."""
    said = {(item.region, item.rule): item for item in case.regulation}
    found = []
    for rule in rules():
        here = rule.region in ("any", *case.network.regions)
        if not (here and (case.network.service in rule.services or "any" in rule.services)):
            continue
        item = said.pop((rule.region, rule.id), None)
        status, note = (item.status, item.note) if item else ("unknown", "")
        found.append(Standing(rule.region, rule.title, status, rule.asks, rule.source, rule.grade, note))
    by_id = {rule.id: rule for rule in rules()}
    for item in said.values():
        known = by_id.get(item.rule)
        found.append(
            Standing(item.region, known.title if known else item.rule, item.status, known.asks if known else "",
                     known.source if known else "", known.grade if known else "", item.note)
        )  # fmt: skip
    return found
