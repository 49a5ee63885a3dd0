"""What a gateway's start looks at and says before it serves: options, the folder's lock, the profile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fieldstone.services.storage.pool import Profile


def check(
    listen: str, admin: str | None, network: str | None, nodes: Path | None, profile: str, wallet: Path | None
) -> None:
    """See that the options make sense. Raises UsageError."""
    from fieldstone.errors import UsageError
    from fieldstone.services.storage.pool import profile_named

    if network is None and nodes is None:
        raise UsageError("give the network's node (--network URL) or a list of storage nodes (--nodes FILE)")
    if profile != "auto":
        profile_named(profile)
    for address in (listen, admin):
        if address is not None:
            address_of(address)
    if wallet is not None and not wallet.exists():
        raise UsageError(
            f"--wallet {wallet} does not exist: make it with `fieldstone device wallet {wallet}`, or leave --wallet out"
        )


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Hold the folder's lock: two gateways with one device key would number their reports and readings alike.

    Raises EnvironmentProblem when another gateway runs on the folder.
    """
    import fcntl
    import os

    from fieldstone.errors import EnvironmentProblem

    handle = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise EnvironmentProblem(
            f"another gateway runs on {directory}: several gateways need a folder each, and share --database and "
            "--master-key-file"
        ) from None
    try:
        yield
    finally:
        os.close(handle)


def profile_words(chosen: Profile | None, providers: int) -> str:
    """Say how objects are cut, and whether there are providers enough for it."""
    from fieldstone.services.storage.pool import automatic

    there = f"{providers} provider{'' if providers == 1 else 's'}"
    if not providers or (chosen is not None and providers < chosen.n):
        least = chosen.n if chosen is not None else 1
        return (
            f"warning     the network has {there} of the {least} needed: until then objects above 4 KiB are refused (503)"
            + (f"; --profile {automatic(providers).name} or auto would do" if providers else "")
        )
    if chosen is not None:
        return f"profile     {chosen.name}: any {chosen.k} of {chosen.n} shares restore an object; {there} known"
    now = automatic(providers)
    words = f"profile     auto, now {now.name}: any {now.k} of {now.n} shares restore an object; {there} known"
    return words if now.parity else f"{words}. One disk holds everything: lose it, lose the data"


def address_of(text: str) -> tuple[str, int]:
    """Read HOST:PORT. Raises UsageError."""
    from fieldstone.errors import UsageError

    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal():
        raise UsageError(f"{text!r} is no address; write HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)
