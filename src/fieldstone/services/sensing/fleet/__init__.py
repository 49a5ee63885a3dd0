"""Checks that compare devices with each other and with the sun: stage 2 of sensing, before the score.

`check(whole, device_checks)` returns findings, what could be checked at all, and the tables for the next epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

    from fieldstone.services.contract import EpochInput
    from fieldstone.services.sensing.findings import FleetFindings

__all__ = ["check", "find"]


def check(whole: EpochInput, device_checks: pl.DataFrame) -> FleetFindings:
    """Run all fleet checks. `device_checks` is stage 1's table (`series.RESAMPLED`)."""
    from fieldstone.services.sensing.fleet.run import run

    return run(whole, device_checks)


def find(whole: EpochInput, device_checks: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    """Return only findings (FINDINGS_SCHEMA) and carry of `check`."""
    found = check(whole, device_checks)
    return found.findings, dict(found.carry)
