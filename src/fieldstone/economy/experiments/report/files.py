"""Write a study's files. Equal input gives equal bytes, so a report can be checked by running it again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldstone.economy.experiments.report.page import page
from fieldstone.economy.experiments.summary import document, table, to_json
from fieldstone.errors import EnvironmentProblem

if TYPE_CHECKING:
    from fieldstone.economy.backtest import Score
    from fieldstone.economy.experiments.calibrate import Calibration
    from fieldstone.economy.experiments.comparison import Comparison
    from fieldstone.economy.experiments.studies import Study


def write(
    folder: Path,
    study: Study,
    *,
    against: Comparison | None = None,
    calibration: Calibration | None = None,
    backtest: Sequence[Score] = (),
) -> list[Path]:
    """Write report.html, summary.json and runs.parquet (with `against` also those of B); return their paths.

    Raises EnvironmentProblem when the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        html, summary, runs = folder / "report.html", folder / "summary.json", folder / "runs.parquet"
        parts: dict[str, Any] = {"against": against, "calibration": calibration, "backtest": backtest}
        html.write_text(page(study, **parts).html(), encoding="utf-8")
        summary.write_text(to_json(document(study, **parts)), encoding="utf-8")
        table(study).write_parquet(runs, compression="zstd", statistics=False)
        written = [html, summary, runs]
        if against:
            written.append(folder / "runs-against.parquet")
            table(against.b).write_parquet(written[-1], compression="zstd", statistics=False)
    except OSError as error:
        raise EnvironmentProblem(f"the report cannot be written to {folder}: {error}") from error
    return written
