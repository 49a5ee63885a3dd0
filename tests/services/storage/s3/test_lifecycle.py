"""Lifecycle rules: what is refused, and exactly when something ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.services.storage.s3 import lifecycle
from fieldstone.services.storage.s3.dates import parse_iso_date
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.lifecycle import DAY_MS, Facts, Filter, Rule


def ms(text: str) -> int:
    found = parse_iso_date(text)
    assert found is not None
    return found


def rule(inner: str, status: str = "Enabled") -> bytes:
    return f"<LifecycleConfiguration><Rule><Status>{status}</Status>{inner}</Rule></LifecycleConfiguration>".encode()


DAYS = "<Expiration><Days>1</Days></Expiration>"


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (rule("<Prefix>a</Prefix>"), "InvalidRequest"),
        (rule(DAYS), "MalformedXML"),
        (rule("<Prefix/>" + DAYS, status="enabled"), "MalformedXML"),
        (rule("<Prefix/><Filter/>" + DAYS), "MalformedXML"),
        (rule("<Prefix/><Expiration><Days>0</Days></Expiration>"), "InvalidArgument"),
        (rule("<Prefix/><Expiration><Days>-1</Days></Expiration>"), "InvalidArgument"),
        (rule("<Prefix/><Expiration/>"), "MalformedXML"),
        (rule("<Prefix/><Expiration><Days>1</Days><Date>2030-01-01T00:00:00Z</Date></Expiration>"), "MalformedXML"),
        (rule("<Prefix/><Expiration><Date>20200101</Date></Expiration>"), "MalformedXML"),
        (rule("<Prefix/><Expiration><Date>2030-01-01T01:00:00Z</Date></Expiration>"), "InvalidArgument"),
        (rule("<Prefix/>" + DAYS + f"<ID>{'a' * 256}</ID>"), "InvalidArgument"),
        (rule("<Prefix/>" + DAYS + "<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>"), "NotImplemented"),
        (rule("<Prefix/><Transition><Date>20220927</Date><StorageClass>GLACIER</StorageClass></Transition>"), "MalformedXML"),
        (rule("<Filter><Prefix>a</Prefix><Tag><Key>k</Key><Value>v</Value></Tag></Filter>" + DAYS), "MalformedXML"),
        (rule("<Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter><AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>"), "InvalidRequest"),
        (rule("<Prefix/><NoncurrentVersionExpiration><NewerNoncurrentVersions>1</NewerNoncurrentVersions></NoncurrentVersionExpiration>"), "MalformedXML"),
        (b"<LifecycleConfiguration/>", "MalformedXML"),
        (b"<LifecycleConfiguration>" + rule("<ID>a</ID><Prefix/>" + DAYS)[24:-25] * 2 + b"</LifecycleConfiguration>", "InvalidArgument"),
    ],
)  # fmt: skip
def test_refused_documents(document: bytes, code: str) -> None:
    with pytest.raises(S3Error) as caught:
        lifecycle.parse(document)
    assert caught.value.code == code


FILTERS = st.builds(Filter, st.text("ab/", max_size=4), st.dictionaries(st.text("kv", min_size=1, max_size=2), st.text("xy", max_size=2), max_size=2), st.none() | st.integers(0, 9), st.none() | st.integers(0, 9))  # fmt: skip


@given(FILTERS, st.integers(1, 1000), st.booleans())
def test_rules_come_back(chosen: Filter, days: int, enabled: bool) -> None:
    wanted = (Rule("r", enabled, chosen, days=days, noncurrent_days=days + 1, newer_noncurrent=3),)
    assert lifecycle.parse(lifecycle.write(wanted)) == wanted


def test_old_form_and_names() -> None:
    (found,) = lifecycle.parse(rule("<Prefix>a</Prefix>" + DAYS))
    assert found.legacy
    assert len(found.name) == 32
    assert b"<Prefix>a</Prefix><Status>" in lifecycle.write((found,))
    assert lifecycle.parse(rule("<Prefix>a</Prefix>" + DAYS))[0].name == found.name


def test_days_end_at_the_next_midnight() -> None:
    """Amazon's example: created 2014-01-15 10:30 UTC, three days: 2014-01-19 00:00 UTC."""
    three = Rule("r", True, Filter(), days=3)
    facts = Facts("k", ms("2014-01-15T10:30:00Z"))
    assert lifecycle.expiry((three,), facts) == (ms("2014-01-19"), three)
    assert not lifecycle.expired(three, facts, ms("2014-01-18T23:59:59Z"))
    assert lifecycle.expired(three, facts, ms("2014-01-19T00:00:00Z"))
    assert lifecycle.expiration_header((three,), facts) == 'expiry-date="Sun, 19 Jan 2014 00:00:00 GMT", rule-id="r"'


