"""What S3 does, case by case, against a running gateway. The groups are those of the public suites; `table` counts them."""

from __future__ import annotations

import importlib
import inspect
from collections import Counter
from pathlib import Path

import pytest

from tests.services.storage.s3.conformance.table import CASES, Case, public_names
from tests.services.storage.s3.conftest import Door

for _file in sorted(Path(__file__).parent.glob("*.py")):  # importing the files of cases fills the table
    if _file.stem in ("objects", "rules") or _file.stem.endswith("_cases"):
        importlib.import_module(f"{__package__}.{_file.stem}")


@pytest.mark.parametrize(("group", "name", "function"), CASES, ids=[f"{group}: {name}" for group, name, _ in CASES])
def test_behaviour(group: str, name: str, function: Case, door: Door, request: pytest.FixtureRequest) -> None:
    words = {}
    if "bucket" in inspect.signature(function).parameters:
        words["bucket"] = request.getfixturevalue("bucket")
    function(door, **words)


def test_every_group_is_covered() -> None:
    groups = {group for group, _, _ in CASES}
    assert groups >= {"buckets", "objects", "listing", "conditions", "ranges", "copies", "multipart", "access", "policies", "versions", "tags", "cross-origin", "lifecycle", "locks", "forms"}  # fmt: skip


def test_the_lists_of_public_tests_and_the_table_agree() -> None:
    entered = Counter(name for _, name, _ in CASES)
    assert [name for name, count in entered.items() if count > 1] == []
    listed = public_names()
    passing = {name for name, status in listed.items() if status == "passes"}
    assert passing - entered.keys() == set(), "said to pass, but no case tries it"
    assert {name for name in entered if name.startswith("test_")} - listed.keys() == set(), "in no list"
    skipped = {name for name, status in listed.items() if status.startswith("not applicable")}
    assert skipped & entered.keys() == set(), "a case tries what is said not to apply"
