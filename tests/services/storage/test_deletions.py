"""A gateway that deletes and has the provider asked all the same: its own signed order ends the lease."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from fieldstone.services.contract import Round
from fieldstone.services.storage import records
from fieldstone.services.storage.holdings import FOREVER
from fieldstone.services.storage.lab_providers import Honest
from fieldstone.services.storage.lab_world import Provider, World
from tests.services.storage.test_holdings import causes, folded, new_world, state
from tests.services.storage.worlds import fleet, named


def order(world: World, one: Provider, share: bytes, *, operation: str = "delete", signer: str = "") -> bytes:
    key = world.key(signer) if signer else world.gateway
    access = records.AccessOrder(
        operation=operation,  # type: ignore[arg-type]
        gateway=world.gateway.public.device_id,
        provider=one.device,
        share=share,
        expires_ms=world.now_ms + 600_000,
    )
    return records.sign(key, access, records.ACCESS)


def deletion(*orders: bytes) -> bytes:
    return records.encode(records.Deletion(orders=orders))


def test_an_order_to_delete_ends_the_lease_and_voids_its_receipt() -> None:
    world = new_world(1)
    share, one = world.share(b"s" * 16, 0), world.providers[0]
    world.lease(one, [share])
    lease = world._pending["lease"][0]
    world.now_ms += 1_000
    world.report("deleted", one.device, deletion(order(world, one, share.id)))
    assert folded(world).holdings["until_ms"].to_list() == [world.now_ms]
    world.report("lease", lease[0], lease[4])  # the same receipt again
    assert causes(world) == ["the receipt is older than the share's release"]
    # …and in the next epoch, from what is carried
    carried = dataclasses.replace(
        state(world), carry={"holdings": folded(world).holdings}, evidence={"lease": state(world).evidence["lease"][1:]}
    )
    from fieldstone.services.storage.holdings import fold

    assert fold(carried).refused["cause"].to_list() == ["the receipt is older than the share's release"]


def test_an_order_shown_before_the_lease_keeps_it_from_counting() -> None:
    world = new_world(1)
    share, one = world.share(b"s" * 16, 0), world.providers[0]
    world.lease(one, [share])
    lease = world._pending["lease"].pop()
    world.report("deleted", one.device, deletion(order(world, one, share.id)))
    world.report("lease", lease[0], lease[4])
    assert folded(world).holdings.is_empty()


def test_an_order_of_another_key_voids_no_receipt() -> None:
    """A provider signed "delete" with a key of its own, reported it, and was never asked for what a customer had stored."""
    world = new_world(1)
    share, one, accomplice = world.share(b"s" * 16, 0), world.providers[0], world.key("accomplice")
    world.lease(one, [share])
    lease = world._pending["lease"].pop()
    message = records.AccessOrder(
        operation="delete",
        gateway=accomplice.public.device_id,
        provider=one.device,
        share=share.id,
        expires_ms=world.now_ms + 10**9,
    )
    world.report("deleted", one.device, deletion(records.sign(accomplice, message, records.ACCESS)))
    world.report("lease", lease[0], lease[4])
    assert folded(world).holdings["until_ms"].to_list() == [FOREVER] and causes(world) == []


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"operation": "get"}, "no order to delete here"),
        ({"signer": "somebody"}, "no order that a gateway signed"),
        ({"other": True}, "no order to delete here"),
    ],
)
def test_a_provider_cannot_talk_itself_out_of_a_lease(changes: dict[str, object], cause: str) -> None:
    world = new_world(2)
    share, one = world.share(b"s" * 16, 0), world.providers[0]
    world.lease(one, [share])
    names = {name: value for name, value in changes.items() if name != "other"}
    message = order(world, world.providers[1] if "other" in changes else one, share.id, **names)  # type: ignore[arg-type]
    world.report("deleted", one.device, deletion(message))
    assert folded(world).holdings["until_ms"].to_list() == [FOREVER]
    assert causes(world) == [cause]
    world.report("deleted", one.device, b"junk")
    assert causes(world)[1:] == ["the report is not one of deletions"]


@dataclass
class Griefed(Honest):
    """Deleted what its gateway told it to, and shows the order when it is asked all the same (or does not)."""

    shows: bool = True
    orders: dict[bytes, bytes] = field(default_factory=dict)

    def answer(
        self, world: World, me: Provider, asked: Round, questions: Sequence[tuple[bytes, int]]
    ) -> list[tuple[int, bytes]]:
        found = [self.orders[share] for share in {share for share, _ in questions} if share in self.orders]
        if found and self.shows:
            world.report("deleted", me.device, deletion(*found), asked.issued_ms + 2_000)
        return super().answer(world, me, asked, questions)


@pytest.mark.parametrize("shows", [True, False])
def test_griefing_by_deletion_costs_an_honest_provider_nothing(shows: bool) -> None:
    """The gateway deletes four of five shares a moment after their lease and lets the network ask on."""
    world = fleet(5, honest=5, shares=20, griefed=Griefed(shows=shows))
    one = next(provider for provider in world.providers if isinstance(provider.behaviour, Griefed))
    victims = sorted(one.shares)[:16]
    for share in victims:
        one.behaviour.orders[share] = order(world, one, share)
        del one.shares[share]
    _, result = world.run(12.0)
    row = named(world, result)["griefed"]
    if shows:
        assert row["verdict"] == "accepted" and row["quality_ppm"] == 1_000_000
        assert not {"MISSING_LEAF", "SUSPENDED", "RETRIEVAL_FAILING"} & set(row["reasons"])
    else:  # the attack, without the defence
        assert {"MISSING_LEAF", "SUSPENDED"} <= set(row["reasons"])
