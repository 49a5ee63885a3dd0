"""What a signed report costs: verification per algorithm, and everything that happens around it, in CPU time.

    python bench/identity.py

Prints rates per CPU-second, best of several rounds, and each cost as a share of one Ed25519 verification in the same
run: on a busy machine the ratios mean more than the rates.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable

import nacl.signing

from fieldstone.identity import cose, entries
from fieldstone.identity.ed25519 import backend, verify_with_libsodium
from fieldstone.identity.keys import Algorithm, DeviceKey, verify
from fieldstone.identity.registry import Registry
from fieldstone.identity.report import Report, decode, encode
from fieldstone.identity.wallet import Wallet
from fieldstone.policy import Policy

_ROUNDS, _ROUND_S = 5, 0.2
_NAMES = tuple(f"variable_{number}" for number in range(11))
_KINDS = {("sensing", "readings"): _NAMES}
_START_MS = 1_790_000_000_000
_AAD = cose.network_aad("bench", 31_337, 1)


def cpu_us(work: Callable[[], object]) -> float:
    """Return CPU microseconds per call, best of several rounds."""
    best = float("inf")
    for _ in range(_ROUNDS):
        calls = 0
        start = time.process_time()
        while time.process_time() - start < _ROUND_S:
            for _ in range(20):
                work()
            calls += 20
        best = min(best, (time.process_time() - start) / calls * 1e6)
    return best


def cpu_us_in_turn(works: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return CPU microseconds per call, the median of many short slices taken in turn: for ratios on a busy machine."""
    slices: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(100):
        for name, work in works.items():
            start = time.process_time()
            for _ in range(100):
                work()
            slices[name].append((time.process_time() - start) / 100 * 1e6)
    return {name: statistics.median(found) for name, found in slices.items()}


def report(readings: int, variables: int, decimals: int | None) -> Report:
    """Make a report of a station with `decimals` of resolution (None: full floats)."""
    chance = random.Random(1)
    times = [_START_MS + 60_000 * number for number in range(readings)]
    columns: dict[str, list[float | None]] = {}
    for name in _NAMES[:variables]:
        values = [chance.uniform(0, 50) for _ in range(readings)]
        columns[name] = [value if decimals is None else round(value, decimals) for value in values]
    return Report(1, "sensing", "readings", 1_790_000_000_123, _START_MS, times[-1], times, columns)


def main() -> None:
    rows: list[tuple[str, float, str]] = []
    message = bytes(200)
    key = nacl.signing.SigningKey.generate()
    signed = key.sign(message)
    chosen, device = backend(), DeviceKey.generate()
    print(f"Ed25519 by {chosen.name} {chosen.version} {chosen.why_not}")
    raw, signature = device.public.raw, device.sign(message)
    works: dict[str, Callable[[], object]] = {
        "raw PyNaCl verify, 200 bytes": lambda: key.verify_key.verify(signed),
        "libsodium through our own call": lambda: verify_with_libsodium(raw, message, signature),
    }
    for algorithm in Algorithm:
        signer = DeviceKey.generate(algorithm)
        works[f"verify {algorithm}"] = lambda p=signer.public, s=signer.sign(message): verify(p, message, s)  # type: ignore[misc]
        works[f"sign {algorithm}"] = lambda d=signer: d.sign(message)  # type: ignore[misc]
    rows += [(name, cost, "") for name, cost in cpu_us_in_turn(works).items()]
    unit = rows[0][1]
    for title, shape in (
        ("12 fields (time and 11 variables)", (1, 11, 1)),
        ("60 readings × 7, one decimal (packed)", (60, 7, 1)),
        ("60 readings × 7, full floats", (60, 7, None)),
    ):
        made = report(*shape)
        payload = encode(made, _KINDS)
        body = cose.sign(device, payload, _AAD)
        size = f"{len(body)} bytes signed"
        envelope = cose.parse(body)
        rows.append((f"parse: {title}", cpu_us(lambda b=body: cose.parse(b)), size))  # type: ignore[misc]
        rows.append((f"decode and check: {title}", cpu_us(lambda p=payload: decode(p, _KINDS)), size))  # type: ignore[misc]

        def whole(b: bytes = body) -> None:
            envelope = cose.parse(b)
            decode(envelope.payload, _KINDS)
            assert verify(device.public, envelope.signed_bytes(_AAD), envelope.signature)

        cost = cpu_us(whole)
        rows.append((f"parse, decode, verify: {title}", cost, f"{shape[0] / cost * 1e6:,.0f} readings per CPU-second"))
        assert envelope.kid == device.public.kid

    policy, wallet, registry = Policy(network_id="bench"), Wallet.generate(), Registry()
    place = entries.Place(52.5, 13.4, 34.0, 10.0)
    bodies = iter([entries.enrol(DeviceKey.generate(), wallet, policy, model="m", place=place) for _ in range(1_000)])
    start = time.process_time()
    for body in bodies:
        registry.apply(body, _START_MS, policy)
    rows.append(("enrol a device", (time.process_time() - start) * 1_000, ""))
    table = registry.to_table()
    start = time.process_time()
    Registry.from_table(table)
    rows.append(("restore a device from a sealed table", (time.process_time() - start) * 1_000, ""))

    print(f"{'':56} {'µs CPU':>9} {'per CPU-s':>11} {'× verify':>9}")
    for title, cost, note in rows:
        print(f"{title:56} {cost:9.1f} {1e6 / cost:11,.0f} {cost / unit:9.2f}  {note}")


if __name__ == "__main__":
    main()
