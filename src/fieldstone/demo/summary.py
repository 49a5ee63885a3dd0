"""The demo's ending as data: read back from the sealed epochs, not from what the demo meant to happen."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from fieldstone.demo.run import DAYS, Story
from fieldstone.epoch.signatures import SignatureBook
from fieldstone.epoch.store import EpochStore

HONEST_LABELS = ("honest", "real", "original")


def facts_of(story: Story) -> dict[str, Any]:
    """Return everything that `fieldstone demo` prints. Amounts in base units and micro-dollars."""
    store = EpochStore(story.folder / "data" / "sealed")
    earned: dict[str, int] = defaultdict(int)
    operators: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    members: dict[str, set[str]] = defaultdict(set)
    last: dict[str, dict[str, Any]] = {}
    reasons: dict[str, list[str]] = defaultdict(list)
    cut: set[str] = set()
    for epoch in store.epochs():
        for row in store.statements(epoch):
            earned[row["device"]] += int(row["total_base"])
            members[row["operator"]].add(row["device"])
            for name in ("paid_base", "bootstrap_base", "total_base"):
                operators[row["operator"]][name] += int(row[name])
            last[row["device"]] = row
            if _is_cut(row):
                cut.add(row["device"])
            reasons[row["device"]] += [code for code in row["reasons"] if code not in reasons[row["device"]]]
    devices = [
        _device(device, last.get(device.device), earned[device.device], reasons[device.device])
        for device in story.devices
    ]
    cheaters = [d for d in devices if not d["truth"].startswith(HONEST_LABELS)]
    honest = [d for d in devices if d["truth"].startswith(HONEST_LABELS)]
    ranked = sorted(operators.items(), key=lambda item: (-item[1]["total_base"], item[0]))
    return {
        "devices": len(devices),
        "reports": story.reports,
        "purchases": [purchase.__dict__ for purchase in story.purchases],
        "operators": [
            {"operator": operator, "devices": len(members[operator] - {""}), **dict(amounts)}
            for operator, amounts in ranked
            if operator
        ],
        "suspects": sorted((d for d in devices if d in cheaters or _is_cut(d)), key=lambda d: d["truth"]),
        "caught": {
            "cheaters": len(cheaters),
            "cheaters_caught": sum(map(_is_cut, cheaters)),
            "honest": len(honest),
            "honest_cut": sum(d["device"] in cut for d in honest),
        },
        "airport_fault": ", ".join(next((d["reasons"] for d in devices if d["name"].startswith("JFK")), [])),
        "active_epoch": story.active_epoch,
        "active_root": story.active_root,
        "signed_by": _signers(story, DAYS),
        "claim": story.claim,
        "replay_agrees": story.replayed is not None and story.replayed.agrees,
        "seconds": round(story.seconds, 1),
    }


def _is_cut(device: dict[str, Any]) -> bool:
    """The same yardstick for cheaters and honest: rejected, or less than half of the quality left."""
    return bool(device["verdict"] == "rejected" or device["quality_ppm"] < 500_000)


def _device(device: Any, row: dict[str, Any] | None, earned_base: int, reasons: list[str]) -> dict[str, Any]:
    return {
        "device": device.device,
        "name": device.name,
        "truth": device.truth,
        "verdict": row["verdict"] if row else "none",
        "quality_ppm": row["quality_ppm"] if row else 0,
        "reasons": reasons,
        "total_base": earned_base,
    }


def _signers(story: Story, epoch: int) -> list[str]:
    book = SignatureBook(story.folder / "data" / "signatures.db")
    try:
        return [signature.verifier for signature in book.signatures(epoch, 0)]
    finally:
        book.close()
