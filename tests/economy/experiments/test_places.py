from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from fieldstone.economy.experiments.places import Places, dotted

TEXT = '''name = "x"
summary = """
months = 3
[[cohorts]]
"""
[[cohorts]]      # the first
capex_usd = 1
[[cohorts]]
name = "b"
capex_usd = { value = 1, unit = "USD" }
[cohorts.more]
deep = 1
[ "quoted part" ]
a . b = 2
'''


def test_lines_of_keys_and_tables() -> None:
    places = Places(TEXT)
    tomllib.loads(TEXT)
    assert places.line(("name",)) == 1
    assert places.line(("cohorts", 0, "capex_usd")) == 7
    assert places.line(("cohorts", 1, "capex_usd", "unit")) == 10
    assert places.line(("cohorts", 1, "absent")) == 8
    assert places.line(("cohorts", 1, "more", "deep")) == 12
    assert places.line(("quoted part", "a", "b")) == 14
    assert places.line(("months",)) is None  # it stands inside a text
    assert places.line(("unheard of",)) is None


def test_paths_read_as_people_write_them() -> None:
    assert dotted(("cohorts", 1, "capex_usd")) == "cohorts[1].capex_usd"


NAMES = st.sampled_from(["a", "b", "c", "a-b", "x_1"])


@given(st.lists(st.tuples(NAMES, st.booleans(), st.lists(NAMES, unique=True, max_size=3)), max_size=8))
def test_every_key_is_found_on_its_own_line(tables: list[tuple[str, bool, list[str]]]) -> None:
    """Tables and arrays of tables in any order: the line found is the line that the key was written on."""
    kinds: dict[str, bool] = {}
    counts: dict[str, int] = {}
    lines: list[str] = []
    wanted = []
    for name, is_array, keys in tables:
        if kinds.setdefault(name, is_array) != is_array or (not is_array and name in counts):
            continue
        counts[name] = counts.get(name, -1) + 1
        lines.append(f"[[{name}]]" if is_array else f"[{name}]")
        for key in keys:
            lines.append(f"  {key} = 1  # [not a table]")
            path = (name, counts[name], key) if is_array else (name, key)
            wanted.append((path, len(lines)))
    text = "\n".join(lines)
    tomllib.loads(text)
    places = Places(text)
    assert [(path, places.line(path)) for path, _ in wanted] == wanted
