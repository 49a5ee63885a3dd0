"""Posting a record: sequence, caps, the signed digest field by field, and who may sign."""

from __future__ import annotations

from typing import Any

import pytest
from contract_world import (
    ACTIVE,
    CANCELLED,
    CURVE_ORDER,
    DATA_HASH,
    EMPTY,
    PENDING,
    SUPERSEDED,
    ZERO,
    Contract,
    Signer,
    World,
    digest,
    make_signers,
    quorum,
    refused_signatures,
    reverts,
)

ROOT = b"\x11" * 32


def test_record_goes_from_pending_to_active_to_superseded(world: World) -> None:
    world.post(ROOT, 5)
    assert world.status(1) == PENDING
    assert world.rewards.active_root() == EMPTY
    world.pass_time(world.delay_s - 1)
    assert world.status(1) == PENDING
    world.pass_time(1)
    assert (world.status(1), world.rewards.active_root(), world.rewards.active_total()) == (ACTIVE, ROOT, 5)
    world.post(b"\x22" * 32, 9)
    assert (world.status(1), world.status(2)) == (ACTIVE, PENDING)
    world.pass_time(world.delay_s)
    assert (world.status(1), world.status(2)) == (SUPERSEDED, ACTIVE)
    assert world.rewards.record(3) == (0, EMPTY, EMPTY, 0, 0, 0, 0)
    assert world.rewards.record(0)[0] == 0


def test_post_names_the_fields_in_its_event(world: World) -> None:
    world.post(ROOT, 5)
    assert world.rewards.logs == [
        (
            "RootPosted",
            {
                "epoch": 1,
                "attempt": 0,
                "root": ROOT,
                "data_hash": DATA_HASH,
                "total": 5,
                "activation": world.start_s + world.delay_s,
            },
        )
    ]


@pytest.mark.parametrize(
    ("epoch", "root", "data_hash", "total", "reason"),
    [
        (1, ROOT, DATA_HASH, 5, "not the next epoch"),
        (3, ROOT, DATA_HASH, 5, "not the next epoch"),
        (2, EMPTY, DATA_HASH, 5, "empty root or data hash"),
        (2, ROOT, EMPTY, 5, "empty root or data hash"),
        (2, ROOT, DATA_HASH, 4, "total decreased"),
        (2, ROOT, DATA_HASH, 6 + World.epoch_cap, "epoch cap"),
    ],
)
def test_post_refuses(world: World, epoch: int, root: bytes, data_hash: bytes, total: int, reason: str) -> None:
    world.post(ROOT, 5)
    fields = world.root_fields(epoch, root, total) | {"data_hash": data_hash}
    with reverts(reason):
        world.rewards.post(epoch, root, data_hash, total, quorum(world.signers[:2], digest.root_digest(**fields)))


def test_epoch_cap_itself_is_allowed(world: World) -> None:
    world.post(ROOT, world.epoch_cap)
    world.post(ROOT, 2 * world.epoch_cap)


def test_emission_cap_ends_the_schedule(world: World) -> None:
    world.rewards = deploy_rewards(world, emission_cap=3)
    world.post(ROOT, 3)
    with reverts("emission cap"):
        world.post(ROOT, 4)


def test_an_epoch_cannot_be_posted_before_it_ends(world: World) -> None:
    """A colluding quorum cannot mint the schedule of many epochs in one day."""
    world.rewards = deploy_rewards(world, first_start=world.start_s)
    world.pass_time(999)
    with reverts("epoch has not ended"):
        world.post(ROOT, 1)
    world.pass_time(1)
    world.post(ROOT, 1)
    with reverts("epoch has not ended"):
        world.post(ROOT, 2)


def test_pending_records_never_overwrite_the_active_one(world: World) -> None:
    world.post(ROOT, 1)
    world.pass_time(world.delay_s)
    for number in range(31):
        world.post(bytes([number]) * 31 + b"\x01", 2 + number)
    with reverts("too many pending epochs"):
        world.post(ROOT, 40)
    assert world.rewards.active_root() == ROOT
    world.pass_time(world.delay_s)
    assert world.rewards.active_epoch() == 32
    world.post(ROOT, 40)
    assert world.status(1) == 0, "its slot was used again"


