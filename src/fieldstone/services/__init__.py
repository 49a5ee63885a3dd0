"""Kinds of infrastructure, found by entry point. An unknown service is a loud error, never a silent default."""

from __future__ import annotations

from importlib.metadata import entry_points

from fieldstone.errors import UsageError
from fieldstone.services.contract import Service

__all__ = ["Service", "load_service", "service_names"]


def service_names() -> list[str]:
    """Return the names of the installed services, sorted."""
    return sorted({entry.name for entry in entry_points(group="fieldstone.services")})


def load_service(name: str) -> Service:
    """Return the installed service `name`. Raises UsageError that lists what is installed."""
    for entry in entry_points(group="fieldstone.services"):
        if entry.name == name:
            service: Service = entry.load()
            return service
    raise UsageError(f"service {name!r} is not installed; installed are: {', '.join(service_names()) or 'none'}")
