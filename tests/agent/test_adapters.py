from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.agent.adapters import ADAPTERS, Ecowitt, WeatherUnderground, redact
from fieldstone.agent.adapters.form import RunningTotal, read_number, read_time
from fieldstone.errors import UsageError

_NOW_MS = 1_790_000_000_000
# Field names of aioecowitt 2025.3.1; values made up.
_ECOWITT = (
    "PASSKEY=0123456789ABCDEF0123456789ABCDEF&stationtype=GW2000A_V3.1.4&dateutc=2026-02-28+13:45:00&tempinf=70.7"
    "&humidityin=40&baromrelin=30.012&baromabsin=29.412&tempf=32.0&humidity=87&winddir=359&windspeedmph=10.00"
    "&windgustmph=12.3&solarradiation=123.45&uv=1&totalrainin=10.000&dailyrainin=0.394&pm25_ch1=12.0&wh65batt=0"
    "&freq=868M&model=GW2000A"
)
_WU = (
    "ID=KCASANFR5&PASSWORD=XXXXXX&action=updateraw&dateutc=2026-02-28+13%3A45%3A00&winddir=230&windspeedmph=12"
    "&windgustmph=12&tempf=70&rainin=0&baromin=29.1&dewptf=68.2&humidity=90&dailyrainin=0.5&solarradiation=200"
)


def _fields(text: str) -> dict[str, str]:
    return dict(parse_qsl(text, keep_blank_values=True))


def test_ecowitt_in_the_networks_units() -> None:
    station = Ecowitt()
    parsed = station.parse(_fields(_ECOWITT), _NOW_MS)
    assert parsed.is_station_time
    assert parsed.reading.t_ms == 1_772_286_300_000  # 2026-02-28T13:45:00Z
    assert parsed.reading.values == {
        "temperature_c": 0.0,
        "humidity_pct": 87.0,
        "pressure_hpa": 996.0,  # baromabsin, not the reduced baromrelin
        "wind_speed_ms": 4.47,
        "wind_direction_deg": 359.0,
        "solar_wm2": 123.45,
        "pm2_5_ugm3": 12.0,
        "rain_mm": None,  # the first total has no predecessor
    }
    assert {"tempinf", "uv", "wh65batt"} <= set(parsed.ignored)
    assert not {"PASSKEY", "model", "freq"} & set(parsed.ignored)
    rained = station.parse(_fields(_ECOWITT.replace("totalrainin=10.000", "totalrainin=10.100")), _NOW_MS)
    assert rained.reading.values["rain_mm"] == 2.54


def test_weather_underground_keeps_reduced_pressure_out() -> None:
    parsed = WeatherUnderground().parse(_fields(_WU), _NOW_MS)
    assert parsed.reading.values["temperature_c"] == 21.11
    assert "pressure_hpa" not in parsed.reading.values
    absolute = WeatherUnderground(baromin_is_absolute=True).parse(_fields(_WU), _NOW_MS)
    assert absolute.reading.values["pressure_hpa"] == 985.44
    assert "rainin" in parsed.ignored  # the past hour's rain is not rain since the previous reading


def test_now_takes_the_agents_time_and_says_so() -> None:
    parsed = WeatherUnderground().parse({"dateutc": "now", "tempf": "50"}, _NOW_MS)
    assert (parsed.reading.t_ms, parsed.is_station_time) == (_NOW_MS, False)


@pytest.mark.parametrize("text", ["", "  ", "--", "-9999", "-9999.0", "nan", "NULL", "None"])
def test_sentinels_are_missing(text: str) -> None:
    assert read_number(text) is None


@pytest.mark.parametrize(
    "text", ["1e308", "inf", "-inf", "0x10", "1_000", "١٢", "1,5", "12 ", "9" * 400, "1.2.3", "+-1"]
)
def test_what_is_no_number(text: str) -> None:
    if text.strip() == "12":
        assert read_number(text) == 12.0
        return
    with pytest.raises(ValueError, match="not a number"):
        read_number(text)


def test_a_broken_value_is_missing_and_named() -> None:
    parsed = Ecowitt().parse({"dateutc": "now", "tempf": "hot", "humidity": "50", "totalrainin": "x"}, _NOW_MS)
    assert parsed.reading.values == {"temperature_c": None, "humidity_pct": 50.0}
    assert set(parsed.unreadable) == {"tempf", "totalrainin"}


@pytest.mark.parametrize(
    "text", ["yesterday", "2026-02-29 00:00:00", "2026-13-01 00:00:00", "1772286300", "٢٠٢٦-02-28 13:45:00"]
)
def test_a_time_that_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises(UsageError, match="set the station's clock"):
        read_time(text, _NOW_MS)


def test_29_february_and_short_digits() -> None:
    assert read_time("2028-02-29 1:2:3", 0)[0] == 1_835_398_923_000


def test_rain_totals_that_are_set_back() -> None:
    total = RunningTotal()
    assert [total.since_previous("day", mm) for mm in (5.0, 5.2, 5.2, 0.4, 0.4)] == [None, 0.2, 0.0, 0.4, 0.0]
    assert total.since_previous("year", 100.0) is None  # another counter starts anew


@pytest.mark.parametrize(
    "text",
    [_WU, _ECOWITT, "/weatherstation/updateweatherstation.php?" + _WU, _WU.lower(), "apiKey=XXXXXX&mac=AA:BB"],
)
def test_secrets_never_reach_a_log(text: str) -> None:
    shown = redact(text)
    for secret in ("XXXXXX", "xxxxxx", "KCASANFR5", "kcasanfr5", "0123456789ABCDEF", "AA:BB"):
        assert secret not in shown


@pytest.mark.parametrize("name", sorted(ADAPTERS))
@given(
    st.dictionaries(
        st.sampled_from(["tempf", "dateutc", "totalrainin", "dailyrainin", "winddir", "x"]) | st.text(max_size=5),
        st.text(max_size=12),
        max_size=6,
    )
)
def test_hostile_uploads(name: str, fields: dict[str, str]) -> None:
    try:
        parsed = ADAPTERS[name]().parse(fields, _NOW_MS)
    except UsageError:
        return
    assert all(value is None or abs(value) < 1e12 for value in parsed.reading.values.values())
