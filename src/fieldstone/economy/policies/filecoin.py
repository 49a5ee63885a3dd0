"""Filecoin's minting, bit for bit: simple and baseline rewards, effective network time, vesting.

Formulas (Q.128 integers: a number x is held as ⌊x · 2¹²⁸⌋; `>>` floors):
    simple(n)      = (simple_total · (e^λ − 1) · e^(−λn)) >> 128
    supply(θ)      = (1 − e^(−λθ)) · baseline_total
    reward(n)      = (simple(n) + supply(θ_n) − supply(θ_{n−1})) >> 128       one floor, after the subtraction
    θ              = ent − (cum_baseline − cum_realized) / baseline(ent)      linear between two epochs
Reason: half of the simple pool is paid in six years whatever happens; the baseline pool pays only as far as the
network's storage has kept up with a growing target.
Invariants: `rewards_are_never_negative`, `simple_total_is_never_exceeded`, `half_of_the_simple_pool_in_six_years`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fieldstone.economy.policies.contract import MonetaryPolicy, Output, Source, integer
from fieldstone.errors import UsageError

PRECISION = 128
ONE = 1 << PRECISION
ATTO = 10**18
EPOCHS_PER_DAY = 2_880
EPOCHS_PER_YEAR = 365 * EPOCHS_PER_DAY

SIMPLE_TOTAL_ATTO = 330_000_000 * ATTO
BASELINE_TOTAL_ATTO = 770_000_000 * ATTO
LAMBDA = 37396271439864487274534522888786  # ⌊ln 2 / 6 years per epoch · 2¹²⁸⌋
EXP_LAM_SUB_ONE = 37396273494747879394193016954629  # ⌊(e^λ − 1) · 2¹²⁸⌋: e^λ − 1, not 1 − e^(−λ)
BASELINE_EXPONENT = 340282591298641078465964189926313473653  # ⌊2^(1 / epochs per year) · 2¹²⁸⌋
BASELINE_INITIAL_BYTES = 2_888_888_880_000_000_000
INIT_BASELINE_BYTES = ((BASELINE_INITIAL_BYTES << 2 * PRECISION) // BASELINE_EXPONENT) >> PRECISION

# e^(−x) as a ratio of polynomials, Q.128, highest power first. Error below 3.6e-30 on [0, 1.725), 5e-15 on [0, 5)
_NUMERATOR = (
    -648770010757830093818553637600,
    67469480939593786226847644286976,
    -3197587544499098424029388939001856,
    89244641121992890118377641805348864,
    -1579656163641440567800982336819953664,
    17685496037279256458459817590917169152,
    -115682590513835356866803355398940131328,
    ONE,
)
_DENOMINATOR = (
    1225524182432722209606361,
    114095592300906098243859450,
    5665570424063336070530214243,
    194450132448609991765137938448,
    5068267641632683791026134915072,
    104716890604972796896895427629056,
    1748338658439454459487681798864896,
    23704654329841312470660182937960448,
    259380097567996910282699886670381056,
    2250336698853390384720606936038375424,
    14978272436876548034486263159246028800,
    72144088983913131323343765784380833792,
    224599776407103106596571252037123047424,
    ONE,
)
# the last epoch whose λn stays inside the approximation's range [0, 5): 43 years
LAST_EPOCH = (5 * ONE - 1) // LAMBDA


def expneg(x: int) -> int:
    """Return e^(−x), Q.128 in and out; x in [0, 5)."""
    top = 0
    for coefficient in _NUMERATOR:
        top = (top * x >> 128) + coefficient
    bottom = 0
    for coefficient in _DENOMINATOR:
        bottom = (bottom * x >> 128) + coefficient
    return (top << 128) // bottom


def simple_q128(epoch: int, simple_total: int = SIMPLE_TOTAL_ATTO) -> int:
    """Return an epoch's simple reward in attoFIL, Q.128."""
    return (simple_total * EXP_LAM_SUB_ONE * expneg(LAMBDA * epoch)) >> PRECISION


def baseline_supply_q128(theta: int, baseline_total: int = BASELINE_TOTAL_ATTO) -> int:
    """Return what the baseline pool has paid at effective time θ (Q.128 epochs), in attoFIL, Q.128."""
    return (ONE - expneg((theta * LAMBDA) >> PRECISION)) * baseline_total


