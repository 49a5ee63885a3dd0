"""The report of a study: one offline HTML page, summary.json and runs.parquet."""

from __future__ import annotations

from fieldstone.economy.experiments.report.files import write
from fieldstone.economy.experiments.report.page import page

__all__ = ["page", "write"]
