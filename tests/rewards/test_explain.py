from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given

from fieldstone.policy import RewardPolicy
from fieldstone.rewards import AllocationInput, allocate
from fieldstone.rewards.explain import Line, explain, to_dicts, to_text
from fieldstone.services.contract import ListPrice
from fieldstone.units import PPM, TOKEN_BASE

from .networks import EPOCH_S, Correction, Device, network, networks, operator

REASONS = {"STUCK": SimpleNamespace(meaning="The value did not change.", remedy="Replace the sensor.")}


def find(lines: list[Line], label: str) -> Line:
    return next(line for line in lines if line.label == label)


def rows(inp: AllocationInput) -> list[dict[str, Any]]:
    return list(allocate(inp).statements.iter_rows(named=True))


@given(networks())
def test_an_operator_with_a_calculator_recomputes_every_row(inp: AllocationInput) -> None:
    """From `factors` alone, by the formulas of the statement's documentation."""
    for row in rows(inp):
        factors = json.loads(row["factors"])
        assert json.dumps(factors, sort_keys=True, separators=(",", ":"), ensure_ascii=False) == row["factors"]
        own, bootstrap = factors["row"], 0
        if factors["cell"] is not None:
            pool, cell = factors["bootstrap"], factors["cell"]
            half, smoothed = pool["r_half_micro_usd"], pool["smoothed_revenue_micro_usd"]
            offered = int(pool["schedule_base"]) * half // (half + smoothed) if half else 0
            assert offered == int(pool["offered_base"])
            assert offered * pool["share_ppm"] // PPM == int(pool["service_pool_base"])
            assert int(pool["coverage_base"]) + int(pool["demand_base"]) == int(pool["service_pool_base"])
            weight, target = int(cell["weight"]), int(pool["target_work"])
            assert weight == min(int(cell["work"]), target)
            coverage = int(pool.get("rate_base", pool["coverage_base"])) * weight // int(pool["weight_divisor"])
            bought, sold = cell["revenue_micro_usd"], pool["service_revenue_micro_usd"]
            demand = int(pool["demand_base"]) * bought * weight // (sold * target) if sold else 0
            assert (coverage, demand) == (int(cell["coverage_base"]), int(cell["demand_base"]))
            work = row["quantity"] * row["quality_ppm"] if row["verdict"] in ("accepted", "partial") else 0
            work -= int(own.get("sold_unpaid", 0))
            assert work == int(own["work"])
            pool_base, all_work = coverage + demand, int(cell["work"])
            if "rate_base" in cell:
                pool_base, all_work = int(cell["rate_base"]), int(cell["rate_work"])
            of_sold = int(own.get("sold_work", 0))
            parts = [(of_sold, int(own.get("sold_cap_base", 0)))]
            if "unsold_cap_base" in own:
                listed, paid = pool["list_price"], factors["paid"]
                cap = (work - of_sold) * listed["micro_usd"] * (PPM - paid["take_ppm"]) * listed["unsold_pay_ppm"]
                cap = (
                    cap
                    * TOKEN_BASE
                    // (listed["units"] * listed["unsold_weight_ppm"] * PPM**2 * paid["price_micro_usd"])
                )
                assert cap == int(own["unsold_cap_base"])
                parts.append((work - of_sold, cap))
            capped = [(part, cap) for part, cap in parts if part and pool_base * part > cap * all_work]
            free = work - sum(part for part, _ in capped)
            bootstrap = sum(cap for _, cap in capped) + (pool_base * free // all_work if free else 0)
            shown = find(explain(row), "bootstrap")
            assert shown.exact == bootstrap
        assert int(row["bootstrap_base"]) == bootstrap - int(own["bootstrap_cut_base"])
        keep = PPM - factors["paid"]["take_ppm"]
        paid = keep * max(0, row["revenue_micro_usd"]) * TOKEN_BASE // (PPM * factors["paid"]["price_micro_usd"])
        added = sum(max(0, int(entry["amount_base"])) for entry in factors["corrections"])
        firm = paid + added - int(own["held_back_base"]) - int(own["debt_repaid_base"])
        assert int(row["paid_base"]) + int(row["correction_base"]) == firm
        assert int(row["total_base"]) == firm + int(row["bootstrap_base"])


@given(networks())
def test_lines_lead_to_the_total(inp: AllocationInput) -> None:
    for row in rows(inp):
        lines = explain(row)
        exact = {line.label: line.exact or 0 for line in lines if line.section != "corrections"}
        added = sum(max(0, int(entry["amount_base"])) for entry in json.loads(row["factors"])["corrections"])
        repaid = sum(line.exact or 0 for line in lines if line.label == "debt repaid")
        parts = ("bootstrap", "paid", "held back", "bootstrap cut")
        assert sum(exact.get(part, 0) for part in parts) + added + repaid == int(row["total_base"])
        assert lines[-1].exact == int(row["total_base"])


def test_a_rejected_device_learns_why_and_what_to_do() -> None:
    (row,) = rows(network([Device(verdict="rejected", quality_ppm=0)]))
    lines = explain(row, reasons=REASONS, quantity_unit="station-seconds")
    assert find(lines, "reason").why == "The value did not change."
    assert find(lines, "reason").remedy == "Replace the sensor."
    assert "no bootstrap" in find(lines, "verdict").why
    assert find(lines, "verified work").unit == "station-seconds"
    assert lines[-1].exact == 0


def test_a_device_that_sent_nothing_has_an_explanation() -> None:
    (row,) = rows(network([Device(verdict="none")]))
    assert find(explain(row), "verdict").remedy == "Send reports."


def test_quality_per_variable_comes_from_the_verdict() -> None:
    (row,) = rows(network([Device(quality_ppm=900_000, verdict="partial")]))
    cause = {"reason": "STUCK", "variable": "rain_mm", "measured": 7.5, "threshold": 6, "quality_if_fixed_ppm": 950_000}
    detail = json.dumps({"variables_ppm": {"temperature_c": 900_000, "rain_mm": 1_000_000}, "causes": [cause]})
    lines = explain(row, {"detail": detail}, reasons=REASONS)
    why = find(lines, "reason").why
    assert why == "The value did not change. In rain_mm; measured 7.5; limit 6; quality without it 95.00 %."
    assert find(lines, "quality of temperature_c").value == "90.0000"
    assert find(lines, "quality of rain_mm").exact == PPM


@pytest.mark.parametrize(
    "detail",
    [None, "", "no json", "[]", '{"variables_ppm": 3, "causes": 1}', '{"variables_ppm": {"a": null}, "causes": [1]}'],
)
def test_a_strange_detail_never_hides_the_money(detail: str | None) -> None:
    (row,) = rows(network([Device()]))
    assert explain(row, {"detail": detail})[-1].exact == 100 * TOKEN_BASE


def test_full_quality_is_what_the_network_would_really_have_paid() -> None:
    """The counterfactual agrees with a second run in which the device is perfect."""
    policy = RewardPolicy(full_coverage_cells=2, r_half_usd="1000000")
    crowd = [Device(owner=1, place=place, quality_ppm=700_000, revenue=10**6) for place in (0, 1, 2)]
    worse, better = Device(quality_ppm=250_000, verdict="partial"), Device()
    promised = find(explain(rows(network([worse, *crowd], policy=policy))[0]), "bootstrap at full quality")
    really = rows(network([better, *crowd], policy=policy))[0]
    assert promised.exact is not None
    assert abs(promised.exact - int(really["bootstrap_base"])) <= 2


def test_what_is_capped_says_so_and_what_would_earn_more() -> None:
    listed = ListPrice(2_000, 1_000_000, "GiB-month", unsold_weight_ppm=10_000)
    half_full = Device(quantity=EPOCH_S, sold=EPOCH_S // 2, revenue=100)
    (row,) = rows(network([half_full], listed=listed))
    lines = explain(row)
    assert (
        "sold at the list price of $0.002 per GiB-month, after a take of 10 %"
        in find(lines, "most for unsold work").why
    )
    assert find(lines, "most for sold work").value == "0.000100000"  # half of the take on 100 micro-dollars, at 5 cents
    pay = find(lines, "bootstrap")
    assert pay.why == "sold work capped at the take on what customers paid and unsold work capped at list price"
    assert pay.remedy.startswith("Take in customers' data")
    assert pay.exact == int(row["bootstrap_base"])


def test_markup_in_a_cause_is_shown_as_text() -> None:
    inp = network([Device()], corrections=[Correction(operator(0), 5, "did:key:z000", "[link=evil]x[/link]")])
    lines = explain(rows(inp)[0])
    assert "[link=evil]x[/link]" in to_text(lines, width=200)


def test_json_keeps_exact_amounts_as_text() -> None:
    (row,) = rows(network([Device()]))
    last = json.loads(json.dumps(to_dicts(explain(row))))[-1]
    assert last["exact"] == str(100 * TOKEN_BASE)
    assert set(last) == {"section", "label", "value", "unit", "why", "remedy", "exact"}
