"""Plain Parquet files in, verdicts out; clear words for everything that is off."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from fieldstone.errors import UsageError
from fieldstone.services import load_service
from fieldstone.services.contract import VERDICT_SCHEMA
from fieldstone.services.offline import parse_duration, read_params, verify_files
from tests.services.sensing.stations import DAY_MS, HOUR_MS, LEAP_DAY_MS, every, readings, registry, weather

SENSING = load_service("sensing")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Two stations for two days."""
    evidence = tmp_path / "evidence"
    evidence.mkdir()
    times = every(300, 2 * DAY_MS)
    pl.concat([weather("a", times), weather("b", times, seed=1)]).write_parquet(evidence / "readings.parquet")
    registry("a", "b").write_parquet(tmp_path / "registry.parquet")
    return tmp_path / "registry.parquet", evidence


def test_one_epoch_by_default(files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "verdicts.parquet"
    result = verify_files(SENSING, *files, out=out)
    table = pl.read_parquet(out)
    assert dict(table.schema) == dict(VERDICT_SCHEMA)
    assert table.equals(result.verdicts)
    assert table.select("device", "service", "epoch").rows() == [("a", "sensing", 1), ("b", "sensing", 1)]
    assert result.rows == 2 * 576
    assert not list(tmp_path.glob("*.part"))


def test_epochs_split_at_utc_multiples_and_hand_on_the_carry(files: tuple[Path, Path]) -> None:
    stuck = weather("c", every(300, 2 * DAY_MS), temperature_c=7.7)
    stuck.write_parquet(files[1] / "readings-2.parquet")
    registry("a", "b", "c").write_parquet(files[0])
    parts = verify_files(SENSING, *files, epoch_ms=3 * HOUR_MS)
    assert [epoch[0] for epoch in parts.epochs] == list(range(1, 17))
    assert parts.epochs[0][1:] == (LEAP_DAY_MS, LEAP_DAY_MS + 3 * HOUR_MS)
    mine = parts.verdicts.filter(pl.col("device") == "c")["reasons"].to_list()
    assert "STUCK" not in mine[0] and "STUCK" in mine[-1]


def test_processes_and_order_do_not_matter(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fieldstone.services.offline.ROWS_PER_PART", 500)
    alone = verify_files(SENSING, *files, workers=1)
    shuffled = pl.read_parquet(files[1] / "readings.parquet").sample(fraction=1, shuffle=True, seed=1)
    shuffled.write_parquet(files[1] / "readings.parquet")
    pooled = verify_files(SENSING, *files, workers=2)
    assert alone.verdicts.equals(pooled.verdicts)


def test_missing_columns_are_fine(tmp_path: Path) -> None:
    pl.DataFrame({"device": ["a"]}).write_parquet(tmp_path / "registry.parquet")
    bare = readings("a", every(60, 3_600_000), temperature_c=5.0).select("device", "t_ms", "temperature_c")
    bare.write_parquet(tmp_path / "readings.parquet")
    result = verify_files(SENSING, tmp_path / "registry.parquet", tmp_path / "readings.parquet")
    assert result.verdicts["verdict"].to_list() == ["accepted"]


def test_any_parquet_files_of_the_folder_but_registry_and_out(tmp_path: Path) -> None:
    times = every(300)
    weather("a", times[:100]).write_parquet(tmp_path / "monday.parquet")
    weather("a", times[100:]).write_parquet(tmp_path / "tuesday.parquet")
    registry("a").write_parquet(tmp_path / "registry.parquet")
    out = tmp_path / "verdicts.parquet"
    for _ in range(2):  # the second run finds its own output beside the evidence
        assert verify_files(SENSING, tmp_path / "registry.parquet", tmp_path, out=out).rows == 288


def test_whole_numbers_and_categories_are_read(files: tuple[Path, Path]) -> None:
    path = files[1] / "readings.parquet"
    table = pl.read_parquet(path).with_columns(
        pl.col("humidity_pct").cast(pl.Int32),
        pl.col("device").cast(pl.Categorical),
        pl.col("solar_wm2").cast(pl.Float32),
    )
    table.write_parquet(path)
    assert verify_files(SENSING, *files).verdicts.height == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.rename({"humidity_pct": "humidty_pct"}), "unknown column 'humidty_pct'"),
        (
            lambda t: t.with_columns(temperature_c=pl.lit("warm")),
            "column 'temperature_c' must be a number, but is String",
        ),
        (lambda t: t.with_columns(pl.col("t_ms").cast(pl.Float64)), "column 't_ms' must be an integer"),
        (lambda t: t.with_columns(pl.from_epoch("t_ms", "ms").alias("t_ms")), "column 't_ms' must be an integer"),
        (lambda t: t.drop("t_ms"), "column 't_ms' is missing"),
        (lambda t: t.drop("device"), "column 'device' is missing"),
        (lambda t: t.with_columns(device=pl.lit(None, pl.String)), "column 'device' has 1152 empty entries"),
        (lambda t: t.with_columns(t_ms=pl.lit(None, pl.Int64)), "column 't_ms' has 1152 empty entries"),
    ],
)
def test_wrong_evidence_is_named(files: tuple[Path, Path], change, words: str) -> None:
    path = files[1] / "readings.parquet"
    change(pl.read_parquet(path)).write_parquet(path)
    with pytest.raises(UsageError, match=words) as caught:
        verify_files(SENSING, *files)
    assert "readings.parquet" in str(caught.value) or "evidence" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.with_columns(colour=pl.lit("red")), "unknown column 'colour'"),
        (lambda t: pl.concat([t, t]), "device 'a' is listed more than once"),
        (lambda t: t.with_columns(lat=pl.lit("north")), "column 'lat' must be a number"),
        (lambda t: t.drop("device"), "column 'device' is missing"),
        (lambda t: t.with_columns(device=pl.lit(None, pl.String)), "empty entries"),
    ],
)
def test_wrong_registry_is_named(files: tuple[Path, Path], change, words: str) -> None:
    change(pl.read_parquet(files[0])).write_parquet(files[0])
    with pytest.raises(UsageError, match=words):
        verify_files(SENSING, *files)


