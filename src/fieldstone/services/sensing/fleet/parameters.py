"""The parameters of the fleet checks in rule version 1 (they live with the rules, as data)."""

from fieldstone.services.sensing.rules.fleet_v1 import PARAMETERS

__all__ = ["PARAMETERS"]
