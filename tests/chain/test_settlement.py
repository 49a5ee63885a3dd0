"""Everything Fieldstone does on a chain, over both ports, with the real contracts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fieldstone.chain.deploy import Addresses, DeployPlan, deploy
from fieldstone.chain.digest import leaves_data_hash
from fieldstone.chain.outbox import Outbox
from fieldstone.chain.port import Reverted
from fieldstone.chain.settlement import Claim, Settlement
from fieldstone.chain.view import NO_ROOT, Status
from fieldstone.errors import ConfigError, EnvironmentProblem, Terminal, UsageError
from fieldstone.identity.wallet import Wallet
from fieldstone.policy import EpochPolicy, Policy, SettlementPolicy
from fieldstone.units import TOKEN_BASE
from tests.chain.world import Network, account

HOUR = 3_600
A, B, C = account(1), account(2), account(3)


def test_a_root_from_signatures_to_payment(network: Network) -> None:
    settlement = network.settlement
    assert (settlement.live_epoch(), settlement.active_root()) == (0, NO_ROOT)
    tree = network.post(1, {A: 5 * TOKEN_BASE, B: 7 * TOKEN_BASE})
    record = settlement.record(1)
    assert (record.status, record.root, record.total_base) == (Status.PENDING, tree.root, 12 * TOKEN_BASE)
    assert settlement.active_root() == NO_ROOT
    with pytest.raises(Reverted, match=r"no active root\. No root has passed its activation delay"):
        settlement.claim(network.claims(tree, [A]), tree.root)

    network.pass_time(HOUR + 1)
    assert (settlement.active_epoch(), settlement.active_root()) == (1, tree.root)
    result = settlement.claim(network.claims(tree, [A, B]), tree.root)
    assert {payment.account: payment.amount_base for payment in result.payments} == {
        A: 5 * TOKEN_BASE,
        B: 7 * TOKEN_BASE,
    }
    assert settlement.token_balance(A) == settlement.claimed(A) == 5 * TOKEN_BASE
    assert settlement.claimed_total() == 12 * TOKEN_BASE

    nothing = settlement.claim(network.claims(tree, [A, B]), tree.root)
    assert (nothing.tx_hash, nothing.paid_base) == (None, 0)

    later = network.post(2, {A: 6 * TOKEN_BASE, B: 7 * TOKEN_BASE, C: TOKEN_BASE})
    network.pass_time(HOUR + 1)
    with pytest.raises(Reverted, match=r"root was updated\. A newer root pays now"):
        settlement.claim([Claim(A, 10**30, ())], tree.root)
    assert settlement.claim(network.claims(later, [A, B, C]), later.root).paid_base == 2 * TOKEN_BASE
    assert settlement.token_supply() == network.plan.genesis_supply_base + 14 * TOKEN_BASE


def test_posting_again_is_the_same_post(network: Network, outbox: Outbox) -> None:
    settlement = network.settlement
    balances = {A: 5, B: 7}
    tree = network.post(1, balances)
    rows = len(outbox.rows())
    digest = settlement.digest_to_sign(1, tree.root, leaves_data_hash(balances), tree.total)
    again = settlement.post_root(1, 0, tree.root, leaves_data_hash(balances), tree.total, network.sign(digest, 3))
    assert again.tx_hash is None and len(outbox.rows()) == rows
    assert settlement.live_epoch() == 1


def test_a_post_is_one_intent_whoever_signed_it(network: Network, outbox: Outbox) -> None:
    """A crash between signing and hearing back, then other verifiers answer first: still one transaction."""
    settlement = network.settlement
    balances = {A: 5}
    tree = network.post(1, balances)
    call = settlement.rewards.call("post", 1, tree.root, leaves_data_hash(balances), tree.total, b"other signatures")
    import hashlib

    intent = hashlib.sha256(b"1|0|" + tree.root + leaves_data_hash(balances) + b"%d" % tree.total).digest()
    row = outbox.submit(settlement.port, Wallet.from_secret(b"\x11" * 32), "root:test:1:0", call, intent=intent)
    assert row.succeeded and len(outbox.rows("root:test:1:0")) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p | {"signers": 1}, "too few signatures"),
        (lambda p: p | {"epoch": 2}, "not the next epoch"),
        (lambda p: p | {"total": 10_001 * TOKEN_BASE}, "epoch cap"),
        (lambda p: p | {"root": b"\2" * 32}, "not a signer|signers not ascending"),
        (lambda p: p | {"data_hash": b"\2" * 32}, "not a signer|signers not ascending"),
        (lambda p: p | {"data_hash": bytes(32)}, "empty root or data hash"),
    ],
)
def test_a_wrong_post_is_refused_by_name(network: Network, change: Any, words: str) -> None:
    settlement = network.settlement
    balances = {A: 5}
    right = {"epoch": 1, "root": b"\1" * 32, "data_hash": leaves_data_hash(balances), "total": 5, "signers": 2}
    wrong = change(right)
    digest = settlement.digest_to_sign(1, right["root"], right["data_hash"], right["total"])  # type: ignore[arg-type]
    with pytest.raises(Reverted, match=words):
        settlement.post_root(
            wrong["epoch"], 0, wrong["root"], wrong["data_hash"], wrong["total"], network.sign(digest, wrong["signers"])
        )
    assert settlement.live_epoch() == 0


def test_a_veto_raises_the_attempt_and_old_signatures_die(network: Network) -> None:
    settlement = network.settlement
    balances = {A: 5}
    digest = settlement.digest_to_sign(1, b"\1" * 32, leaves_data_hash(balances), 5)
    settlement.post_root(1, 0, b"\1" * 32, leaves_data_hash(balances), 5, network.sign(digest))
    settlement.veto(1, b"\1" * 32)
    assert (settlement.record(1).status, settlement.attempt()) == (Status.CANCELLED, 1)
    with pytest.raises(UsageError, match="prepared for attempt 0, but the contract is at attempt 1"):
        settlement.post_root(1, 0, b"\1" * 32, leaves_data_hash(balances), 5, network.sign(digest))
    with pytest.raises(Reverted, match=r"not a signer|signers not ascending"):
        settlement.post_root(1, 1, b"\1" * 32, leaves_data_hash(balances), 5, network.sign(digest))
    network.post(1, {A: 6})
    assert settlement.record(1).attempt == 1


@pytest.mark.parametrize("upheld", [True, False])
def test_a_dispute_is_decided_by_the_quorum(network: Network, wallet: Wallet, upheld: bool) -> None:
    settlement = network.settlement
    tree = network.post(1, {A: 5})
    number = settlement.dispute(1, tree.root, 3, b"\7" * 32)
    assert settlement.record(1).status is Status.DISPUTED
    assert settlement.dispute(1, tree.root, 3, b"\7" * 32) == number  # asked again
    network.pass_time(HOUR + 1)
    assert settlement.active_root() == NO_ROOT  # frozen
    settlement.resolve(number, upheld, network.sign(settlement.resolution_to_sign(number, upheld)))
    assert settlement.record(1).status is (Status.CANCELLED if upheld else Status.PENDING)
    with pytest.raises(Reverted, match="dispute is not open"):
        settlement.resolve(number + 1, upheld, network.sign(b"\1" * 32))


def test_an_undecided_dispute_expires_and_the_last_good_root_pays(network: Network) -> None:
    settlement = network.settlement
    good = network.post(1, {A: 5})
    network.pass_time(HOUR + 1)
    bad = network.post(2, {A: 50})
    number = settlement.dispute(2, bad.root, 1, b"\7" * 32)
    with pytest.raises(Reverted, match="deadline has not passed"):
        settlement.expire(number)
    network.pass_time(network.plan.dispute_period_s + 1)
    assert settlement.claim(network.claims(good, [A]), good.root).paid_base == 5
    settlement.expire(number)
    assert settlement.record(2).status is Status.CANCELLED and settlement.live_epoch() == 1


def test_a_forged_proof_pays_nothing(network: Network) -> None:
    tree = network.post(1, {A: 5, B: 7})
    network.pass_time(HOUR + 1)
    honest = network.claims(tree, [A])[0]
    for forged in (replace(honest, cumulative_base=6), replace(honest, account=C), replace(honest, proof=())):
        with pytest.raises(Reverted, match="bad proof"):
            network.settlement.claim([forged], tree.root)
    with pytest.raises(UsageError, match="named twice"):
        network.settlement.claim([honest, replace(honest, account=A.lower())], tree.root)
    with pytest.raises(UsageError, match="1 to 64"):
        network.settlement.claim([], tree.root)


def test_a_full_window_pays_the_rest_later(port: Any, outbox: Outbox, wallet: Wallet, network: Network) -> None:
    settlement = network.settlement
    cap = network.plan.window_cap_base
    tree = None
    for epoch in (1, 2, 3):
        tree = network.post(epoch, {A: epoch * 9_000 * TOKEN_BASE})
    network.pass_time(HOUR + 1)
    assert tree is not None
    first = settlement.claim(network.claims(tree, [A]), tree.root)
    assert first.paid_base == cap and settlement.window_room() == 0
    with pytest.raises(Reverted, match=r"window cap\. This window's payouts are used up"):
        settlement.claim(network.claims(tree, [A]), tree.root)
    network.pass_time(network.plan.window_length_s)
    assert settlement.claim(network.claims(tree, [A]), tree.root).paid_base == 27_000 * TOKEN_BASE - cap


def test_credits_and_bonds(network: Network, wallet: Wallet) -> None:
    settlement = network.settlement
    now_s = network.clock.now_ms() // 1000
    settlement.post_price(50_000, 1_000, now_s, {})
    credited = settlement.burn_for_credits(2 * TOKEN_BASE, 1, wallet.address, b"\1" * 32)
    assert credited == settlement.credits_of(wallet.address) == 2 * 48_000  # average − 2 · confidence
    assert settlement.burn_for_credits(2 * TOKEN_BASE, 1, wallet.address, b"\1" * 32) == credited  # asked again
    assert settlement.token_supply() == network.plan.genesis_supply_base - 2 * TOKEN_BASE
    settlement.bond(wallet.address, NO_ROOT, 5 * TOKEN_BASE, "bond-1")
    settlement.bond(wallet.address, NO_ROOT, 5 * TOKEN_BASE, "bond-1")
    assert settlement.bonded(wallet.address) == 5 * TOKEN_BASE
    settlement.unbond(NO_ROOT, 2 * TOKEN_BASE, "unbond-1")
    with pytest.raises(Reverted, match="still unbonding"):
        settlement.withdraw(NO_ROOT, "withdraw-1")
    network.pass_time(30 * 86_400)
    settlement.withdraw(NO_ROOT, "withdraw-1")
    assert settlement.bonded(wallet.address) == 3 * TOKEN_BASE


def test_events_tell_the_story(network: Network) -> None:
    network.post(1, {A: 5})
    names = [event.name for event in network.settlement.events(network.settlement.rewards)]
    assert names[-1] == "RootPosted"
    posted = network.settlement.events(network.settlement.rewards)[-1].fields
    assert (posted["epoch"], posted["total"]) == (1, 5)


def test_reading_needs_no_wallet_and_sending_does(network: Network) -> None:
    reader = Settlement(network.settlement.port, network.settlement.addresses)
    assert reader.signers() == (network.plan.signers, 2)
    with pytest.raises(UsageError, match="needs a wallet"):
        reader.veto(1, b"\1" * 32)
    with pytest.raises(EnvironmentProblem, match="contracts are on chain 1"):
        Settlement(network.settlement.port, replace(network.settlement.addresses, chain_id=1))


# ---- deployment ------------------------------------------------------------------------------------------------------


def test_deploying_over_either_port(port: Any, outbox: Outbox, wallet: Wallet, plan: DeployPlan) -> None:
    addresses = deploy(port, outbox, wallet, plan)
    assert Settlement(port, addresses).signers() == (plan.signers, 2)
    assert (addresses.network_id, addresses.chain_id, addresses.block) == ("test", 31_337, 1)


def test_deploying_again_finds_the_same_contracts(network: Network, outbox: Outbox, wallet: Wallet) -> None:
    settlement = network.settlement
    nonce = settlement.port.nonce(wallet.address)
    assert deploy(settlement.port, outbox, wallet, network.plan) == settlement.addresses
    assert settlement.port.nonce(wallet.address) == nonce
    assert settlement.token.read(settlement.port, "minter") == settlement.addresses.rewards


def test_a_deployment_cut_off_in_the_middle_is_finished(
    chain: Any, outbox: Outbox, wallet: Wallet, network: Network
) -> None:
    plan = replace(network.plan, network_id="second")

    class Cut(Exception):
        pass

    sends = 0
    original = chain.send_raw

    def send(raw: bytes) -> bytes:
        nonlocal sends
        sends += 1
        if sends == 2:
            raise Cut
        tx_hash: bytes = original(raw)
        return tx_hash

    chain.send_raw = send
    with pytest.raises(Cut):
        deploy(chain, outbox, wallet, plan)
    chain.send_raw = original
    addresses = deploy(chain, outbox, wallet, plan)
    assert Settlement(chain, addresses).signers()[0] == plan.signers
    assert addresses.rewards != network.settlement.addresses.rewards


def test_addresses_are_kept_in_a_file(tmp_path: Path, network: Network) -> None:
    path = tmp_path / "contracts.json"
    network.settlement.addresses.save(path)
    assert Addresses.load(path) == network.settlement.addresses
    path.write_text('{"token": 1}')
    with pytest.raises(UsageError, match="no addresses file"):
        Addresses.load(path)


def policy(**settlement: Any) -> Policy:
    members = tuple(Wallet.from_secret(bytes([n]) * 32).address for n in (1, 2, 3))
    return Policy(
        network_id="rain",
        epoch=EpochPolicy(length_s=3_600, first_start_ms=7_000),
        settlement=SettlementPolicy(**{"verifiers": members, "threshold": 2, **settlement}),
    )


def test_a_plan_follows_the_policy() -> None:
    plan = DeployPlan.from_policy(policy(), treasury=A)
    assert list(plan.signers) == sorted(plan.signers, key=lambda signer: int(signer, 16))
    assert (plan.threshold, plan.treasury, plan.first_start_s, plan.epoch_length_s) == (2, A, 7, 3_600)
    assert plan.epoch_cap_base == 10_000 * TOKEN_BASE and plan.window_cap_base == 20_000 * TOKEN_BASE
    assert plan.dispute_bond_base == 100 * TOKEN_BASE and plan.dispute_period_s == 259_200
    assert DeployPlan.from_policy(policy(treasury=B), treasury=A, guardian=C).treasury == B


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"verifiers": ()}, "settlement.verifiers"),
        ({"verifiers": tuple(account(n) for n in range(1, 18))}, "settlement.verifiers"),
        ({"threshold": 4}, "settlement.threshold"),
        ({"activation_delay_s": 31 * 3_600}, "settlement.activation_delay_s"),
    ],
)
def test_a_policy_the_contracts_would_refuse_names_its_key(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        DeployPlan.from_policy(policy(**settings), treasury=A)
    assert caught.value.key == key


def test_a_plan_the_contract_refuses_is_explained(chain: Any, outbox: Outbox, wallet: Wallet, network: Network) -> None:
    plan = replace(network.plan, network_id="third", emission_cap_base=10**40)
    with pytest.raises((Reverted, Terminal), match="deploying Rewards was refused: emission above max supply"):
        deploy(chain, outbox, wallet, plan)
