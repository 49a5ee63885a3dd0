"""What a policy's list prices do to whom: a full device beside an empty one, and a cap that only looks like one.

    full-below-empty  unsold work may earn more than it would if it were sold, so operators do best to refuse customers;
                      or so much bootstrap that one who holds it all loses more of it by the fade than a customer pays
    list-price        the founder's price is far above the service's own: unsold work may earn as much, and nobody may buy
Both are warnings: paying supply ahead of demand is a founder's choice. That the default is on the safe side is the property
`sold_never_earns_less_than_unsold_at_list_price` (`rewards.caps`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fieldstone.rewards.lint_claims import Finding
from fieldstone.units import PPM, TOKEN_BASE, format_usd

if TYPE_CHECKING:
    from fieldstone.policy import Policy
    from fieldstone.services.contract import ListPrice

FAR_ABOVE = 10  # times the service's own price


def lint_listed(policy: Policy) -> Iterator[Finding]:
    """Yield what is wrong between a policy's list prices, its bootstrap and `unsold_pay_ppm`."""
    import msgspec

    from fieldstone.policy import MarketPolicy
    from fieldstone.services import load_service
    from fieldstone.services.prices import list_price

    default = msgspec.structs.replace(policy, market=MarketPolicy())
    for name in installed(policy):
        service = load_service(name)
        listed, own = list_price(service, policy), list_price(service, default)
        if listed is None or own is None:
            continue
        yield from _unsold_pay(policy, name, listed)
        yield from _fade(policy, name)
        if listed.micro_usd >= FAR_ABOVE * own.micro_usd:
            yield Finding(
                "list-price",
                "warning",
                f"{name}: the list price of {format_usd(listed.micro_usd)} per {listed.per} is "
                f"{listed.micro_usd // own.micro_usd:,} times the service's own; what empty devices may earn follows it, "
                "whether anybody buys at that price or not",
            )


def installed(policy: Policy) -> list[str]:
    """Return the policy's services that are installed here, by name. The others cannot be judged; `doctor` names them."""
    from fieldstone.services import service_names

    return sorted(set(policy.services) & set(service_names()))


def safe_list_price(policy: Policy, name: str, listed: ListPrice) -> int | None:
    """Return the list price (micro-dollars) from which on no full device earns less than an empty one, whatever
    `unsold_pay_ppm` is: there a sale is worth more than the bootstrap ever pays for empty work. None: there is none."""
    rewards = policy.rewards
    if rewards.take_ppm == PPM:
        return None
    full_cells_work = rewards.full_coverage_cells * _target(policy, name) * PPM
    most = _pool_micro_usd(policy, name) * listed.unsold_weight_ppm * listed.units
    return -(-most * PPM // (full_cells_work * (PPM - rewards.take_ppm)))


def fitting_target_rate(policy: Policy, name: str) -> int | None:
    """Return the `cell_target_rate` at which a cell's whole pool pays its empty capacity what it would earn if it were sold
    at list price, rounded up to two digits. None: the work has no list price, or nothing is offered for it.

    A lower one fills a cell with so little that the list price, not the target, bounds what it earns: a part of the pool is
    paid to nobody, and a few KiB of customers' data take a cell's whole. A higher one pays supply less than customers do.
    It is `safe_list_price` turned round: from this target on, no full device earns less than an empty one.
    """
    from fieldstone.services import load_service
    from fieldstone.services.prices import list_price

    listed, rewards = list_price(load_service(name), policy), policy.rewards
    most = _pool_micro_usd(policy, name)
    if listed is None or not most or rewards.take_ppm == PPM:
        return None
    cells_s = rewards.full_coverage_cells * policy.epoch.length_s
    rate = -(-most * listed.unsold_weight_ppm * listed.units // (cells_s * listed.micro_usd * (PPM - rewards.take_ppm)))
    digits = int(10 ** max(0, len(str(rate)) - 2))
    return -(-rate // digits) * digits


def _unsold_pay(policy: Policy, name: str, listed: ListPrice) -> Iterator[Finding]:
    pay_ppm = policy.services[name].unsold_pay_ppm
    if pay_ppm <= PPM:
        return
    safe = safe_list_price(policy, name, listed)
    if safe is not None and listed.micro_usd >= safe:
        return
    until = "at any price" if safe is None else f"while the list price is below {format_usd(safe)} per {listed.per}"
    yield Finding(
        "full-below-empty",
        "warning",
        f"services.{name}.unsold_pay_ppm is {pay_ppm:,}: {until} (it is {format_usd(listed.micro_usd)}), a full device can "
        "earn less than an empty one, and operators do best to refuse customers; at 1,000,000 they never do",
        pay_ppm,
    )


def _fade(policy: Policy, name: str) -> Iterator[Finding]:
    rewards = policy.rewards
    steered_ppm = rewards.take_ppm * rewards.need_demand_ppm // PPM
    kept = (PPM - rewards.take_ppm - steered_ppm) * rewards.r_half_micro_usd // PPM
    pool = _pool_micro_usd(policy, name)
    if pool > kept and rewards.r_half_micro_usd:
        yield Finding(
            "full-below-empty",
            "warning",
            f"{name}: the bootstrap offers {format_usd(pool)} an epoch at rewards.r_half_usd {rewards.r_half_usd}: an operator "
            "who earns nearly all of it loses more of it by a sale than the customer pays him. Raise rewards.r_half_usd",
            pool * PPM // max(1, kept),
        )


def _pool_micro_usd(policy: Policy, name: str) -> int:
    rewards = policy.rewards
    shares = max(PPM, sum(service.share_ppm for service in policy.services.values()))
    value = rewards.bootstrap_base * rewards.token_price_micro_usd // TOKEN_BASE
    return int(value * policy.services[name].share_ppm // shares)


def _target(policy: Policy, name: str) -> int:
    return policy.services[name].cell_target_rate * policy.epoch.length_s
