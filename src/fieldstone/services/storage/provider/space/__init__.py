"""Proving empty capacity without pretending: plots that cost hours to make and a moment to check (`proof`, `filling`)."""

from __future__ import annotations
