"""stub"""

from __future__ import annotations
import polars as pl
from fieldstone.services.contract import EpochInput
from fieldstone.services.sensing.findings import FleetFindings, no_findings


def run(whole: EpochInput, device_checks: pl.DataFrame) -> FleetFindings:
    """Return nothing yet."""
    return FleetFindings(no_findings())
