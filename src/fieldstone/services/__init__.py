"""Kinds of infrastructure, found by entry point. An unknown service is a loud error, never a silent default."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from fieldstone.errors import UsageError
from fieldstone.services.contract import Service

__all__ = ["Service", "load_service", "service_names"]


@cache
def _installed() -> dict[str, EntryPoint]:
    """Return the entry points by name: read once a process, as it opens the metadata of every installed package."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group="fieldstone.services"):
        found.setdefault(entry.name, entry)
    return found


def service_names() -> list[str]:
    """Return the names of the installed services, sorted."""
    return sorted(_installed())


def load_service(name: str) -> Service:
    """Return the installed service `name`. Raises UsageError that lists what is installed."""
    entry = _installed().get(name)
    if entry is None:
        raise UsageError(f"service {name!r} is not installed; installed are: {', '.join(service_names()) or 'none'}")
    service: Service = entry.load()
    return service
