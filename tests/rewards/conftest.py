"""Allocations take milliseconds on a quiet machine and more on a busy one: no example may fail for its duration."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
