"""`docs/reference/reasons.md`: why a message can be refused."""

from __future__ import annotations

from fieldstone.reasons import REASONS
from fieldstone.reference.markdown import code, head, table


def page() -> str:
    """Return the page."""
    rows = ((code(r.code), r.http_status, r.meaning, r.remedy) for r in REASONS.values())
    return (
        head(
            "Reasons for a refusal",
            "fieldstone.reasons",
            "The network refuses a message only for one of these reasons. Each refusal is counted under its code, and a "
            "device's operator sees the counts of the last 24 hours at `GET /v1/devices/{device}`. Over HTTP a refusal is "
            "`{code, detail, remedy}` with the status given here. Why *accepted* work earned less is another list: "
            "[the sensing rules](sensing-rules.md#reasons).",
        )
        + "\n"
        + table(("code", "HTTP", "what happened", "what to do"), rows)
    )
