"""Cases written in a few lines."""

from __future__ import annotations

from datetime import date

from fieldstone.assess.case import Case, parse_case
from fieldstone.assess.evaluate import Assessment, assess

ON = date(2026, 11, 22)
HEAD = 'schema = 1\n[network]\nname = "N"\nservice = "sensing"\ntoken = "TOK"\n[[source]]\nid = "s"\ntitle = "S"\n'


def claim(
    metric: str, value: object, unit: str = "", period: str = "2026-10", *, grade: str = "A", **more: object
) -> str:
    """Return one claim in TOML; `id` defaults to the metric's name."""
    fields: dict[str, object] = {
        "id": metric.replace(".", "-").replace("_", "-"),
        "metric": metric,
        "value": value,
        "period": period,
    }
    fields |= {"unit": unit} if unit else {}
    fields |= {"source": "s", "grade": grade, **more}
    return "\n[[claim]]\n" + "".join(f"{key} = {_toml(item)}\n" for key, item in fields.items())


def case(*claims: str, head: str = HEAD) -> Case:
    return parse_case(head + "".join(claims))


def card(*claims: str, on: date = ON, head: str = HEAD) -> Assessment:
    return assess(case(*claims, head=head), on=on)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    return repr(list(value)) if isinstance(value, tuple | list) else str(value)