def epoch_reward(
    epoch: int,
    theta0: int,
    theta1: int,
    simple_total: int = SIMPLE_TOTAL_ATTO,
    baseline_total: int = BASELINE_TOTAL_ATTO,
) -> int:
    """Return the attoFIL minted in an epoch that moves effective time from θ0 to θ1 (Q.128 epochs)."""
    baseline = baseline_supply_q128(theta1, baseline_total) - baseline_supply_q128(theta0, baseline_total)
    return (simple_q128(epoch, simple_total) + baseline) >> PRECISION


def effective_theta(ent: int, baseline_bytes: int, cum_realized: int, cum_baseline: int) -> int:
    """Return θ (Q.128 epochs); `ent` is ⌈θ⌉ and `baseline_bytes` the baseline power at `ent`."""
    if ent == 0:
        return 0
    return (ent << PRECISION) - ((cum_baseline - cum_realized) << PRECISION) // baseline_bytes


@dataclass(frozen=True, slots=True)
class RewardState:
    """The network's reward state at the end of `epoch`. `start()` is the state before epoch 0."""

    epoch: int = -1
    baseline_bytes: int = INIT_BASELINE_BYTES
    cum_realized: int = 0
    ent: int = 0
    ent_baseline_bytes: int = BASELINE_INITIAL_BYTES
    cum_baseline: int = 0

    @classmethod
    def start(cls, baseline_initial_bytes: int = BASELINE_INITIAL_BYTES) -> RewardState:
        """Return the state before epoch 0, with another initial baseline where a fit to chain data wants one."""
        before = ((baseline_initial_bytes << 2 * PRECISION) // BASELINE_EXPONENT) >> PRECISION
        return cls(baseline_bytes=before, ent_baseline_bytes=baseline_initial_bytes)

    @property
    def theta(self) -> int:
        """Effective network time, Q.128 epochs."""
        return effective_theta(self.ent, self.ent_baseline_bytes, self.cum_realized, self.cum_baseline)

    def advance(self, power_bytes: int) -> RewardState:
        """Return the state one epoch later, with this raw-byte power. A null round does just this."""
        baseline = (self.baseline_bytes * BASELINE_EXPONENT) >> PRECISION
        realized = self.cum_realized + min(baseline, power_bytes)
        ent, ent_baseline, cum_baseline = self.ent, self.ent_baseline_bytes, self.cum_baseline
        while realized > cum_baseline:
            ent += 1
            ent_baseline = (ent_baseline * BASELINE_EXPONENT) >> PRECISION
            cum_baseline += ent_baseline
        return replace(
            self,
            epoch=self.epoch + 1,
            baseline_bytes=baseline,
            cum_realized=realized,
            ent=ent,
            ent_baseline_bytes=ent_baseline,
            cum_baseline=cum_baseline,
        )

    def reward_round(self, power_bytes: int) -> tuple[RewardState, int]:
        """Return the state one epoch later and the attoFIL that this epoch mints."""
        after = self.advance(power_bytes)
        return after, epoch_reward(after.epoch, self.theta, after.theta)


def _simple_reward(epoch: int) -> Mapping[str, Any]:
    return {"reward_atto": simple_q128(epoch) >> PRECISION}


def _baseline_reward(theta0: int, theta1: int, epoch: int) -> Mapping[str, Any]:
    _forward(theta0, theta1)
    simple = simple_q128(epoch) >> PRECISION
    return {"reward_atto": epoch_reward(epoch, theta0, theta1) - simple}


def _epoch_reward(epoch: int, theta0: int, theta1: int) -> Mapping[str, Any]:
    _forward(theta0, theta1)
    return {"reward_atto": epoch_reward(epoch, theta0, theta1), "simple_atto": simple_q128(epoch) >> PRECISION}


def _forward(theta0: int, theta1: int) -> None:
    if theta1 < theta0:
        raise UsageError("theta1 is before theta0: effective time never runs backwards")


def _effective_time(cum_realized: int, cum_baseline: int, ent: int, b_ent: int) -> Mapping[str, Any]:
    if cum_realized > cum_baseline:
        raise UsageError(
            "cum_realized is above cum_baseline: ent is the first epoch at which the baseline's sum is not below"
        )
    theta = effective_theta(ent, b_ent, cum_realized, cum_baseline)
    if theta < 0:
        raise UsageError("effective time would be negative: cum_baseline exceeds cum_realized by more than ent epochs")
    return {"theta_q128": theta, "theta": theta / ONE}


_REWARD_RS = "filecoin-project/builtin-actors, actors/reward/src/logic.rs"
_THETA_MAX = LAST_EPOCH << PRECISION
_ATTO = Output("reward_atto", "attoFIL", "minted by this epoch")

POLICIES = (
    MonetaryPolicy(
        name="filecoin.simple_reward",
        summary="FIL minted in an epoch by the simple (time only) schedule: 330 million FIL, half every six years.",
        function=_simple_reward,
        keys=(integer("epoch", "epochs of 30 s since launch", "the epoch, 0 is the first", maximum=LAST_EPOCH),),
        outputs=(_ATTO,),
        rounding="Q.128 integers, one floor at the end",
        exact=True,
        example={"epoch": "5000"},
        source=Source("Filecoin built-in actors, reward actor", f"{_REWARD_RS}, compute_reward"),
    ),
    MonetaryPolicy(
        name="filecoin.baseline_reward",
        summary="FIL minted beyond the simple reward when effective network time moves from theta0 to theta1.",
        function=_baseline_reward,
        keys=(
            integer("theta0", "Q.128 epochs", "effective time before the epoch", maximum=_THETA_MAX),
            integer("theta1", "Q.128 epochs", "effective time after the epoch", maximum=_THETA_MAX),
            integer("epoch", "epochs", "the epoch that pays; it only moves the last atto", 0, maximum=LAST_EPOCH),
        ),
        outputs=(_ATTO,),
        rounding="floor of the whole epoch reward minus floor of its simple part, as the network's test vectors have it",
        exact=True,
        example={"theta0": "0", "theta1": "340282366920938463463374607398434878123"},
        source=Source("Filecoin built-in actors, reward actor", f"{_REWARD_RS}, compute_baseline_supply"),
    ),
    MonetaryPolicy(
        name="filecoin.epoch_reward",
        summary="All FIL minted in an epoch: simple plus baseline.",
        function=_epoch_reward,
        keys=(
            integer("epoch", "epochs of 30 s since launch", "the epoch, 0 is the first", maximum=LAST_EPOCH),
            integer("theta0", "Q.128 epochs", "effective time before the epoch", maximum=_THETA_MAX),
            integer("theta1", "Q.128 epochs", "effective time after the epoch", maximum=_THETA_MAX),
        ),
        outputs=(_ATTO, Output("simple_atto", "attoFIL", "the simple part, floored on its own")),
        rounding="Q.128 integers, one floor at the end",
        exact=True,
        example={"epoch": "0", "theta0": "0", "theta1": str(ONE)},
        source=Source("Filecoin built-in actors, reward actor", f"{_REWARD_RS}, compute_reward"),
    ),
    MonetaryPolicy(
        name="filecoin.effective_time",
        summary="Effective network time: the time at which the baseline would have offered the storage realized so far.",
        function=_effective_time,
        keys=(
            integer("cum_realized", "byte-epochs", "sum over epochs of min(baseline, raw power)"),
            integer("cum_baseline", "byte-epochs", "sum of the baseline power up to epoch ent"),
            integer("ent", "epochs", "effective network time, rounded up", maximum=LAST_EPOCH),
            integer("b_ent", "bytes", "baseline power at epoch ent", above=0),
        ),
        outputs=(
            Output("theta_q128", "Q.128 epochs", "effective network time"),
            Output("theta", "epochs", "the same as a float, for reading"),
        ),
        rounding="floor of the interpolated part (so θ itself rounds up)",
        exact=True,
        example={"cum_realized": "4096", "cum_baseline": "6144", "ent": "1", "b_ent": "4096"},
        source=Source("Filecoin built-in actors, reward actor", f"{_REWARD_RS}, compute_r_theta"),
    ),
)
