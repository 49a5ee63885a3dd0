from __future__ import annotations

import pytest

from fieldstone.errors import UsageError
from fieldstone.services.storage.pool import PROFILES, Profile, automatic, profile_named


def test_the_default_profile() -> None:
    profile = PROFILES["20/40"]
    assert (profile.margin, profile.least, profile.spare, profile.operator_cap) == (10, 30, 4, 5)


@pytest.mark.parametrize("profile", [*PROFILES.values(), *(Profile("", max(1, n // 2), n) for n in range(1, 60))])
def test_an_acknowledgement_never_waits_for_less_than_the_least(profile: Profile) -> None:
    assert profile.k <= profile.least <= profile.n - profile.spare <= profile.n


@pytest.mark.parametrize(
    ("nodes", "name"), [(1, "1/1"), (2, "1/2"), (3, "1/3"), (12, "6/12"), (40, "20/40"), (900, "20/40")]
)
def test_the_automatic_choice(nodes: int, name: str) -> None:
    assert automatic(nodes).name == name


@pytest.mark.parametrize("name", ["", "4", "0/3", "5/4", "1/256", "x/y", "-1/2", "４/6 "])
def test_unusable_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        profile_named(name)


def test_any_code_can_be_named() -> None:
    assert (profile_named("5/9").k, profile_named("5/9").n) == (5, 9)


def test_no_node_no_profile() -> None:
    with pytest.raises(UsageError, match="no storage node"):
        automatic(0)
