"""Who may stay connected when there are too many: strangers go first, then those of whom there are most.

A connection costs two descriptors and some memory, and anybody can open one. Refusing newcomers at a limit would let who
came first, and says nothing, keep everybody else out; here a thousand silent connections only push each other out. A
connection is a gateway's from its first order on that was found good.
"""

from __future__ import annotations

import contextlib
import resource
from typing import Protocol

MOST_CONNECTIONS = 1_000
_DESCRIPTORS_EACH = 3  # the socket twice, and the share that is read
_DESCRIPTORS_BESIDE = 256
_STRANGERS = ""


class Member(Protocol):
    """A connection."""

    @property
    def is_busy(self) -> bool:
        """Whether a good order is being carried out on it."""
        ...

    def leave(self) -> None:
        """Close it at once."""
        ...


class Crowd:
    """The connections of a provider, by gateway. Used from one thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._groups: dict[str, dict[Member, None]] = {}
        self._group_of: dict[Member, str] = {}

    def __len__(self) -> int:
        return len(self._group_of)

    def came(self, member: Member) -> None:
        """Take a connection in; when that makes one too many, close another one, or it."""
        self._put(member, _STRANGERS)
        if len(self._group_of) > self._most:
            out = self._choose(member)
            self.left(out)
            out.leave()

    def known(self, member: Member, gateway: str) -> None:
        """Note whose a connection is."""
        if self._group_of.get(member, gateway) != gateway:
            self.left(member)
            self._put(member, gateway)

    def left(self, member: Member) -> None:
        """Forget a connection that is closed."""
        group = self._group_of.pop(member, None)
        if group is not None:
            members = self._groups[group]
            del members[member]
            if not members:
                del self._groups[group]

    def _put(self, member: Member, group: str) -> None:
        self._group_of[member] = group
        self._groups.setdefault(group, {})[member] = None

    def _choose(self, newest: Member) -> Member:
        strangers = self._groups[_STRANGERS]
        if len(strangers) > 1:
            return next(iter(strangers))
        for group in sorted(self._groups, key=lambda name: len(self._groups[name]), reverse=True):
            for member in self._groups[group]:
                if member is not newest and not member.is_busy:
                    return member
        return newest


def most_connections() -> int:
    """Return how many connections the process has descriptors for, having asked for as many as it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS * _DESCRIPTORS_EACH + _DESCRIPTORS_BESIDE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(16, min(MOST_CONNECTIONS, (soft - _DESCRIPTORS_BESIDE) // _DESCRIPTORS_EACH))