@given(st.integers(0, 10**13), st.integers(1, 400))
def test_nothing_ends_early(created_ms: int, days: int) -> None:
    found = lifecycle.expiry((Rule("r", True, Filter(), days=days),), Facts("k", created_ms))
    assert found is not None
    assert found[0] % DAY_MS == 0
    assert 0 <= found[0] - created_ms - days * DAY_MS < DAY_MS


@pytest.mark.parametrize(
    ("chosen", "fits"),
    [
        (Filter("a/"), True),
        (Filter("b/"), False),
        (Filter(tags={"t": "1"}), True),
        (Filter(tags={"t": "2"}), False),
        (Filter(tags={"t": "1", "u": "1"}), False),
        (Filter(larger_than=9), True),
        (Filter(larger_than=10), False),
        (Filter(smaller_than=11), True),
        (Filter(smaller_than=10), False),
    ],
)
def test_filters(chosen: Filter, fits: bool) -> None:
    assert lifecycle.expired(Rule("r", True, chosen, date_ms=0), Facts("a/k", 5, 10, {"t": "1"}), 10) == fits


def test_disabled_rules_do_nothing() -> None:
    off = Rule("r", False, Filter(), days=1, abort_days=1, noncurrent_days=1)
    assert not lifecycle.expired(off, Facts("k", 0), 10**15)
    assert not lifecycle.upload_expired(off, "k", 0, 10**15)
    assert lifecycle.expiry((off,), Facts("k", 0)) is None


def test_noncurrent_versions_and_markers() -> None:
    keep_two = Rule("r", True, Filter(), noncurrent_days=1, newer_noncurrent=2)
    for newer, ends in ((0, False), (1, False), (2, True), (5, True)):
        assert (
            lifecycle.expired(keep_two, Facts("k", 0, noncurrent_since_ms=0, newer_noncurrent=newer), 3 * DAY_MS)
            == ends
        )
    assert not lifecycle.expired(keep_two, Facts("k", 0), 10**15)
    marker = Rule("r", True, Filter(), delete_marker=True)
    assert lifecycle.expired(marker, Facts("k", 0, is_delete_marker=True, alone=True), 1)
    assert not lifecycle.expired(marker, Facts("k", 0, is_delete_marker=True), 1)
    assert not lifecycle.expired(Rule("r", True, Filter(), days=1), Facts("k", 0, is_delete_marker=True), 10**15)


def test_the_earliest_rule_decides() -> None:
    rules = (
        Rule("late", True, Filter(), days=9),
        Rule("early", True, Filter(), days=2),
        Rule("off", False, Filter(), days=1),
    )
    found = lifecycle.expiry(rules, Facts("k", 0))
    assert found is not None
    assert found[1].name == "early"


def test_uploads_are_aborted() -> None:
    found = Rule("r", True, Filter("a"), abort_days=2)
    assert lifecycle.upload_expired(found, "ab", 1, 3 * DAY_MS)
    assert not lifecycle.upload_expired(found, "ab", 1, 3 * DAY_MS - 1)
    assert not lifecycle.upload_expired(found, "b", 1, 30 * DAY_MS)


def test_short_days_for_trials() -> None:
    found = Rule("r", True, Filter(), days=2)
    assert lifecycle.expired(found, Facts("k", 123), 123 + 20, day_ms=10)
    assert not lifecycle.expired(found, Facts("k", 123), 123 + 19, day_ms=10)
