"""Who cheats, and how: all attacks of the lab by name, in the order in which a fleet enrols them."""

from __future__ import annotations

from fieldstone.services.sensing import lab_copied, lab_displaced, lab_invented
from fieldstone.services.sensing.lab_attacks import Adversary, Attack, Identity, Scene

__all__ = ["ATTACKS", "Adversary", "Attack", "Identity", "Scene"]

ATTACKS: dict[str, Attack] = {**lab_invented.ATTACKS, **lab_copied.ATTACKS, **lab_displaced.ATTACKS}
