"""How much bootstrap an epoch offers: a schedule that fades as demand grows (DESIGN §4.8).

Formula (integers, floor):
    schedule(1) = bootstrap_per_epoch;  schedule(n + 1) = schedule(n) · (10⁶ − decay_ppm) // 10⁶
    smoothed    = (smoothed_before · (10⁶ − weight_ppm) + revenue · weight_ppm) // 10⁶
    bootstrap   = schedule(epoch) · R_half // (R_half + smoothed)
Reason: the bootstrap pays for capacity that nobody buys yet. At a smoothed revenue of R_half it has halved, and it
goes to zero as customers take over. This epoch's revenue is in the average already, so whoever buys from himself
cuts his own bootstrap in the same epoch.
Invariants: `fade_never_rises_with_revenue`, `schedule_never_rises`, `smoothed_stays_between`.
"""

from __future__ import annotations

from fieldstone.units import PPM


def schedule(epoch: int, bootstrap_base: int, decay_ppm: int) -> int:
    """Return the base units scheduled for `epoch` (1 is the first). Raises ValueError for an epoch below 1.

    Stepwise, so that anyone can check epoch n from epoch n − 1; the loop ends when nothing is left.
    """
    if epoch < 1:
        raise ValueError(f"epoch {epoch} does not exist: the first epoch is 1")
    amount = bootstrap_base
    if decay_ppm == 0:
        return amount
    for _ in range(epoch - 1):
        amount = amount * (PPM - decay_ppm) // PPM
        if amount == 0:
            break
    return amount


def smooth(before_micro_usd: int, revenue_micro_usd: int, weight_ppm: int) -> int:
    """Return the moving average of revenue per epoch after this epoch, in micro-dollars.

    `weight_ppm` is the weight of the newest epoch. Negative revenue (more refunds than sales) counts as 0.
    """
    return (before_micro_usd * (PPM - weight_ppm) + max(0, revenue_micro_usd) * weight_ppm) // PPM


def fade(scheduled_base: int, r_half_micro_usd: int, smoothed_micro_usd: int) -> int:
    """Return what is left of the scheduled bootstrap at this smoothed revenue. R_half 0 means: no bootstrap at all."""
    if r_half_micro_usd == 0:
        return 0
    return scheduled_base * r_half_micro_usd // (r_half_micro_usd + smoothed_micro_usd)