def test_missing_and_broken_files_are_named(files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        verify_files(SENSING, tmp_path / "none.parquet", files[1])
    with pytest.raises(UsageError, match="no such folder"):
        verify_files(SENSING, files[0], tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"holds no Parquet file; expected readings\.parquet"):
        verify_files(SENSING, files[0], tmp_path / "empty")
    (files[1] / "readings.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(UsageError, match="not a readable Parquet file"):
        verify_files(SENSING, *files)


def test_empty_evidence_gives_a_verdict_for_everyone(files: tuple[Path, Path]) -> None:
    path = files[1] / "readings.parquet"
    pl.read_parquet(path).clear().write_parquet(path)
    assert verify_files(SENSING, *files).verdicts["reasons"].to_list() == [["NO_DATA"], ["NO_DATA"]]


def test_params_from_toml(files: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "params.toml"
    path.write_text('"models.WS2000.hold_s" = 10\n[models.WS2000.variables.temperature_c]\nhigh = 1\n')
    strict = verify_files(SENSING, *files, params=read_params(path))
    assert {"GAPS", "OUT_OF_RANGE"} <= set(strict.verdicts["reasons"][0])
    path.write_text("= 3")
    with pytest.raises(UsageError, match="not TOML"):
        read_params(path)


@pytest.mark.parametrize(("text", "ms"), [("24h", 86_400_000), ("15m", 900_000), ("90s", 90_000), ("1d", 86_400_000)])
def test_durations(text: str, ms: int) -> None:
    assert parse_duration(text) == ms


@pytest.mark.parametrize("text", ["", "24", "h", "0h", "-1h", "1.5h", "1w"])
def test_wrong_durations(text: str) -> None:
    with pytest.raises(UsageError):
        parse_duration(text)


def test_command_line(files: tuple[Path, Path], tmp_path: Path) -> None:
    words = [
        "verify",
        "sensing",
        "--registry",
        str(files[0]),
        "--evidence",
        str(files[1]),
        "--out",
        str(tmp_path / "v.parquet"),
    ]
    done = _invoke([*words, "--epoch", "24h", "--json"])
    summary = json.loads(done.stdout)
    assert done.returncode == 0 and summary["epochs"] == 2 and summary["devices"] == 2
    assert pl.read_parquet(tmp_path / "v.parquet").height == 4
    wrong = _invoke([*words, "--epoch", "soon"])
    assert wrong.returncode == 2 and "error: duration 'soon'" in wrong.stderr and "Traceback" not in wrong.stderr


def _invoke(words: list[str]) -> subprocess.CompletedProcess[str]:
    code = "from fieldstone.cli import main; import sys; main(sys.argv[1:])"
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