MUTATIONS: dict[str, Any] = {
    "chain_id": 31_337,
    "contract": "0x" + "12" * 20,
    "epoch": 2,
    "attempt": 1,
    "previous_root": b"\x01" * 32,
    "root": b"\x12" * 32,
    "data_hash": b"\xdb" * 32,
    "total": 6,
    "signer_set_version": 2,
}


@pytest.mark.parametrize("field", list(MUTATIONS))
def test_signatures_over_any_other_field_are_refused(world: World, field: str) -> None:
    """No signature set is valid for two (chain, contract, epoch, attempt, roots, data hash, total, version)."""
    fields = world.root_fields(1, ROOT, 5) | {field: MUTATIONS[field]}
    signatures = quorum(world.signers[:2], digest.root_digest(**fields))
    # a digest that was not signed recovers to strangers: not a signer, or by luck not ascending
    with refused_signatures():
        world.rewards.post(1, ROOT, DATA_HASH, 5, signatures)
    assert world.rewards.live_epoch() == 0


def test_signatures_of_a_cancelled_root_are_dead(world: World) -> None:
    """Replay: without the attempt in the digest anyone could post a vetoed root again."""
    signatures = world.sign_root(1, ROOT, 5)
    world.rewards.post(1, ROOT, DATA_HASH, 5, signatures)
    world.rewards.veto(1, ROOT, sender=world.guardian)
    assert world.status(1) == CANCELLED
    with refused_signatures():
        world.rewards.post(1, ROOT, DATA_HASH, 5, signatures)
    world.post(b"\x33" * 32, 4)
    assert world.rewards.record(1)[5] == 1, "attempt"


def signatures_of(world: World, signers: list[Signer]) -> list[bytes]:
    message = digest.root_digest(**world.root_fields(1, ROOT, 5))
    return [signer.sign(message) for signer in signers]


def post_with(world: World, signatures: bytes) -> None:
    world.rewards.post(1, ROOT, DATA_HASH, 5, signatures)


def test_too_few_signatures(world: World) -> None:
    with reverts("too few signatures"):
        post_with(world, signatures_of(world, world.signers)[0])
    with reverts("too few signatures"):
        post_with(world, b"")


def test_more_than_enough_signatures(world: World) -> None:
    post_with(world, b"".join(signatures_of(world, world.signers)))


def test_duplicate_signer(world: World) -> None:
    one = signatures_of(world, world.signers)[0]
    with reverts("signers not ascending"):
        post_with(world, one + one)


def test_descending_signers(world: World) -> None:
    first, second, _ = signatures_of(world, world.signers)
    with reverts("signers not ascending"):
        post_with(world, second + first)


def test_a_stranger_does_not_count(world: World) -> None:
    crowd = sorted([world.signers[0], Signer(0xBAD)], key=lambda signer: signer.address)
    with reverts("not a signer"):
        post_with(world, b"".join(signatures_of(world, crowd)))


@pytest.mark.parametrize("v", [0, 1, 26, 29, 255])
def test_unrecoverable_signature_is_the_zero_signer(world: World, v: int) -> None:
    first, second, _ = signatures_of(world, world.signers)
    with reverts("signers not ascending"):
        post_with(world, first[:64] + bytes([v]) + second)


def test_zeros_are_the_zero_signer(world: World) -> None:
    second = signatures_of(world, world.signers)[1]
    with reverts("signers not ascending"):
        post_with(world, bytes(65) + second)


def test_malleated_signature(world: World) -> None:
    first, second, _ = signatures_of(world, world.signers)
    high_s = CURVE_ORDER - int.from_bytes(first[32:64], "big")
    with reverts("high s"):
        post_with(world, first[:32] + high_s.to_bytes(32, "big") + bytes([27 + 28 - first[64]]) + second)


def test_cut_signature(world: World) -> None:
    joined = b"".join(signatures_of(world, world.signers))
    with reverts("bad signature length"):
        post_with(world, joined[:-1])


