"""What S3 does, case by case, against a running gateway. The groups are those of the public suites; `table` counts them."""

from __future__ import annotations

import pytest

from tests.services.storage.s3.conformance import objects, rules
from tests.services.storage.s3.conformance.table import CASES, Case
from tests.services.storage.s3.conftest import Door

assert objects, rules  # importing them fills the table


@pytest.mark.parametrize(("group", "name", "function"), CASES, ids=[f"{group}: {name}" for group, name, _ in CASES])
def test_behaviour(group: str, name: str, function: Case, door: Door, bucket: str) -> None:
    function(door, bucket)


def test_every_group_is_covered() -> None:
    groups = {group for group, _, _ in CASES}
    assert groups >= {"buckets", "objects", "listing", "conditions", "ranges", "copies", "multipart", "access", "policies", "versions", "tags", "cross-origin", "lifecycle", "locks", "forms"}  # fmt: skip
