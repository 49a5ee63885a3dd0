"""Filecoin's smoothed estimates of reward and power, and how rewards are projected from them.

Formulas (Q.128 integers; `>>` and `//` floor):
    filter       x̂ = x + v·Δ;  residual = observed − x̂;  x = x̂ + α·residual;  v += β·residual / Δ
    projection   Σ over the next d epochs of reward / power, both on their straight lines:
                 (v₂ ≈ 0)  (x₁ + v₁·(t₀ + d/2)) · d / x₂
                 (else)    [x₁·v₂·ln(b/a) + v₁·(v₂·d − x₂·ln(b/a))] / v₂²,  a = x₂ + v₂·t₀,  b = a + v₂·d
Reason: deposits and penalties follow what a sector is expected to earn, without jumping with every block.
Invariant: `a_constant_reward_is_projected_exactly`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fieldstone.economy.policies.contract import MonetaryPolicy, Output, Source, integer
from fieldstone.economy.policies.filecoin import PRECISION
from fieldstone.errors import UsageError

ALPHA = 314760000000000000000000000000000000
BETA = 96640100000000000000000000000000
FIRST_REWARD_ATTO = 36266260308195979333
FIRST_VELOCITY_ATTO = -109897758509

_LN_2 = 235865763225513294137944142764154484399
_EPSILON = 302231454903657293676544  # below this v₂² counts as no trend
# ln x on [1, 2] as a ratio of polynomials, Q.128, highest power first
_NUMERATOR = (
    261417938209272870992496419296200268025,
    7266615505142943436908456158054846846897,
    32458783941900493142649393804518050491988,
    17078670566130897220338060387082146864806,
    -35150353308172866634071793531642638290419,
    -20351202052858059355702509232125230498980,
    -1563932590352680681114104005183375350999,
)
_DENOMINATOR = (
    49928077726659937662124949977867279384,
    2508163877009111928787629628566491583994,
    21757751789594546643737445330202599887121,
    53400635271583923415775576342898617051826,
    41248834748603606604000911015235164348839,
    9015227820322455780436733526367238305537,
    340282366920938463463374607431768211456,
)


def ln(z: int) -> int:
    """Return the natural logarithm, Q.128 in and out; z above 0."""
    k = z.bit_length() - 1 - PRECISION
    x = z >> k if k > 0 else z << -k
    top = bottom = 0
    for coefficient in _NUMERATOR:
        top = (top * x >> PRECISION) + coefficient
    for coefficient in _DENOMINATOR:
        bottom = (bottom * x >> PRECISION) + coefficient
    return k * _LN_2 + (top << PRECISION) // bottom


@dataclass(frozen=True, slots=True)
class Estimate:
    """A smoothed quantity: its value and its change per epoch, both Q.128."""

    position: int
    velocity: int

    @classmethod
    def of(cls, value: int, per_epoch: int = 0) -> Estimate:
        """Return the estimate of a whole value that changes by a whole amount each epoch."""
        return cls(value << PRECISION, per_epoch << PRECISION)

    @property
    def value(self) -> int:
        """The value, floored."""
        return self.position >> PRECISION

    def observe(self, observed: int, epochs: int) -> Estimate:
        """Return the estimate after a whole value was observed so many epochs later."""
        elapsed = epochs << PRECISION
        position = ((elapsed * self.velocity) >> PRECISION) + self.position
        residual = (observed << PRECISION) - position
        return Estimate(position + ((ALPHA * residual) >> PRECISION), self.velocity + residual * BETA // elapsed)


def sum_of_ratio(reward: Estimate, power: Estimate, epochs: int, start: int = 0) -> int:
    """Return Σ reward / power over `epochs` epochs from `start`, Q.128. `power` must stay above 0 all the time."""
    span, t0 = epochs << PRECISION, start << PRECISION
    squared = (power.velocity * power.velocity) >> PRECISION
    if squared > _EPSILON:
        a = ((power.velocity * t0) >> PRECISION) + power.position
        b = ((power.velocity * span) >> PRECISION) + a
        if min(a, b) <= 0:
            raise UsageError("the network's power would fall to 0 within the projection")
        ln_a, ln_b = ln(a), ln(b)
        first = ((ln_b - ln_a) * reward.position * power.velocity) >> PRECISION
        second = (((ln_a - ln_b) * power.position + power.velocity * span) * reward.velocity) >> PRECISION
        return (first + second) // squared
    middle = ((reward.velocity * (t0 + (span >> 1))) >> PRECISION) + reward.position
    return middle * span // power.position


def expected_reward(qap_bytes: int, power: Estimate, reward: Estimate, epochs: int) -> int:
    """Return BR: the attoFIL that this quality-adjusted power is expected to earn in so many epochs."""
    if power.value == 0:
        return reward.value
    return max(0, qap_bytes * sum_of_ratio(reward, power, epochs) >> PRECISION)


def _observe(position_q128: int, velocity_q128: int, observed: int, epochs: int) -> Mapping[str, Any]:
    after = Estimate(position_q128, velocity_q128).observe(observed, epochs)
    return {"position_q128": after.position, "velocity_q128": after.velocity, "estimate": after.value}


def _expected(
    qap_bytes: int,
    network_qap_bytes: int,
    network_qap_velocity: int,
    reward_atto: int,
    reward_velocity: int,
    epochs: int,
) -> Mapping[str, Any]:
    power = Estimate.of(network_qap_bytes, network_qap_velocity)
    return {"reward_atto": expected_reward(qap_bytes, power, Estimate.of(reward_atto, reward_velocity), epochs)}


QAP_KEY = integer("qap_bytes", "bytes", "quality-adjusted power of the sector", above=0)
NETWORK_QAP_KEY = integer("network_qap_bytes", "bytes", "quality-adjusted power of the network, smoothed")
REWARD_KEY = integer("reward_atto", "attoFIL per epoch", "smoothed reward of an epoch, all winners together")
TREND_KEYS = (
    integer("network_qap_velocity", "bytes per epoch", "trend of the network's power", 0, minimum=None),
    integer("reward_velocity", "attoFIL per epoch²", "trend of the reward", 0, minimum=None),
)
_SMOOTH = "filecoin-project/builtin-actors, runtime/src/builtin/reward/smooth"

POLICIES = (
    MonetaryPolicy(
        name="filecoin.smoothed_estimate",
        summary="The network's smoothed estimate of reward or power after an observation (alpha-beta filter).",
        function=_observe,
        keys=(
            integer("position_q128", "Q.128", "estimate before"),
            integer("velocity_q128", "Q.128 per epoch", "trend before", minimum=None),
            integer("observed", "whole units", "what was observed"),
            integer("epochs", "epochs", "since the estimate before", 1, minimum=1),
        ),
        outputs=(
            Output("position_q128", "Q.128", "estimate after"),
            Output("velocity_q128", "Q.128 per epoch", "trend after"),
            Output("estimate", "whole units", "estimate after, floored"),
        ),
        rounding="Q.128 integers, floor at each step",
        exact=True,
        example={
            "position_q128": "12340768897043811082913117521041414330876498465539749838848",
            "velocity_q128": "-37396269384748225153347462373739139597454335279104",
            "observed": "36266252337034982540",
            "epochs": "3",
        },
        source=Source("Filecoin built-in actors, runtime", f"{_SMOOTH}/alpha_beta_filter.rs"),
    ),
    MonetaryPolicy(
        name="filecoin.expected_reward",
        summary="What a sector is expected to earn (BR), on which pledges and penalties stand.",
        function=_expected,
        keys=(
            QAP_KEY,
            NETWORK_QAP_KEY,
            REWARD_KEY,
            integer("epochs", "epochs", "period of the projection", maximum=10**9),
            *TREND_KEYS,
        ),
        outputs=(Output("reward_atto", "attoFIL", "expected over the period"),),
        rounding="Q.128 integers, floor at each step",
        exact=True,
        example={
            "qap_bytes": "34359738368",
            "network_qap_bytes": "20000000000000000000",
            "reward_atto": "60000000000000000000",
            "epochs": "57600",
            "network_qap_velocity": "1000000000000",
        },
        source=Source("Filecoin built-in actors, runtime", f"{_SMOOTH}/smooth_func.rs, extrapolated_cum_sum_of_ratio"),
    ),
)
