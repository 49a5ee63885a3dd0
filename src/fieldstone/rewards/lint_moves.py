"""The moves by which people gain from a reward rule without doing more work; each yields a finding where it pays.

    order, budget   the rule itself: a reward depends on the order, is missing, negative, or more than the budget
    split, merge    one participant as k identities; two as one
    collude         a group that pools its work, shares it evenly, buys inside the group, or vouches for each other
    self-deal       one who buys his own work
    refuse          one who keeps his capacity empty instead of serving the customers who came: where that pays, nobody serves
    above-demand    an honest customer's dollar that makes rewards grow by more than a dollar: whoever can pose as
                    customer takes the difference, alone or with others
    cliff           a reward that jumps at a threshold: listed, for the reader to judge
Collusion of witnesses cannot be excluded in general (Milionis et al. 2025: only inside the convex hull of honest
observers), so vouching is a warning: its gain is the residual risk.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from fieldstone.rewards.lint_claims import GAIN_TOLERANCE_PPM, Claim, Finding, Rule, exceeds, plain, ratio_ppm
from fieldstone.units import PPM

SPLITS = (2, 3, 10, 100)
COALITIONS = (2, 3, 5)
CLIFF_SHARE = 0.2  # of the reward, gained by a thousandth more work
CLIFF_WORK = 1_000


@dataclass(frozen=True, slots=True)
class Trial:
    """One population and one participant in it; `before` are the rewards without any move. `unsold`: what customers pay
    (nano-dollars) → the work that the capacity is while nobody bought it (None: it would be no work)."""

    rule: Rule
    claims: list[Claim]
    before: list[int]
    who: int
    rng: random.Random
    take_ppm: int
    unsplittable: bool
    budget_nano: int | None
    unsold: Callable[[int], int] | None = None

    def after(self, claims: list[Claim]) -> list[int]:
        """Return the rewards of other claims under the same rule."""
        return list(self.rule(claims))


def moves(trial: Trial, *, cliffs: bool) -> Iterator[Finding]:
    """Yield what pays in one population."""
    yield from sound(trial)
    if len(trial.before) != len(trial.claims):
        return
    if not trial.unsplittable:
        yield from split(trial, trial.rng.choice(SPLITS))
        yield from merge(trial)
    yield from collude(trial)
    spent = int(10 ** trial.rng.uniform(5, 12)) // 1_000 * 1_000
    yield from buying(trial, spent)
    yield from refuse(trial)
    if cliffs:
        yield from cliff(trial)


def sound(trial: Trial) -> Iterator[Finding]:
    """Yield `budget` and `order`."""
    claims, before = trial.claims, trial.before
    example = {"claims": plain(claims)}
    if len(before) != len(claims) or min(before) < 0:
        yield Finding("budget", "error", "a reward is missing or negative", example=example)
    if len(before) != len(claims):
        return
    if trial.budget_nano is not None and sum(before) > trial.budget_nano:
        gain = ratio_ppm(sum(before), trial.budget_nano)
        yield Finding("budget", "error", f"rewards are {gain / PPM:.2f} times the budget", gain, example)
    order = trial.rng.sample(range(len(claims)), len(claims))
    if trial.after([claims[i] for i in order]) != [before[i] for i in order]:
        yield Finding("order", "error", "rewards depend on the order of participants", example=example)


def split(trial: Trial, parts: int) -> Iterator[Finding]:
    """Yield a gain by showing one participant's work as several identities."""
    claims, who = trial.claims, trial.who
    whole = claims[who]
    # uneven by one unit where it does not divide, so that no work is lost by the split itself
    pieces = [
        replace(whole, work=_piece(whole.work, parts, i), bought_nano=_piece(whole.bought_nano, parts, i))
        for i in range(parts)
    ]
    got = sum(trial.after([*claims[:who], *pieces, *claims[who + 1 :]])[who : who + parts])
    if exceeds(got, trial.before[who], parts):
        gain = ratio_ppm(got, trial.before[who])
        message = (
            f"one participant who splits into {parts} gets {gain / PPM:.2f} times as much: a concave or floored rule"
        )
        yield Finding("split", "error", message, gain, {"claims": plain(claims), "who": who, "parts": parts})


def merge(trial: Trial) -> Iterator[Finding]:
    """Yield a gain by showing two participants of one place as one."""
    claims, who = trial.claims, trial.who
    others = [i for i in range(len(claims)) if i != who and claims[i].place == claims[who].place]
    if not others:
        return
    other = others[0]
    rest = [claim for i, claim in enumerate(claims) if i not in (who, other)]
    got = trial.after([_together([claims[who], claims[other]]), *rest])[0]
    had = trial.before[who] + trial.before[other]
    if exceeds(got, had, 2):
        gain = ratio_ppm(got, had)
        message = f"two participants who merge get {gain / PPM:.2f} times as much: a convex rule rewards pooling"
        yield Finding("merge", "error", message, gain, {"claims": plain(claims), "who": [who, other]})