# ---- the signer set --------------------------------------------------------------------------------------------------


def rotate(world: World, signers: list[Signer], threshold: int, version: int | None = None) -> None:
    addresses = [signer.address for signer in signers]
    current = world.rewards.signer_set_version() if version is None else version
    message = digest.rotation_digest(world.chain_id, world.rewards.address, addresses, threshold, current)
    world.rewards.rotate_signers(addresses, threshold, quorum(world.signers[:2], message))


def test_rotation_replaces_everyone_and_kills_old_signatures(world: World) -> None:
    old_signatures = world.sign_root(1, ROOT, 5)
    fresh = make_signers(4, 0xF00D)
    rotate(world, fresh, 3)
    assert world.rewards.signers() == tuple(signer.address for signer in fresh)
    assert (world.rewards.threshold(), world.rewards.signer_set_version()) == (3, 2)
    assert not world.rewards.is_signer(world.signers[0].address) and world.rewards.is_signer(fresh[0].address)
    with reverts("too few signatures"):
        post_with(world, old_signatures)
    world.signers, world.threshold = fresh, 3
    world.post(ROOT, 5)


def test_a_member_who_stays_must_sign_anew(world: World) -> None:
    old_signatures = world.sign_root(1, ROOT, 5)
    rotate(world, world.signers, 2)
    with refused_signatures():
        post_with(world, old_signatures)
    world.post(ROOT, 5)


def test_rotation_cannot_be_replayed(world: World) -> None:
    rotate(world, world.signers, 2)
    with refused_signatures():
        rotate(world, world.signers, 2, version=1)


@pytest.mark.parametrize(
    ("indices", "threshold", "reason"),
    [
        ([0, 1], 0, "threshold out of range"),
        ([0, 1], 3, "threshold out of range"),
        ([], 1, "threshold out of range"),
        ([1, 0], 1, "signers not ascending"),
        ([0, 0], 1, "signers not ascending"),
    ],
)
def test_rotation_refuses_a_set_that_cannot_work(world: World, indices: list[int], threshold: int, reason: str) -> None:
    with reverts(reason):
        rotate(world, [world.signers[i] for i in indices], threshold)


# ---- deployment ------------------------------------------------------------------------------------------------------


def deploy_rewards(world: World, **changes: Any) -> Contract:
    """Deploy a second Rewards with its own token that trusts it."""
    import boa

    address = str(boa.env.generate_address())
    token = Contract("Token", "Other", "OTH", address, world.founder, world.genesis, world.max_supply)
    return Contract("Rewards", *world.rewards_arguments(token=token.address, **changes), address=address)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"treasury": ZERO}, "zero treasury"),
        ({"emission_cap": World.max_supply - World.genesis + 1}, "emission above max supply"),
        ({"epoch_cap": 0}, "zero cap"),
        ({"window_cap": 0}, "zero cap"),
        ({"window_length": 0}, "zero cap"),
        ({"dispute_bond": 0}, "bond out of range"),
        ({"dispute_period": 0}, "zero dispute period"),
        ({"activation_delay": 30_001}, "delay outgrows the ring"),
        ({"recipient_delay": 2**32}, "delay too long"),
        ({"signers": [ZERO], "threshold": 1}, "signers not ascending"),
        ({"threshold": 4}, "threshold out of range"),
    ],
)
def test_deployment_refuses(world: World, changes: dict[str, Any], reason: str) -> None:
    with reverts(reason):
        deploy_rewards(world, **changes)


def test_deployment_refuses_a_token_of_another_minter(world: World) -> None:
    with reverts("token has another minter"):
        Contract("Rewards", *world.rewards_arguments())


def test_signature_from_another_deployment_is_refused(world: World) -> None:
    other = deploy_rewards(world)
    fields = world.root_fields(1, ROOT, 5) | {"contract": other.address}
    signatures = quorum(world.signers[:2], digest.root_digest(**fields))
    with refused_signatures():
        post_with(world, signatures)
    other.post(1, ROOT, DATA_HASH, 5, signatures)
    assert other.live_epoch() == 1
