"""Empty capacity: real plots' proofs count a little, in the rounds that ask, once; and are never a customer's storage."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from fieldstone.services.contract import EpochInput
from fieldstone.services.storage import devices, service
from fieldstone.services.storage.lab_providers import Honest
from fieldstone.services.storage.lab_world import World
from fieldstone.services.storage.provider.space.proof import SpaceProof, SpaceVerdict
from tests.services.storage.worlds import named

PROVEN = 100 * 2**30


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Two idle providers, six hours; plots are believed (their own tests check the proofs)."""
    monkeypatch.setattr(
        devices,
        "verify_space",
        lambda device, claim, number, seed, *, most_proofs: SpaceVerdict(
            len(claim.proofs), 0, PROVEN if claim.proofs else 0
        ),
    )
    one = World(1, overrides={"space_every_rounds": 4})
    one.add("idle", Honest())
    one.add("other", Honest())
    return one


def claims(world: World, whole: EpochInput, *sent: tuple[int, int]) -> dict:
    """Judge the epoch with space claims (round, seconds after it) of the idle provider."""
    issued = {one.number: one.issued_ms for one in whole.rounds}
    for number, delay_s in sent:
        body = msgspec.msgpack.encode(SpaceProof(number=number, k=25, proofs=((0, bytes(200)),)))
        world.report("space", world.providers[0].device, body, issued.get(number, world.now_ms) + delay_s * 1_000)
    table = world.input(whole.start_ms, whole.end_ms, ()).evidence["space"]
    other = dataclasses.replace(whole, evidence={**whole.evidence, "space": table})
    return named(world, service.check_fleet(other, world.stage_1(other)))["idle"]


def test_a_hundredth_of_proven_space_counts_for_the_time_between_asking(world: World) -> None:
    whole, _ = world.run(6.0)
    row = claims(world, whole, (4, 60))
    assert row["quantity"] == PROVEN // 1_024 * 4 * 1_800 // 100
    assert row["verdict"] == "accepted"


def test_other_rounds_second_claims_and_late_ones_do_not_count(world: World) -> None:
    whole, result = world.run(6.0)
    assert claims(world, whole, (3, 60), (4, 901), (5, 10))["quantity"] == 0
    assert claims(world, whole, (4, 20), (4, 30))["quantity"] == PROVEN // 1_024 * 4 * 1_800 // 100
    assert result.usage.is_empty()


def test_made_up_proofs_are_named() -> None:
    world = World(1, overrides={"space_every_rounds": 4})
    world.add("idle", Honest())
    whole, _ = world.run(6.0)
    row = claims(world, whole, (4, 60))
    assert (row["quantity"], "SPACE_UNPROVEN" in row["reasons"]) == (0, True)
    world.report("space", world.providers[0].device, b"\xc1")
    assert "SPACE_UNPROVEN" in claims(world, whole, (8, 60))["reasons"]
