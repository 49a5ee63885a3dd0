"""The card as JSON: `schema/assessment-v1.json` describes it. Floats to 10 significant digits, so the same card is the same bytes."""

from __future__ import annotations

import json
import math
from importlib import resources
from typing import Any

from fieldstone import __version__
from fieldstone.assess.catalogue import metrics
from fieldstone.assess.claims import Claim
from fieldstone.assess.contradictions import Contradiction
from fieldstone.assess.evaluate import Answer, Assessment, Measured
from fieldstone.assess.evidence import Known
from fieldstone.assess.regulation import standing
from fieldstone.assess.sensitivity import Sensitivity

SCHEMA_VERSION = 1


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a card's document."""
    text = (resources.files("fieldstone.assess") / "data" / "assessment-v1.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def document(card: Assessment, firmness: Sensitivity) -> dict[str, Any]:
    """Return a card as plain JSON values."""
    framework, case = card.framework, card.case
    return {
        "schema_version": SCHEMA_VERSION,
        "fieldstone_version": __version__,
        "network": {
            "name": case.network.name,
            "service": case.network.service,
            "summary": case.network.summary,
            "regions": list(case.network.regions),
            "related_parties": list(case.network.related),
        },
        "on": card.on.isoformat(),
        "expires": card.expires.isoformat() if card.expires else None,
        "inputs": {
            "case_sha256": case.sha256,
            "framework_sha256": framework.sha256,
            "framework_version": framework.version,
            "seed": firmness.seed,
        },
        "verdict": {"band": card.verdict, "because": card.because},
        "scores": {
            "raw": number(card.scores.raw),
            "adjusted": number(card.scores.adjusted),
            "coverage": number(card.scores.coverage),
            "evidence_strength": number(card.scores.strength),
        },
        "questions": [_answer(answer) for answer in card.answers],
        "flags": [
            {
                "id": flag.rule.id,
                "severity": flag.rule.severity,
                "title": flag.rule.title,
                "raised": flag.raised,
                "when": f"{flag.rule.measure} {flag.rule.when}",
                "known": _known(flag.known) if flag.known else None,
            }
            for flag in card.flags
        ],
        "contradictions": [_contradiction(one) for one in card.contradictions],
        "gaming": [
            {"id": s.id, "trick": s.trick, "outcome": s.outcome, "shows": s.shows, "claims": list(s.claims)}
            for s in card.suspicions
        ],
        "sensitivity": {
            "draws": firmness.draws,
            "seed": firmness.seed,
            "verdict_changes": _interval(firmness),
            "all_weak_claims_against": {"verdict": firmness.together, "raw": number(firmness.together_raw)},
            "claims": [
                {
                    "claim": swing.claim.id,
                    "error": number(swing.error),
                    "raw_against": number(swing.against),
                    "raw_towards": number(swing.towards),
                    "verdict_against": swing.verdict_against,
                }
                for swing in firmness.swings
            ],
        },
        "regulation": [
            {"region": s.region, "rule": s.title, "status": s.status, "asks": s.asks, "source": s.source, "grade": s.grade, "note": s.note}
            for s in standing(case)
        ],
        "missing": [{"question": m.question, "what": m.what, "where": m.where} for m in case.missing],
        "claims": [_claim(claim, card) for claim in case.claims],
    }  # fmt: skip


def to_json(card: Assessment, firmness: Sensitivity) -> str:
    """Return the document's text, keys sorted."""
    return json.dumps(document(card, firmness), ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def number(value: float | None) -> float | str | None:
    """Return a JSON number with 10 significant digits; "infinite" for what JSON cannot hold, None for unknown."""
    if value is None or math.isnan(value):
        return None
    return "infinite" if math.isinf(value) else float(f"{value:.10g}") + 0.0


def _answer(answer: Answer) -> dict[str, Any]:
    question = answer.question
    return {
        "id": question.id,
        "title": question.title,
        "weight": number(question.weight),
        "status": answer.status,
        "band": answer.band,
        "grade": answer.grade.value if answer.grade else None,
        "reason": answer.reason,
        "limits": list(answer.limits),
        "missing": list(answer.missing),
        "would_change": question.change,
        "measures": [_measured(one) for one in answer.measured],
    }


def _measured(one: Measured) -> dict[str, Any]:
    return {
        "name": one.rule.name,
        "title": one.title,
        "role": one.rule.role,
        "unit": one.unit,
        "green": one.rule.green,
        "amber": one.rule.amber,
        "band": one.band,
        "known": _known(one.known) if one.known else None,
        "missing": list(one.missing),
    }


def _known(known: Known) -> dict[str, Any]:
    return {
        "value": number(known.value),
        "bound": known.bound or "exact",
        "grade": known.grade.value,
        "period": [known.period.start.isoformat(), known.period.end.isoformat()],
        "formula": known.formula,
        "claims": list(known.claims),
        "notes": list(known.notes),
    }


def _contradiction(one: Contradiction) -> dict[str, Any]:
    ids = [one.first.id] + ([one.second.id] if one.second else [])
    return {
        "kind": one.kind,
        "metric": one.metric,
        "claims": ids,
        "relative_difference": number(one.difference),
        "explanation": one.explanation,
    }


def _interval(firmness: Sensitivity) -> dict[str, Any] | None:
    if firmness.flips is None:
        return None
    return {
        "share": number(firmness.flips.value),
        "low": number(firmness.flips.low),
        "high": number(firmness.flips.high),
    }


def _claim(claim: Claim, card: Assessment) -> dict[str, Any]:
    oldest = card.framework.grades.oldest_days
    return {
        "id": claim.id,
        "metric": claim.metric,
        "meaning": metrics()[claim.metric].title,
        "value": number(claim.value),
        "values": [number(v) for v in claim.values] if claim.values is not None else None,
        "base_unit": claim.base,
        "as_stated": claim.shown,
        "period": [claim.period.start.isoformat(), claim.period.end.isoformat()],
        "as_of": claim.as_of.isoformat(),
        "source": {"id": claim.source.id, "title": claim.source.title, "locator": claim.source.locator, "via": claim.source.via},
        "related_source": claim.source.related,
        "grade": claim.grade.value,
        "grade_today": claim.grade_on(card.on, oldest).value,
        "method": claim.method,
        "scope": claim.scope,
        "counts": claim.counts,
        "note": claim.note,
    }  # fmt: skip
