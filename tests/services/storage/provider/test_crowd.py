"""Who may stay when too many are connected."""

from __future__ import annotations

import resource
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.services.storage.provider import crowd as crowd_module
from fieldstone.services.storage.provider.crowd import Crowd, most_connections


@dataclass(eq=False)
class Connection:
    is_busy: bool = False
    is_open: bool = True

    def leave(self) -> None:
        self.is_open = False


def enter(crowd: Crowd, count: int, gateway: str = "") -> list[Connection]:
    made = [Connection() for _ in range(count)]
    for one in made:
        crowd.came(one)
        if gateway:
            crowd.known(one, gateway)
    return made


def test_strangers_push_each_other_out_and_nobody_else() -> None:
    crowd = Crowd(10)
    first, known = enter(crowd, 1), enter(crowd, 6, "gateway")
    flood = enter(crowd, 100)
    assert not first[0].is_open and all(one.is_open for one in known)
    assert [one.is_open for one in flood] == [False] * 96 + [True] * 4
    assert enter(crowd, 1, "another")[0].is_open


def test_one_gateway_with_all_connections_makes_room_for_others() -> None:
    crowd = Crowd(10)
    many, few = enter(crowd, 8, "many"), enter(crowd, 2, "few")
    many[0].is_busy = True
    new = enter(crowd, 2, "new")
    assert [one.is_open for one in many] == [True, False, False] + [True] * 5
    assert all(one.is_open for one in [*few, *new])


def test_what_is_being_answered_is_not_broken_off() -> None:
    crowd = Crowd(3)
    busy = enter(crowd, 3, "gateway")
    for one in busy:
        one.is_busy = True
    (new,) = enter(crowd, 1)
    assert not new.is_open and all(one.is_open for one in busy)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30), st.booleans()), max_size=200))
def test_never_too_many_and_nobody_is_kept_who_left(steps: list[tuple[int, int, bool]]) -> None:
    crowd, made = Crowd(7), list[Connection]()
    for kind, number, is_busy in steps:
        if kind < 3 or not made:
            made.append(Connection(is_busy))
            crowd.came(made[-1])
        elif kind == 3:
            one = made[number % len(made)]
            one.is_open = False
            crowd.left(one)
        else:
            crowd.known(made[number % len(made)], f"gateway {number % 3}")
        assert len(crowd) <= 7 and len(crowd) == sum(one.is_open for one in made)


@pytest.mark.parametrize(
    ("soft", "hard", "most"), [(1_024, 1_024, 256), (1_024, 524_288, 1_000), (64, 64, 16), (-1, -1, 1_000)]
)
def test_there_are_descriptors_for_those_who_stay(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, most: int
) -> None:
    """A thousand is many for a process that may have 1,024 descriptors: shares could not be opened any more."""
    limits = [(soft, hard)]
    monkeypatch.setattr(crowd_module.resource, "getrlimit", lambda kind: limits[-1])
    monkeypatch.setattr(crowd_module.resource, "setrlimit", lambda kind, wanted: limits.append(wanted))
    assert resource.RLIM_INFINITY == -1
    assert most_connections() == most
    assert limits[-1][1] == hard
