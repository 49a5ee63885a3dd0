"""Rule version 1 of the fleet checks: every limit as data, with unit and source.

"Lab" as a source means: set so that honest stations of the lab world (`bench/sensing_detection.py`) stay below it with
room to spare; the scoreboard prints how often they do not.
"""

from __future__ import annotations

from fieldstone.services.sensing.rules.parameter import Parameter

LAB = "lab world, honest stations"
OWN = "own choice"

PARAMETERS: dict[str, Parameter] = {
    # who votes
    "votes": Parameter(8, "stations", "nearest stations that judge one, one per operator", OWN),
    "min_votes": Parameter(3, "stations", "with fewer, a station is not checked: neither passed nor at fault", OWN),
    "radius_km": Parameter(25.0, "km", "no vote from farther away", "correlation of hourly differences .5 at 25 km"),
    "ring_votes": Parameter(10, "stations", "stations of the wider ring, one per operator", OWN),
    "ring_min_votes": Parameter(5, "stations", "with fewer, the ring is not asked", OWN),
    "ring_cell_km": Parameter(4.0, "km", "… and one per cube of this size: a crowd is one vote", OWN),
    "ring_from_km": Parameter(6.0, "km", "the wider ring begins here: a cluster of friends does not reach so far", OWN),
    "ring_to_km": Parameter(60.0, "km", "… and ends here", OWN),
    "coarse_slot_s": Parameter(900, "s", "slot for comparisons with neighbours", OWN),
    "min_slots": Parameter(24, "slots", "fewer common coarse slots are not judged", OWN),
    # copied streams
    "copy_sketch": Parameter(192, "numbers", "length of the sketch that proposes pairs at lag 0", "noise 1/√192 = .07"),
    "copy_lag_sketch": Parameter(96, "numbers", "… at other lags", "noise 1/√96 = .10"),
    "copy_screen": Parameter(0.35, "", "sketches more alike than this propose a pair", "5 standard deviations"),
    "copy_lag_screen": Parameter(0.5, "", "… at other lags", "5 standard deviations"),
    "copy_partners": Parameter(24, "devices", "most partners proposed per device and lag; a farm stays connected", OWN),
    "copy_near": Parameter(16, "devices", "nearest devices that are always compared", OWN),
    "copy_max_lag_s": Parameter(3600, "s", "longest delay of a copy that is looked for", OWN),
    "copy_fit_pairs": Parameter(30, "pairs", "pairs that a distance bin needs to be fitted on the fleet", OWN),
    "copy_fit_most": Parameter(6000, "pairs", "pairs used for the fit", OWN),
    "copy_min_spread": Parameter(0.08, "", "least spread of atanh(r)", "1/√(144 − 3), 288 slots smoothed in pairs"),
    "copy_min_slots": Parameter(48, "slots", "fewer common slots are not judged", OWN),
    "copy_shared": Parameter(1.8, "", "a channel whose honest atanh(r) is above this says nothing", "r = .95"),
    "copy_excess": Parameter(9.5, "sd", "above this the pair is a copy", f"{LAB}: at most 7.4 in 16 000 near pairs"),
    "copy_same": Parameter(0.97, "", "likeness that no two honest sensors reach", f"{LAB}: at most .90 on one roof"),
    "copy_part_close_excess": Parameter(1.0, "sd", "… of a quarter of the epoch", LAB),
    "copy_part_from": Parameter(3.0, "sd", "above this, quarters of the epoch are looked at", OWN),
    "copy_part_excess": Parameter(7.0, "sd", "above this a quarter is a copy", f"{LAB}: at most 6.4"),
    "copy_part_rest": Parameter(3.0, "sd", "… if some other quarter is below this: it was copied only at times", LAB),
    "copy_doubt_km": Parameter(6.0, "km", "residuals from neighbours are compared up to this distance", OWN),
    "copy_doubt_from": Parameter(6.0, "sd", "above this, residuals from the neighbours are looked at", OWN),
    "copy_residual_excess": Parameter(9.5, "sd", "above this the residuals are a copy", f"{LAB}: at most 8.5"),
    "copy_fit_margin": Parameter(
        1.25, "×", "a claim may fit its place worse than the best by this and be the source", OWN
    ),
    "copy_close_excess": Parameter(2.2, "sd", "… and above this were the two next door", LAB),
    "copy_follow_s": Parameter(150, "s", "received so much later than another member, a device is not the source", OWN),
    "copy_severity_ppm": Parameter(1_000_000, "ppm", "quality lost by a copy", "one sensor earns once"),
    # made of neighbours
    "blend_excess": Parameter(8.0, "sd", "sum of two excesses above which a series is a mix", f"{LAB}: at most 8.9"),
    "blend_min_slots": Parameter(72, "slots", "shorter epochs are not judged: coarse slots of 18 hours", LAB),
    "blend_severity_ppm": Parameter(500_000, "ppm", "quality lost by a mix of neighbours", OWN),
    # replay
    "replay_sketch": Parameter(96, "numbers", "length of the fingerprint kept per device and epoch", "noise .10"),
    "replay_keep": Parameter(40, "epochs", "fingerprints kept", OWN),
    "replay_alike": Parameter(0.75, "", "fingerprints more alike than this are one day", "7 standard deviations"),
    "replay_foreign_epochs": Parameter(2, "epochs", "so many past epochs are compared across devices", OWN),
    # kinship with the weather around
    "kin_excess": Parameter(5.0, "sd", "so far below the fleet's kinship a station does not follow its weather", LAB),
    "kin_below": Parameter(0.85, "×", "… and its mean correlation is below this share of the fleet's", LAB),
    "kin_min_spread": Parameter(0.25, "", "least spread of atanh(r)", LAB),
    "kin_slots": Parameter(72, "slots", "with fewer, the excess is weakened by √(slots / this)", "18 hours"),
    "kin_fleet": Parameter(12, "stations", "fewer stations do not make a fleet to compare with", OWN),
    "invented_severity_ppm": Parameter(1_000_000, "ppm", "quality lost by numbers that were not measured there", OWN),
    "smooth_log": Parameter(0.9, "ln", "a channel this much smoother than its voters' lacks a sensor's noise", LAB),
    "smooth_channels": Parameter(2, "groups", "… in at least so many independent groups of channels", OWN),
    # place
    "place_doubt": Parameter(4.0, "sd", "so far below the fleet's kinship, a better place is looked for", LAB),
    "place_min_km": Parameter(3.0, "km", "a better place must be this far from the claim", OWN),
    "place_gain": Parameter(0.3, "", "atanh(r) by which the better place must fit better", LAB),
    "place_alike": Parameter(0.6, "", "mean correlation with the five most alike stations", LAB),
    "elevation_severity_ppm": Parameter(500_000, "ppm", "quality lost by a wrong elevation", OWN),
    "elevation_hpa": Parameter(5.0, "hPa", "median pressure residual", "42 m; consumer barometers ±1.5 hPa"),
    "longitude_min": Parameter(80.0, "min", "shift of the light curve beyond the neighbours'", "20° of longitude"),
    "longitude_alone_min": Parameter(150.0, "min", "… without neighbours to compare with", "half-cloudy days: 120 min"),
    "longitude_r": Parameter(0.85, "", "… at which the light curve must fit this well", OWN),
    # indoors
    "indoor_light": Parameter(0.2, "×", "light below this share of the neighbours' is suspicious", "public QoD rules"),
    "indoor_dark": Parameter(0.05, "×", "light below this share of a clear sky is strongly so", "public QoD rules"),
    "indoor_range": Parameter(0.6, "×", "daily range of temperature below this share of the neighbours'", OWN),
    "indoor_calm": Parameter(0.9, "share", "wind below 0.3 m/s for more than this share", OWN),
    "indoor_severity_ppm": Parameter(1_000_000, "ppm", "quality lost indoors", "public QoD rules: score 0"),
    "daylight_share": Parameter(0.4, "share", "of daylight slots must be present to judge light", "public QoD rules"),
    "night_wm2": Parameter(5.0, "W/m²", "mean clear-sky light below which it is almost night", "public QoD rules"),
    # flat
    "flat_share": Parameter(0.1, "×", "a channel that moves less than this share of its neighbours is stuck", LAB),
    "flat_severity_ppm": Parameter(500_000, "ppm", "quality lost by a flat channel, times the share of halves", OWN),
    "flat_range_temperature_c": Parameter(2.5, "°C", "… when the neighbours' range exceeds this", OWN),
    "flat_range_humidity_pct": Parameter(12.0, "%", "… when the neighbours' range exceeds this", OWN),
    "flat_range_pressure_hpa": Parameter(2.0, "hPa", "… when the neighbours' range exceeds this", OWN),
    "flat_range_wind_speed_ms": Parameter(2.0, "m/s", "… when the neighbours' range exceeds this", OWN),
    "flat_range_pm2_5_ugm3": Parameter(8.0, "µg/m³", "… when the neighbours' range exceeds this", OWN),
    # level
    "level_temperature_c": Parameter(3.0, "°C", "median residual from the ring", "microclimate below 3 °C over a day"),
    "level_humidity_pct": Parameter(20.0, "%", "median residual from the ring", "sensor ±5 % and microclimate"),
    "level_wind_speed_ms": Parameter(8.0, "m/s", "median residual from the ring", OWN),
    "level_severity_ppm": Parameter(500_000, "ppm", "quality lost by a wrong level", OWN),
    # neighbour check
    "buddy_share": Parameter(0.1, "share", "of slots that may disagree without loss", LAB),
    "buddy_cap_ppm": Parameter(300_000, "ppm", "most quality lost by disagreeing slots: it may be microclimate", OWN),
    "buddy_threshold": Parameter(3.0, "sd", "a slot beyond this disagrees", OWN),
    "buddy_sd_temperature_c": Parameter(1.0, "°C", "least standard deviation of neighbours", OWN),
    "buddy_sd_humidity_pct": Parameter(6.0, "%", "least standard deviation of neighbours", OWN),
    "buddy_sd_pressure_hpa": Parameter(1.2, "hPa", "least standard deviation of neighbours", OWN),
    "buddy_sd_pm2_5_ugm3": Parameter(8.0, "µg/m³", "least standard deviation of neighbours", OWN),
    # drift
    "drift_days": Parameter(30, "days", "window of daily medians", "reference §2.7"),
    "drift_min_days": Parameter(10, "days", "fewer are not judged", OWN),
    "drift_temperature_c": Parameter(0.5, "°C", "drift over the window beyond the stated accuracy", "consumer ±0.5 °C"),
    "drift_humidity_pct": Parameter(6.0, "%", "drift over the window beyond the stated accuracy", "consumer ±5 %"),
    "drift_pressure_hpa": Parameter(1.5, "hPa", "drift over the window beyond the stated accuracy", "consumer ±1 hPa"),
    "drift_confidence": Parameter(3.0, "sd", "so many standard errors the slope must be from 0", "§2.7, 1 % false"),
    "drift_grace_days": Parameter(20, "days", "advice before, loss after so many days of evidence", "reference §2.7"),
    "drift_severity_ppm": Parameter(100_000, "ppm", "quality lost by a drift after the grace period", OWN),
}
