"""The object report for people: a few lines, then a table of shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

MOST_SEGMENTS = 20  # lines of segments; the rest is in --json


def show(body: Mapping[str, Any], *, show_all: bool = False) -> None:
    """Print a report: the summary, the segments, the shares of the weakest segment (or of all)."""
    from fieldstone.cli.show import facts, printable, say, table
    from fieldstone.services.storage.customer_report import STATES
    from fieldstone.units import format_usd

    report, epoch, stated = body["report"], body["epoch"], body["facts"]
    says = body.get("gateway_says") or {"segments": [], "repair_micro_usd": 0}
    name = printable(stated["name"]).replace("\n", "\\n")
    say(f"{name}: {body['state']} – {STATES.get(body['state'], '')}")
    typer.echo("")
    lines = {
        "size": f"{stated['size_bytes']:,} bytes, {report['stored_bytes']:,} bytes of shares with providers",
        "as of": f"epoch {epoch['number']} of {epoch['network_id']}, ended {_moment(epoch['end_ms'])}",
        "sealed as": f"manifest SHA-256 {epoch['manifest_sha256']}",
        "gateway": stated["gateway"],
    }
    order = sorted(report["segments"], key=lambda one: (one["margin"], one["segment"]))
    if body["state"] == "unlisted":
        lines["margin"] = "not known yet: what the epoch does not list is neither proven nor lost"
    elif order:
        count, weakest = len(order), order[0]
        lines |= {
            "margin": f"{report['margin']} more live shares than are needed, in the weakest of {count} segment(s); "
            f"{min(body['reachable'][one['segment']] - one['k'] for one in order)} more of holders that answered lately",
            "loss in a year": f"{_chance(report['p_loss_1y_independent'])} if shares fail independently, with repair",
            "": f"{_chance(weakest['p_loss_1y_correlated'])} (95 %: at most {_chance(weakest['p_loss_1y_correlated_high'])}) "
            "if operators and regions fail together, with the same repair"
            + (" – the weakest segment" if count > 1 else ""),
        }
        if count > 1:
            lines[" "] = (
                f"at most {_chance(report['p_loss_1y_correlated_high'])} for all {count} segments, if they were "
                "independent of each other; they fail together, so it is less"
            )
        lines["model"] = f"{report['model']['horizon']}; {report['model']['correlated']}"
    if order:
        lines |= {
            "spent so far": f"{format_usd(report['spent_micro_usd'])} for proven time of the present holders at "
            f"this epoch's price, {format_usd(says['repair_micro_usd'])} for repairs (the gateway's word); your reads not "
            "counted",
            "next 30 days": f"at most {format_usd(report['ahead_micro_usd_30_days'])} at "
            f"{format_usd(epoch['storage_micro_usd_per_gib_month'])} per GiB-month of shares; unproven time is not paid",
        }
    facts(lines)
    if body.get("permanence"):
        _show_funds(body["permanence"])
    if not order:
        return
    books = {one["segment"]: one for one in says["segments"]}
    typer.echo("")
    table(
        (
            "segment",
            "needed/made",
            "alive",
            "reachable",
            "margin",
            "loss in a year, independent",
            "correlated",
            "repairs",
            "gateway's remarks",
        ),
        [
            _segment_row(one, books.get(one["segment"], {}), body["reachable"][one["segment"]])
            for one in order[: None if show_all else MOST_SEGMENTS]
        ],
    )
    if len(order) > MOST_SEGMENTS and not show_all:
        typer.echo(f"… and {len(order) - MOST_SEGMENTS} more segments, none weaker (--all shows them)\n")
    for segment in order if show_all else order[:1]:
        table(
            (
                "share",
                "device",
                "operator",
                "alive",
                "last proof",
                "last test read",
                "audit",
                "online",
                "reads",
                "standing",
            ),
            [
                _share_row(share, body["holders"].get(share["device"], {}), epoch["end_ms"])
                for share in segment["shares"]
            ],
            title=f"shares of segment {segment['segment']}",
        )


def _show_funds(found: Mapping[str, Any]) -> None:
    """Print what pays for a permanent object."""
    from fieldstone.cli.show import facts, say, table
    from fieldstone.units import format_usd

    typer.echo("\nPaid once:\n")
    facts(
        {
            "permanent": f"{found['covered_segments']} of {found['segments']} segment(s)",
            "a year": f"{format_usd(found['yearly_micro_usd'])} for the storage of this object at today's price",
            "funds hold": f"{format_usd(found['balance_micro_usd'])}, for all permanent objects of the gateway",
            "paid": f"{format_usd(found['paid_this_epoch_micro_usd'])} by the charges of this epoch's journal",
            **{("warning" + " " * n): text for n, text in enumerate(found["warnings"])},
        }
    )
    if not found["funds"]:
        return
    typer.echo("")
    table(
        ("fund", "state", "holds", "of", "a year", "years as assumed", "prices stay", "repairs × 4, prices stay"),
        [
            (
                fund["fund"],
                fund["review"]["state"],
                format_usd(fund["balance_micro_usd"]),
                format_usd(fund["paid_in_micro_usd"]),
                format_usd(fund["review"]["yearly_micro_usd"]),
                *(
                    "for ever" if years is None else f"{years:,.1f}"
                    for years in (
                        fund["review"]["years"],
                        fund["review"]["if_prices_fall"][0]["years"],
                        fund["review"]["worst"]["years"],
                    )
                ),
            )
            for fund in found["funds"]
        ],
    )
    for fund in found["funds"]:
        review = fund["review"]
        say(
            f"{fund['fund']} assumes that prices fall by {review['assumed_decline_ppm'] / 10_000:g} % a year, that it earns "
            f"{review['assumed_return_ppm'] / 10_000:g} %, {review['expansion_ppm'] / 1e6:g} copies' worth of shares, and that "
            f"repair reads all of it {review['assumed_repair_reads_ppm'] / 1e6:g} times a year."
        )


def _segment_row(segment: Mapping[str, Any], books: Mapping[str, Any], reachable: int) -> tuple[str, ...]:
    remarks = []
    is_listed = bool(segment["shares"])
    if books.get("not_leased"):
        remarks.append(f"{books['not_leased']} not leased yet")
    remarks += [f"{count} {state}" for state, count in books.get("shares", {}).items() if state in ("corrupt", "lost")]
    if books.get("incidents"):
        remarks.append(f"{books['incidents']} incidents")
    if books.get("placement_relaxed"):
        remarks.append(f"placed without: {books['placement_relaxed']}")
    if books.get("uses", 1) > 1:
        remarks.append(f"shared by {books['uses']} objects, counted in full here")
    return (
        segment["segment"][:12],
        f"{segment['k']}/{segment['n']}",
        str(segment["alive"]),
        str(reachable),
        f"{segment['margin']:+d}",
        _chance(segment["p_loss_1y_independent"]) if is_listed else "",
        f"≤ {_chance(segment['p_loss_1y_correlated_high'])}" if is_listed else "not listed yet",
        str(books.get("repairs", "")),
        ", ".join(remarks),
    )


def _share_row(share: Mapping[str, Any], holder: Mapping[str, Any], end_ms: int) -> tuple[str, ...]:
    scores = holder.get("scores_ppm") or {}
    standing = ", ".join([holder.get("standing") or "", *holder.get("standing_causes", ())])
    if holder.get("silent"):
        standing += ", silent"
    return (
        str(share["index"]),
        holder.get("name") or f"…{share['device'][-12:]}",
        f"{share['operator'][:10]}…" if share["operator"] else "",
        "yes" if share["alive"] else "NO",
        _ago(share["last_proof_ms"], end_ms),
        _ago(share["last_read_ms"], end_ms),
        *(_percent(scores.get(name)) for name in ("audit", "availability", "retrieval")),
        standing,
    )


def _moment(at_ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _ago(at_ms: int | None, end_ms: int) -> str:
    """Say how long before the epoch's end something happened."""
    if at_ms is None:
        return "never"
    seconds = max(0, (end_ms - at_ms) // 1000)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} before"
    return f"{seconds} s before"


def _percent(ppm: int | None) -> str:
    return "" if ppm is None else f"{ppm // 100 / 100:g} %"


def _chance(probability: float) -> str:
    return f"{probability:.2g}" if probability < 0.0001 else f"{probability * 100:.3g} %"