def collude(trial: Trial) -> Iterator[Finding]:
    """Yield what a group in one place gains by moving work between its members, buying inside, or vouching."""
    claims, who = trial.claims, trial.who
    here = [i for i in range(len(claims)) if i != who and claims[i].place == claims[who].place]
    size = min(trial.rng.choice(COALITIONS), len(here) + 1)
    if size < 2:
        return
    group = [who, *here[: size - 1]]
    had = sum(trial.before[i] for i in group)
    example = {"claims": plain(claims), "group": group}

    def gained(changed: dict[int, Claim]) -> int:
        after = trial.after([changed.get(i, claim) for i, claim in enumerate(claims)])
        return sum(after[i] for i in group)

    whole = _together([claims[i] for i in group])
    idle = replace(claims[who], work=0, bought_nano=0)
    even = {
        i: replace(claims[i], work=_piece(whole.work, size, n), bought_nano=_piece(whole.bought_nano, size, n))
        for n, i in enumerate(group)
    }
    for how, changed in (
        ("gives all work to one", {i: idle for i in group} | {who: whole}),
        ("shares its work evenly", even),
    ):
        got = gained(changed)
        if exceeds(got, had, size):
            gain = ratio_ppm(got, had)
            message = f"a group of {size} that {how} gets {gain / PPM:.2f} times as much"
            # identities that cannot be split or lent make this hard, not impossible
            severity = "warning" if trial.unsplittable else "error"
            yield Finding("collude", severity, message, gain, {**example, "how": how})  # type: ignore[arg-type]
    vouched = {i: replace(claims[i], witnesses=claims[i].witnesses + size - 1) for i in group}
    got = gained(vouched)
    if exceeds(got, had, size):
        gain = ratio_ppm(got, had)
        message = f"a group of {size} that vouches for each other gets {gain / PPM:.2f} times as much: residual risk"
        yield Finding("collude", "warning", message, gain, {**example, "how": "vouches for each other"})
    spent = int(10 ** trial.rng.uniform(5, 12)) // 1_000 * 1_000
    bought = gained({who: replace(claims[who], bought_nano=claims[who].bought_nano + spent)})
    yield from _returned(
        "collude", "a group that buys inside the group", bought - had, spent, trial, {**example, "spent_nano": spent}
    )


def buying(trial: Trial, spent: int) -> Iterator[Finding]:
    """Yield `self-deal` for the buyer of his own work, and `above-demand` for all rewards together."""
    claims, who = trial.claims, trial.who
    changed = list(claims)
    changed[who] = replace(claims[who], bought_nano=claims[who].bought_nano + spent)
    after = trial.after(changed)
    example = {"claims": plain(claims), "who": who, "spent_nano": spent}
    yield from _returned(
        "self-deal", "whoever buys from himself", after[who] - trial.before[who], spent, trial, example
    )
    grown = sum(after) - sum(trial.before)
    if exceeds(grown, spent, len(claims)):
        gain = ratio_ppm(grown, spent)
        message = f"a dollar of demand makes rewards grow by {gain / PPM:.2f} $: rewards above demand"
        yield Finding("above-demand", "error", message, gain, example)


def refuse(trial: Trial) -> Iterator[Finding]:
    """Yield a gain by sending customers away and keeping what they would have used empty, for the pay of being there."""
    claims, who = trial.claims, trial.who
    mine = claims[who]
    if trial.unsold is None or not mine.bought_nano:
        return
    empty = replace(mine, bought_nano=0, work=mine.work + trial.unsold(mine.bought_nano))
    got = trial.after([*claims[:who], empty, *claims[who + 1 :]])[who]
    if exceeds(got, trial.before[who], 1):
        gain = ratio_ppm(got, trial.before[who])
        message = f"whoever sends his customers away and stays empty gets {gain / PPM:.2f} times as much"
        yield Finding("refuse", "warning", message, gain, {"claims": plain(claims), "who": who})


def cliff(trial: Trial) -> Iterator[Finding]:
    """Yield a jump of one's reward at a threshold of one's work, found by halving between a tenth and ten times it."""
    claims, who = trial.claims, trial.who

    def reward(work: int) -> int:
        return trial.after([*claims[:who], replace(claims[who], work=work), *claims[who + 1 :]])[who]

    if claims[who].work < 10 * CLIFF_WORK:
        return  # so little work that one unit more is a jump
    low, high = claims[who].work // 10, claims[who].work * 10
    below, above = reward(low), reward(high)
    while high - low > low // CLIFF_WORK:
        middle = (low + high) // 2
        at = reward(middle)
        low, below, high, above = (middle, at, high, above) if above - at > at - below else (low, below, middle, at)
    if above - below > CLIFF_SHARE * above + 2 and above > 0:
        gain = ratio_ppm(above, below)
        message = f"a reward jumps from {below} to {above} between work {low} and {high}: a cliff"
        yield Finding("cliff", "warning", message, gain, {"claims": plain(claims), "who": who, "work": [low, high]})


def _returned(
    check: str, whom: str, back: int, spent: int, trial: Trial, example: dict[str, object]
) -> Iterator[Finding]:
    per_dollar = back * PPM // spent
    if per_dollar >= PPM:
        yield Finding(check, "error", f"{whom} gets {per_dollar / PPM:.2f} $ back per dollar", per_dollar, example)
    elif per_dollar > PPM - trial.take_ppm + GAIN_TOLERANCE_PPM:
        message = f"{whom} gets {per_dollar / PPM:.2f} $ back per dollar, more than 1 − take; still a loss"
        yield Finding(check, "warning", message, per_dollar, example)


def _together(claims: list[Claim]) -> Claim:
    return replace(
        claims[0], work=sum(claim.work for claim in claims), bought_nano=sum(claim.bought_nano for claim in claims)
    )


def _piece(amount: int, parts: int, index: int) -> int:
    return amount // parts + (1 if index < amount % parts else 0)
