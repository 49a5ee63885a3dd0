from pathlib import Path

import polars as pl
import pytest

from fieldstone.agent.buffer import Reading
from fieldstone.agent.files import in_reports, read_readings
from fieldstone.errors import UsageError

_COLUMNS = ("temperature_c", "rain_mm")


def _csv(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "r.csv"
    path.write_text(text)
    return path


def test_csv_with_unix_times_gaps_and_nan(tmp_path: Path) -> None:
    path = _csv(tmp_path, "t_ms,temperature_c,rain_mm\n2000,20.5,\n1000,NaN,0\n3000,inf,0.2\n")
    assert read_readings(path, _COLUMNS) == [
        Reading(1000, {"temperature_c": None, "rain_mm": 0.0}),
        Reading(2000, {"temperature_c": 20.5, "rain_mm": None}),
        Reading(3000, {"temperature_c": None, "rain_mm": 0.2}),
    ]


@pytest.mark.parametrize("time", ["2028-02-29T00:00:00Z", "2028-02-29T01:00:00+01:00"])
def test_csv_with_iso_times(tmp_path: Path, time: str) -> None:
    assert read_readings(_csv(tmp_path, f"time,rain_mm\n{time},1\n"), _COLUMNS)[0].t_ms == 1_835_395_200_000


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    pl.DataFrame({"t_ms": [5], "rain_mm": [0.25]}).write_parquet(path)
    assert read_readings(path, _COLUMNS) == [Reading(5, {"rain_mm": 0.25})]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("temperature_c\n1\n", "t_ms"),
        ("t_ms,snow\n1,2\n", "unknown columns snow"),
        ("t_ms\n1\n", "no column besides"),
        ("t_ms,rain_mm\n1,wet\n", "no number"),
        ("t_ms,rain_mm\n,1\n", "no time"),
        ("time,rain_mm\nnoon,1\n", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_each_fault_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read_readings(_csv(tmp_path, text), _COLUMNS)


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "r.parquet").write_bytes(b"PAR1 not really")
    for name, says in (("none.csv", "no such file"), ("r.xlsx", "ending in"), ("r.parquet", "cannot be read")):
        with pytest.raises(UsageError, match=says):
            read_readings(tmp_path / name, _COLUMNS)


def test_reports_are_cut_by_count_and_by_span() -> None:
    readings = [Reading(t_ms, {}) for t_ms in (0, 1, 2, 3, 100, 101, 500)]
    cut = [[reading.t_ms for reading in part] for part in in_reports(readings, 3, 50)]
    assert cut == [[0, 1, 2], [3], [100, 101], [500]]
    assert list(in_reports([], 3, 50)) == []
