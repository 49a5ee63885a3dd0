"""The closed list of reasons for which a sensing device's work earns less. `docs/reference/sensing-rules.md` shows it."""

from __future__ import annotations

from fieldstone.services.contract import VerdictReason

_ALL = (
    # the rows and their clock
    VerdictReason(
        "NOT_ENROLLED",
        "Readings came from a device that is not in the registry.",
        "Enrol the device; earlier readings cannot be paid.",
    ),
    VerdictReason("NO_DATA", "No reading arrived in the epoch.", "Check power and network of the station."),
    VerdictReason(
        "GAPS",
        "For part of the epoch no reading vouches.",
        "Check power, network and the sending interval; buffered readings count until the epoch closes.",
    ),
    VerdictReason(
        "BEFORE_ENROLMENT",
        "Readings were taken before the device was enrolled.",
        "Nothing to do: only time after enrolment counts.",
    ),
    VerdictReason(
        "OUTSIDE_EPOCH",
        "Readings carry a time outside the epoch.",
        "Check the clock; send buffered readings before their epoch closes.",
    ),
    VerdictReason("FUTURE_TIME", "Readings are dated later than they were received.", "Set the station's clock (NTP)."),
    VerdictReason(
        "CLOCK_OFFSET",
        "All readings arrive late by about the same time: the clock runs behind or has the wrong time zone.",
        "Set the clock to UTC.",
    ),
    VerdictReason(
        "REPEATED_TIME",
        "Different values carry the same time stamp; none of them can be trusted.",
        "Send one value per channel and time; check that one key lives in one device.",
    ),
    # one value
    VerdictReason(
        "NOT_A_NUMBER", "The value is NaN or infinite.", "Leave the reading out when the sensor gave no value."
    ),
    VerdictReason(
        "NO_VALUE",
        "The station reports, but this channel is missing.",
        "Check the sensor and its cable; it is required for this hardware model.",
    ),
    VerdictReason(
        "OUT_OF_RANGE", "The value lies outside what this hardware model can measure.", "Check sensor, cable and units."
    ),
    VerdictReason(
        "TOO_FAST",
        "More rain or traffic than possible in the time since the previous reading.",
        "Send the amount since the previous reading, not a running total.",
    ),
    VerdictReason(
        "SPIKE",
        "The value jumps away from the median of its surroundings.",
        "Check contacts, radiation shield and power supply.",
    ),
    VerdictReason(
        "UNIDENTIFIED_SPIKE",
        "Two neighbouring values differ too much and there is no median to tell which is wrong.",
        "Check contacts and power supply; send more often.",
    ),
    VerdictReason("NOISY", "So many jumps that no median can be trusted.", "Replace the sensor or check its supply."),
    VerdictReason(
        "STUCK", "The value did not change for longer than the weather allows.", "Clean or replace the sensor."
    ),
    VerdictReason("FROZEN", "The wind sensor did not move in frost.", "Wait for thaw, or heat the sensor."),
    VerdictReason(
        "CROSS_CHANNEL",
        "Channels contradict each other (PM2.5 above PM10, more vapour than air can hold).",
        "Check which of the sensors is wrong.",
    ),
    # the fleet
    VerdictReason(
        "NEIGHBOURS_DISAGREE",
        "The values differ from what the stations around it report.",
        "Check the sensor's place (sun, walls) and its calibration.",
    ),
    VerdictReason("COPY_OF", "The series is a copy of another device's.", "Send what this device measures itself."),
    VerdictReason(
        "REPLAYED", "The series repeats an earlier time of this network.", "Send what the device measures now."
    ),
    VerdictReason(
        "WRONG_PLACE",
        "The series fits another place better than the enrolled one.",
        "Correct the location of the device.",
    ),
    VerdictReason(
        "WRONG_ELEVATION",
        "The air pressure does not fit the enrolled elevation.",
        "Correct the elevation; send station pressure, not sea-level pressure.",
    ),
    VerdictReason("INDOORS", "Light, wind or daily range fit a room, not the open.", "Mount the station outdoors."),
    VerdictReason(
        "FABRICATED",
        "The series lacks the noise, steps or couplings that a real sensor shows.",
        "Send what the device measures.",
    ),
    VerdictReason(
        "DRIFT", "The sensor moves away from its neighbours day by day.", "Recalibrate or replace the sensor."
    ),
    VerdictReason("SHARED_SENSOR", "Several devices report one sensor.", "One sensor earns once."),
)

REASONS: dict[str, VerdictReason] = {reason.code: reason for reason in _ALL}
