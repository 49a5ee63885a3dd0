"""Revenue goes to the devices whose data was delivered, to the last micro-dollar."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.errors import Terminal
from fieldstone.market.metering import Delivered, Refunded, decode, encode, revenue, settle_revenue


@dataclass(frozen=True)
class Entry:
    body: bytes
    kind: str = "metering"


def delivered(order: str, price: int, devices: dict[str, int], refund: int = 0, service: str = "sensing") -> Entry:
    return Entry(
        encode(
            Delivered(
                order=order,
                customer="anna",
                service=service,
                product="observations",
                price_micro_usd=price,
                delivered_ms=1,
                devices=devices,
                refund_micro_usd=refund,
            )
        )
    )


def refunded(order: str, amount: int, devices: dict[str, int] | None = None, refund: str = "r") -> Entry:
    body = Refunded(order=order, refund_micro_usd=amount, refund=refund, service="sensing", devices=devices or {})
    return Entry(encode(body))


def rows(entries: list[Entry]) -> dict[str, int]:
    return {device: amount for device, _, amount in revenue(entries).iter_rows()}


def test_the_entry_is_the_documented_canonical_json() -> None:
    body = delivered("o", 100, {"b": 1, "a": 2}).body
    assert body == (
        b'{"customer":"anna","data_sha256":"","delivered_ms":1,"devices":{"a":2,"b":1},"order":"o",'
        b'"price_micro_usd":100,"product":"observations","refund_micro_usd":0,"service":"sensing"}'
    )
    assert encode(decode(body)) == body


def test_worked_example() -> None:
    # 100 micro-dollars over 1 + 1 + 1 readings: 33 each, 1 to the treasury.
    assert rows([delivered("o", 100, {"a": 1, "b": 1, "c": 1})]) == {"": 1, "a": 33, "b": 33, "c": 33}


def test_an_epoch_without_sales_has_no_rows() -> None:
    assert revenue([]).is_empty()
    assert revenue([Entry(b"not read", kind="report")]).schema["revenue_micro_usd"].is_integer()


def test_a_short_delivery_pays_only_for_what_was_delivered() -> None:
    assert rows([delivered("o", 200, {"a": 3, "b": 2}, refund=100)]) == {"a": 60, "b": 40}
    assert rows([delivered("o", 200, {}, refund=200)]) == {}


def test_a_refund_falls_on_the_devices_whose_data_was_bad() -> None:
    entries = [delivered("o", 200, {"a": 5, "b": 5}), refunded("o", 80, {"b": 4})]
    assert rows(entries) == {"a": 100, "b": 20}
    assert rows([entries[0], refunded("o", 80)]) == {"a": 60, "b": 60}


def test_a_late_refund_is_owed_and_taken_from_the_next_revenue() -> None:
    first = settle_revenue([refunded("earlier", 80, {"b": 4})])
    assert first.revenue.is_empty()
    assert first.owed.rows() == [("b", "sensing", 80)]
    second = settle_revenue([delivered("o", 100, {"a": 1, "b": 1})], first.owed)
    assert second.revenue.rows() == [("a", "sensing", 50)]
    assert second.owed.rows() == [("b", "sensing", 30)]


def test_services_do_not_pay_for_each_other() -> None:
    result = settle_revenue([delivered("o", 100, {"b": 1}, service="storage"), refunded("earlier", 80, {"b": 4})])
    assert result.revenue.rows() == [("b", "storage", 100)]
    assert result.owed.rows() == [("b", "sensing", 80)]


def test_a_malformed_entry_is_named() -> None:
    for body in (b"", b"[]", b"7", b'{"price_micro_usd":-1}', b'{"order":"o"}'):
        with pytest.raises(Terminal, match="metering entry"):
            revenue([Entry(body)])


_devices = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 10**9), max_size=6)


@given(data=st.data())
def test_revenue_and_owed_add_up_and_are_never_negative(data: st.DataObject) -> None:
    entries, total, late = [], 0, 0
    for n in range(data.draw(st.integers(0, 5))):
        price = data.draw(st.integers(0, 10**12))
        refund = data.draw(st.integers(0, price))
        devices = data.draw(_devices)
        entries.append(delivered(f"o{n}", price, devices, refund))
        later = data.draw(st.integers(0, price - refund))
        entries.append(refunded(f"o{n}", later, data.draw(_devices)))
        total += price - refund - later
    for n in range(data.draw(st.integers(0, 3))):
        amount = data.draw(st.integers(0, 10**12))
        entries.append(refunded(f"before{n}", amount, data.draw(_devices)))
        late += amount
    result = settle_revenue(entries)
    earned, owed = result.revenue["revenue_micro_usd"], result.owed["owed_micro_usd"]
    assert earned.sum() - owed.sum() == total - late
    assert all(amount > 0 for amount in [*earned, *owed])


@given(devices=_devices.filter(bool), price=st.integers(0, 10**12), data=st.data())
def test_order_and_repetition_of_entries_do_not_matter(
    devices: dict[str, int], price: int, data: st.DataObject
) -> None:
    entries = [delivered("o", price, devices), delivered("p", price, devices), refunded("o", price // 3, devices)]
    shuffled = data.draw(st.permutations([*entries, *entries]))
    assert rows(shuffled) == rows(entries)
    for device, amount in rows(entries[:1]).items():
        assert device == "" or amount <= price * devices[device] / sum(devices.values())
