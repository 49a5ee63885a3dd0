"""Any order of posts, claims, disputes, vetoes and waiting keeps the promises of the rewards contract.

The machine keeps its own model: a list of live records, of which the longest prefix that is undisputed and due is
active. It has no ring, no head word and no packing, so it cannot share the contract's mistakes.
"""

from __future__ import annotations

from dataclasses import dataclass

import boa
import pytest
from contract_world import (
    ACTIVE,
    CANCELLED,
    DATA_HASH,
    DISPUTED,
    PENDING,
    SUPERSEDED,
    Reverted,
    Tree,
    World,
    account,
)
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

PEOPLE = [account(i) for i in range(4)]
RING = 32


@dataclass
class Posted:
    """A live or cancelled record of the model; `declared` is its total."""

    tree: Tree
    declared: int
    signatures: bytes
    activation_s: int
    dispute: int = 0
    deadline_s: int = 0
    rejections: int = 0


@pytest.fixture(scope="module", autouse=True)
def deployed_world() -> None:
    """Deploy before any example starts: every example is undone after it."""
    RewardsMachine.world = World(
        signer_count=2, threshold=1, epoch_cap=1_000, window_cap=1_200, bond=16, emission_cap=30_000
    )


class RewardsMachine(RuleBasedStateMachine):
    """Random operations against the shipped Rewards, with a 1-of-2 quorum to keep signing cheap."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.w = RewardsMachine.world
        self.snapshot = boa.env.evm.snapshot()
        boa.env.timestamp = self.w.start_s
        self.live: list[Posted] = []
        self.cancelled: list[Posted] = []
        self.claimed = dict.fromkeys(PEOPLE, 0)
        self.window = (0, 0)
        self.bonds_lost = 0

    @initialize(quick=st.booleans())
    def begin(self, quick: bool) -> None:
        """Half of the runs start with an active record, so that claims are reached soon."""
        if quick:
            self.post([200, 100, 50, 25], 0, False)
            self.wait(self.w.delay_s)

    # ---- the model ----

    def active(self) -> int:
        """Number of live records that are active or superseded."""
        count = 0
        for record in self.live:
            if record.dispute or record.activation_s > boa.env.timestamp:
                break
            count += 1
        return count

    def cancel(self, index: int) -> None:
        self.cancelled += self.live[index:]
        del self.live[index:]

    def undecided(self) -> list[int]:
        return list(range(self.active(), len(self.live)))

    def owed(self) -> list[int]:
        last = self.live[-1].tree if self.live else None
        return [amount for _, amount in last.leaves] if last else [0] * len(PEOPLE)

    # ---- operations ----

    @rule(
        raises=st.lists(st.integers(0, 330), min_size=len(PEOPLE), max_size=len(PEOPLE)),
        hidden=st.sampled_from([0, 0, 0, 150, 900]),
        lower=st.booleans(),
    )
    def post(self, raises: list[int], hidden: int, lower: bool) -> None:
        """Post the next epoch; a bad one hides leaves that exceed the declared total, or lowers an account."""
        amounts = [old + more for old, more in zip(self.owed(), raises, strict=True)]
        if lower:
            amounts[0] = max(0, amounts[0] - 2 * raises[0])
        previous = self.live[-1].declared if self.live else 0
        declared = max(0, sum(amounts) - hidden)
        tree = Tree(list(zip(PEOPLE, amounts, strict=True)))
        epoch = len(self.live) + 1
        signatures = self.w.sign_root(epoch, tree.root, declared)
        fits = (
            previous <= declared <= previous + self.w.epoch_cap
            and declared <= self.w.emission_cap
            and epoch - self.active() < RING
        )
        try:
            self.w.rewards.post(epoch, tree.root, DATA_HASH, declared, signatures)
        except Reverted:
            assert not fits
            return
        assert fits
        self.live.append(Posted(tree, declared, signatures, boa.env.timestamp + self.w.delay_s))

    @precondition(lambda self: self.live or self.cancelled)
    @rule(data=st.data(), who=st.integers(0, len(PEOPLE) - 1))
    def claim(self, data: st.DataObject, who: int) -> None:
        """Claim from any root ever posted: only the active one may pay, and only what is due."""
        record = data.draw(st.sampled_from(self.live[-6:] + self.cancelled[-3:]))
        count = self.active()
        paying = self.live[count - 1] if count else None
        amount = record.tree.leaves[who][1]
        window = boa.env.timestamp // self.w.window_s
        spent = self.window[1] if self.window[0] == window else 0
        expected = min(amount - self.claimed[PEOPLE[who]], self.w.window_cap - spent)
        pays = (
            paying is not None
            and paying.tree.root == record.tree.root
            and expected > 0
            and sum(self.claimed.values()) + expected <= paying.declared
        )
        try:
            paid = self.w.claim(record.tree, who)
        except Reverted:
            assert not pays
            return
        assert pays and paid == expected
        self.claimed[PEOPLE[who]] += paid
        self.window = (window, spent + paid)

    @precondition(lambda self: self.active() > 0)
    @rule()
    def claim_for_everyone(self) -> None:
        """A batch pays what single claims would."""
        paying = self.live[self.active() - 1]
        window = boa.env.timestamp // self.w.window_s
        spent = self.window[1] if self.window[0] == window else 0
        claimed = dict(self.claimed)
        for who, amount in paying.tree.leaves:
            due = max(0, min(amount - claimed[who], self.w.window_cap - spent))
            claimed[who] += due
            spent += due
        moved = sum(claimed.values()) - sum(self.claimed.values())
        proofs = [paying.tree.proof(i) for i in range(len(PEOPLE))]
        amounts = [amount for _, amount in paying.tree.leaves]
        try:
            paid = self.w.rewards.claim_many(PEOPLE, amounts, proofs, paying.tree.root)
        except Reverted:
            assert moved == 0 or sum(claimed.values()) > paying.declared
            return
        assert paid == moved > 0 and sum(claimed.values()) <= paying.declared
        self.claimed, self.window = claimed, (window, spent)

    @rule(seconds=st.sampled_from([1, 1_800, 3_600, 7_201, 86_400]))
    def wait(self, seconds: int) -> None:
        self.w.pass_time(seconds)

    @precondition(lambda self: any(not self.live[i].dispute for i in self.undecided()))
    @rule(data=st.data())
    def dispute(self, data: st.DataObject) -> None:
        index = data.draw(st.sampled_from([i for i in self.undecided() if not self.live[i].dispute]))
        record = self.live[index]
        record.dispute = self.w.open_dispute(index + 1)
        record.deadline_s = boa.env.timestamp + self.w.dispute_s

    @precondition(lambda self: any(record.dispute for record in self.live))
    @rule(data=st.data(), upheld=st.booleans())
    def resolve(self, data: st.DataObject, upheld: bool) -> None:
        index = data.draw(st.sampled_from([i for i, record in enumerate(self.live) if record.dispute]))
        record = self.live[index]
        try:
            self.w.resolve(record.dispute, upheld)
        except Reverted as error:
            assert error.args[0] == "deadline has passed" and boa.env.timestamp > record.deadline_s
            return
        assert boa.env.timestamp <= record.deadline_s
        if upheld:
            self.cancel(index)
            return
        self.bonds_lost += self.w.bond << min(record.rejections, 4)
        record.rejections += 1
        record.dispute = 0
        record.activation_s = boa.env.timestamp + self.w.delay_s

    @precondition(lambda self: any(record.dispute for record in self.live))
    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        index = data.draw(st.sampled_from([i for i, record in enumerate(self.live) if record.dispute]))
        record = self.live[index]
        try:
            self.w.rewards.expire_dispute(record.dispute)
        except Reverted:
            assert boa.env.timestamp <= record.deadline_s
            return
        assert boa.env.timestamp > record.deadline_s
        self.cancel(index)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def veto(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.live) - 1))
        record = self.live[index]
        allowed = index >= self.active() and not record.dispute
        try:
            self.w.rewards.veto(index + 1, record.tree.root, sender=self.w.guardian)
        except Reverted:
            assert not allowed
            return
        assert allowed
        self.cancel(index)

    @precondition(lambda self: len(self.undecided()) > 0 and len(self.live) > 1)
    @rule(data=st.data(), who=st.integers(0, len(PEOPLE) - 1))
    def prove_decrease(self, data: st.DataObject, who: int) -> None:
        index = data.draw(st.sampled_from([i for i in self.undecided() if i > 0] or [len(self.live) - 1]))
        base, record = self.live[index - 1], self.live[index]
        before, after = base.tree.leaves[who][1], record.tree.leaves[who][1]
        try:
            self.w.rewards.prove_decrease(
                index + 1, record.tree.root, index, PEOPLE[who], before, base.tree.proof(who), after,
                record.tree.proof(who),
            )  # fmt: skip
        except Reverted:
            assert after >= before
            return
        assert after < before
        self.cancel(index)

    @precondition(lambda self: self.cancelled)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        """Signatures of a cancelled record never post it again."""
        old = data.draw(st.sampled_from(self.cancelled[-3:]))
        for epoch in {len(self.live) + 1, len(self.live)}:
            try:
                self.w.rewards.post(epoch, old.tree.root, DATA_HASH, old.declared, old.signatures)
            except Reverted:
                continue
            raise AssertionError("a cancelled record was posted again")

    # ---- promises ----

    @invariant()
    def contract_agrees_with_the_model(self) -> None:
        rewards, count = self.w.rewards, self.active()
        assert (rewards.active_epoch(), rewards.live_epoch()) == (count, len(self.live))
        for index in range(max(0, count - 2), len(self.live)):
            expected = PENDING
            if index < count - 1:
                expected = SUPERSEDED
            elif index == count - 1:
                expected = ACTIVE
            elif self.live[index].dispute:
                expected = DISPUTED
            assert self.w.status(index + 1) == expected
        after = rewards.record(len(self.live) + 1)
        assert after[0] in (0, CANCELLED)

    @invariant()
    def claims_stay_within_the_active_total(self) -> None:
        """Invariant: Σ claimed = claimed_total ≤ active total ≤ epochs · cap, and claimed never falls (the model's does not)."""
        claimed = [self.w.rewards.claimed(who) for who in PEOPLE]
        assert claimed == list(self.claimed.values())
        assert sum(claimed) == self.w.rewards.claimed_total()
        active_total = self.w.rewards.active_total()
        assert sum(claimed) <= active_total <= self.active() * self.w.epoch_cap

    @invariant()
    def tokens_are_minted_only_for_claims(self) -> None:
        """Invariant: supply = genesis + claimed; Rewards holds the open bonds and nothing else."""
        token, claimed = self.w.token, sum(self.claimed.values())
        assert token.totalSupply() == self.w.genesis + claimed
        open_bonds = sum(self.w.bond << min(record.rejections, 4) for record in self.live if record.dispute)
        assert token.balanceOf(self.w.rewards.address) == open_bonds
        assert token.balanceOf(self.w.treasury) == self.bonds_lost

    def teardown(self) -> None:
        boa.env.evm.revert(self.snapshot)


TestRewards = RewardsMachine.TestCase
# no shrinking: an example costs half a second, so it would take minutes; add Phase.shrink when one fails
TestRewards.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)
