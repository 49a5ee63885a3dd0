"""Versions: what is current, what a delete leaves, what segments stay in use; on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fieldstone.services.storage.catalog.faults import CatalogFault
from fieldstone.services.storage.catalog.listing import list_versions
from fieldstone.services.storage.catalog.locks import set_legal_hold, set_retention
from fieldstone.services.storage.catalog.rows import Version
from fieldstone.services.storage.catalog.versions import (
    current_of,
    delete_current,
    delete_version,
    find_version,
    look_up,
    put_version,
)
from fieldstone.services.storage.s3.object_lock import Retention
from tests.services.storage.catalog.conftest import OWNER, Catalogue


def versions(c: Catalogue, key: bytes = b"") -> list[Version]:
    page = c.store.read_now(lambda x: list_versions(x, c.bucket, limit=1000))
    return [v for v in page.entries if not key or v.key == key]


def current(c: Catalogue, key: bytes) -> Version | None:
    return c.store.read_now(lambda x: current_of(x, c.bucket, key))


def delete(c: Catalogue, key: bytes, version: str | None = None, **named: object) -> object:
    if version is None:
        return c.do(delete_current, c.pool, c.bucket, key, OWNER, c.clock)
    return c.do(delete_version, c.pool, c.bucket, key, version, c.clock, **named)


def test_an_unversioned_key_has_one_version_called_null(catalogue: Catalogue) -> None:
    for etag in "abc":
        written = catalogue.put("k", etag)
        assert (written.version_id, written.show_version) == ("null", False)
    assert [(v.etag, v.version_id, v.is_current) for v in versions(catalogue)] == [("c", "null", True)]
    delete(catalogue, b"k")
    assert versions(catalogue) == []


def test_overwriting_gives_the_old_segments_back_and_keeps_the_new(catalogue: Catalogue) -> None:
    first, second = catalogue.new("1"), catalogue.new("2")
    catalogue.do(put_version, catalogue.pool, catalogue.bucket, b"k", first)
    catalogue.do(put_version, catalogue.pool, catalogue.bucket, b"k", second)
    assert sorted(catalogue.pool.uses().values()) == [0, 1]
    # a copy onto itself never lets the count touch zero, which would doom the segment
    again = catalogue.new("3", content=second.content)
    catalogue.do(put_version, catalogue.pool, catalogue.bucket, b"k", again)
    assert sorted(catalogue.pool.uses().values()) == [0, 1]
    delete(catalogue, b"k")
    assert set(catalogue.pool.uses().values()) == {0}


def test_versions_markers_and_promotion(catalogue: Catalogue) -> None:
    catalogue.put("k", "null-version")
    catalogue.versioned()
    ids = [catalogue.put("k", etag).version_id for etag in "ab"]
    assert len(set(ids)) == 2 and "null" not in ids
    marker = catalogue.do(delete_current, catalogue.pool, catalogue.bucket, b"k", OWNER, 5)
    assert marker.marker and marker.version_id not in ids
    assert [v.etag for v in versions(catalogue)] == ["", "b", "a", "null-version"]
    found = current(catalogue, b"k")
    assert found is not None and found.marker
    delete(catalogue, b"k", marker.version_id)
    found = current(catalogue, b"k")
    assert found is not None and found.etag == "b"  # the newest left is current
    delete(catalogue, b"k", "null")
    assert [v.etag for v in versions(catalogue)] == ["b", "a"]
    catalogue.versioned("Suspended")
    assert catalogue.put("k", "n1").version_id == "null"
    assert catalogue.put("k", "n2").version_id == "null"
    assert [v.etag for v in versions(catalogue)] == ["n2", "b", "a"]  # one null version, the newest
    gone = catalogue.do(delete_current, catalogue.pool, catalogue.bucket, b"k", OWNER, 5)
    assert (gone.version_id, gone.marker) == ("null", True)
    assert [(v.etag, v.marker) for v in versions(catalogue)] == [("", True), ("b", False), ("a", False)]


def test_a_delete_of_what_is_not_there_is_no_error(catalogue: Catalogue) -> None:
    assert not catalogue.do(delete_current, catalogue.pool, catalogue.bucket, b"none", OWNER, 5).existed
    assert not catalogue.do(delete_version, catalogue.pool, catalogue.bucket, b"none", "x", 5).existed
    catalogue.versioned()
    assert catalogue.do(delete_current, catalogue.pool, catalogue.bucket, b"none", OWNER, 5).marker


def test_a_version_id_of_another_key_finds_nothing(catalogue: Catalogue) -> None:
    catalogue.versioned()
    written = catalogue.put("mine", "a")
    found = catalogue.store.read_now(lambda c: find_version(c, catalogue.bucket, b"other", written.version_id))
    assert found is None


def test_conditions_are_asked_in_the_writing_transaction(catalogue: Catalogue) -> None:
    def only_new(found: Version | None) -> None:
        if found is not None:
            raise CatalogFault("PreconditionFailed")

    new = catalogue.new("a")
    catalogue.do(put_version, catalogue.pool, catalogue.bucket, b"k", new, only_new)
    with pytest.raises(CatalogFault, match="PreconditionFailed"):
        catalogue.do(put_version, catalogue.pool, catalogue.bucket, b"k", catalogue.new("b"), only_new)
    catalogue.versioned()
    delete(catalogue, b"k")
    # behind a delete marker the key does not exist
    catalogue.do(put_version, catalogue.pool, catalogue.bucket, b"k", catalogue.new("c"), only_new)


async def test_of_parallel_creators_one_wins(catalogue: Catalogue) -> None:
    def only_new(found: Version | None) -> None:
        if found is not None:
            raise CatalogFault("PreconditionFailed")

    news = [catalogue.new(str(i)) for i in range(12)]
    done = await asyncio.gather(
        *(
            catalogue.store.write(lambda c, n=n: put_version(c, catalogue.pool, catalogue.bucket, b"k", n, only_new))
            for n in news
        ),
        return_exceptions=True,
    )
    assert sum(not isinstance(d, BaseException) for d in done) == 1
    assert sum(isinstance(d, CatalogFault) for d in done) == 11
    # what lost was never adopted
    assert list(catalogue.pool.uses().values()) == [1]


async def test_parallel_writers_leave_one_current_version_and_no_stray_use(catalogue: Catalogue) -> None:
    catalogue.versioned()
    news = [catalogue.new(str(i)) for i in range(24)]
    written = await asyncio.gather(
        *(catalogue.store.write(lambda c, n=n: put_version(c, catalogue.pool, catalogue.bucket, b"k", n)) for n in news)
    )
    found = versions(catalogue)
    assert len(found) == 24 and [v.is_current for v in found] == [True] + [False] * 23
    assert {v.etag for v in found} == {w.etag for w in written}
    assert set(catalogue.pool.uses().values()) == {1}


async def test_a_quick_look_sees_the_last_commit(catalogue: Catalogue) -> None:
    for etag in "abc":
        new = catalogue.new(etag)
        await catalogue.store.write(lambda c, n=new: put_version(c, catalogue.pool, catalogue.bucket, b"k", n))
        found = await look_up(catalogue.store, catalogue.bucket, b"k", content=True)
        assert found is not None and found.etag == etag and found.content() == new.content


def test_locked_versions_stay(catalogue: Catalogue) -> None:
    catalogue.versioned()
    written = catalogue.put("k", retain_mode="GOVERNANCE", retain_until_ms=catalogue.clock + 10**9)
    with pytest.raises(CatalogFault, match="AccessDenied"):
        delete(catalogue, b"k", written.version_id)
    found = current(catalogue, b"k")
    assert found is not None
    catalogue.do(set_legal_hold, found, True)
    with pytest.raises(CatalogFault, match="AccessDenied"):
        delete(catalogue, b"k", written.version_id, bypass_governance=True)
    catalogue.do(set_legal_hold, found, False)
    compliance = Retention("COMPLIANCE", catalogue.clock + 2 * 10**9)
    catalogue.do(set_retention, found, compliance, catalogue.clock, bypass=True)
    with pytest.raises(CatalogFault, match="AccessDenied"):
        delete(catalogue, b"k", written.version_id, bypass_governance=True)
    found = current(catalogue, b"k")
    assert found is not None
    with pytest.raises(CatalogFault, match="AccessDenied"):
        catalogue.do(set_retention, found, None, catalogue.clock, bypass=True)
    catalogue.clock += 3 * 10**9
    delete(catalogue, b"k", written.version_id)
    assert versions(catalogue) == []


class Model:
    """Versions of keys in plain Python."""

    def __init__(self) -> None:
        self.versions: dict[bytes, list[tuple[str, str, bool]]] = {}  # newest first: id, etag, marker
        self.status = ""

    def _add(self, key: bytes, version_id: str, etag: str, marker: bool) -> None:
        rows = self.versions.setdefault(key, [])
        if version_id == "null":
            rows[:] = [row for row in rows if row[0] != "null"]
        rows.insert(0, (version_id, etag, marker))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_any_history_gives_the_versions_of_the_model(catalogue: Catalogue, seed: int) -> None:
    rng = random.Random(seed)
    prefix = f"{seed}-{rng.random()}/".encode()
    model = Model()
    from fieldstone.services.storage.catalog.buckets import create_bucket

    name = f"b{rng.getrandbits(60):x}"
    catalogue.bucket = catalogue.do(lambda c: create_bucket(c, name, OWNER, 1, object_lock=False, documents={}))
    for step in range(25):
        key = prefix + rng.choice([b"a", b"b"])
        act = rng.choice(["put", "put", "delete", "remove", "status"])
        if act == "status":
            model.status = rng.choice(["Enabled", "Suspended"])
            catalogue.versioned(model.status)
        elif act == "put":
            written = catalogue.put(key, str(step))
            model._add(key, written.version_id, str(step), False)
            assert (written.version_id == "null") == (model.status != "Enabled")
        elif act == "delete":
            done = catalogue.do(delete_current, catalogue.pool, catalogue.bucket, key, OWNER, 1)
            if model.status:
                assert done.version_id is not None
                model._add(key, done.version_id, "", True)
            else:
                model.versions.pop(key, None)
        elif model.versions.get(key):
            gone = rng.choice(model.versions[key])
            delete(catalogue, key, gone[0])
            model.versions[key].remove(gone)
    for key, rows in model.versions.items():
        found = versions(catalogue, key)
        assert [(v.version_id, v.etag, v.marker) for v in found] == rows
        assert [v.is_current for v in found] == [True] * bool(rows) + [False] * (len(rows) - 1)
