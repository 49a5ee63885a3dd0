"""The storage service keeps the contract: one call of the suite, and what the suite must find."""

from __future__ import annotations

import dataclasses

import polars as pl
import pytest

from fieldstone.services import conformance
from fieldstone.services.contract import EpochInput, Round
from fieldstone.services.storage import Storage, service
from fieldstone.services.storage.lab_providers import (
    BitRot,
    Drops,
    InflatesEgress,
    Outage,
    RefusesReads,
    RootsOnly,
    SilentWhenHit,
)
from tests.services.storage.worlds import fleet


def examples() -> list[EpochInput]:
    """Two days of an odd fleet (releases and leases on the second), an epoch shorter than a round, a silent one."""
    world = fleet(
        3,
        honest=4,
        shares=12,
        drops=Drops(share_dropped=0.3),
        roots=RootsOnly(),
        outage=Outage(hours=12),
        rot=BitRot(one_in=50),
        silent=SilentWhenHit(share_dropped=0.3),
        refuses=RefusesReads(),
        inflates=InflatesEgress(),
    )
    first, _ = world.run(4)
    world.release(world.providers[0], list(world.providers[0].shares)[:5])
    world.lease(world.providers[1], [world.share(b"s" * 16, number) for number in range(3)])
    second, _ = world.run(4.4)
    short, _ = world.run(0.2)
    last, _ = world.run(1.0)
    return [first, second, short, last]


def test_storage_conforms() -> None:
    conformance.check(service, examples(), part_counts=(2, 5))


class Careless(Storage):
    """Storage with one promise of active services broken."""


class Forgetful(Careless):
    """Asks what the newest evidence suggests, also of an old round."""

    def challenges(self, so_far: EpochInput, asked: Round) -> pl.DataFrame:
        newest = dataclasses.replace(asked, position=2**40)
        return super().challenges(so_far, newest)


class Predictable(Careless):
    """Asks the same whatever the seed."""

    def challenges(self, so_far: EpochInput, asked: Round) -> pl.DataFrame:
        return super().challenges(so_far, dataclasses.replace(asked, seed=bytes(32)))


class Unsorted(Careless):
    def challenges(self, so_far: EpochInput, asked: Round) -> pl.DataFrame:
        return super().challenges(so_far, asked).reverse()


class Generous(Careless):
    def check_fleet(self, whole: EpochInput, device_checks: pl.DataFrame):
        result = super().check_fleet(whole, device_checks)
        return dataclasses.replace(
            result, usage=result.usage.filter(pl.col("product") == "storage").with_columns(product=pl.lit("permanent"))
        )


class Fragile(Careless):
    """Stumbles over a document that it cannot read."""

    def check_devices(self, part: EpochInput) -> pl.DataFrame:
        for body in part.evidence["proof"]["body"]:
            if len(body) < 4:
                raise ValueError("too short")
        return super().check_devices(part)


@pytest.fixture(scope="module")
def epoch() -> EpochInput:
    world = fleet(5, honest=3, shares=6)
    world.run(2)
    world.lease(world.providers[0], [world.share(b"t" * 16, number) for number in range(40)])
    world.now_ms += 2_000_000  # after the first round, so that a blind one asks otherwise
    return world.run(2)[0]


def grown(epoch: EpochInput) -> EpochInput:
    """Move the epoch's leases behind its first round."""
    first = epoch.rounds[0]
    lease = epoch.evidence["lease"].with_columns(position=pl.lit(first.position + 1, pl.Int64))
    return dataclasses.replace(epoch, evidence={**epoch.evidence, "lease": lease})


@pytest.mark.parametrize(
    ("flawed", "promise"),
    [
        (Forgetful(), "whenever it is worked out"),
        (Predictable(), "another seed"),
        (Unsorted(), "sorted"),
    ],
)
def test_the_suite_finds_broken_challenges(flawed: Storage, promise: str, epoch: EpochInput) -> None:
    conformance.check_active(service, grown(epoch))
    with pytest.raises(conformance.ConformanceError, match=promise):
        conformance.check_active(flawed, grown(epoch))


def test_the_suite_finds_usage_of_something_that_is_not_metered(epoch: EpochInput) -> None:
    with pytest.raises(conformance.ConformanceError, match="metered"):
        conformance.check_usage(service, epoch, conformance.run(Generous(), epoch))


def test_the_suite_sends_garbage(epoch: EpochInput) -> None:
    with pytest.raises(ValueError, match="too short"):
        conformance.check_garbage(Fragile(), epoch)
