from dataclasses import dataclass


@dataclass(frozen=True)
class Calibration:
    pass
