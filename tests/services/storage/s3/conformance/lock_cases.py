"""Object lock: a bucket's default, retention and legal hold of versions, and what may change them."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from tests.services.storage.s3.conformance.table import case, enter, fill, refused
from tests.services.storage.s3.conftest import Door

SOON = datetime.datetime(2040, 5, 1, tzinfo=datetime.UTC)
LATER = datetime.datetime(2040, 5, 9, tzinfo=datetime.UTC)


def locked(door: Door) -> str:
    """Return a new bucket with object lock."""
    name = f"lock-{uuid.uuid4().hex[:20]}"
    door.client().create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return name


def governance(until: datetime.datetime = SOON) -> dict[str, Any]:
    return {"Mode": "GOVERNANCE", "RetainUntilDate": until}


def default(**words: Any) -> dict[str, Any]:
    """Return a configuration whose default retention has these fields."""
    return {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": words}}


class Kept:
    """An object in a locked bucket, and what is done to it."""

    def __init__(self, door: Door, **words: Any) -> None:
        self.client = door.client()
        self.bucket = locked(door)
        self.at = {"Bucket": self.bucket, "Key": "k"}
        self.version = self.client.put_object(**self.at, Body=b"abc", **words)["VersionId"]

    def retain(self, retention: dict[str, Any], **words: Any) -> None:
        self.client.put_object_retention(**self.at, Retention=retention, **words)

    def hold(self, status: str) -> None:
        self.client.put_object_legal_hold(**self.at, LegalHold={"Status": status})

    def remove(self, **words: Any) -> int:
        done = self.client.delete_object(**self.at, VersionId=self.version, **words)
        return int(done["ResponseMetadata"]["HTTPStatusCode"])

    @property
    def retention(self) -> Any:
        return self.client.get_object_retention(**self.at)["Retention"]


# ---- the bucket ------------------------------------------------------------------------------------------------------


@case("locks", "test_object_lock_put_obj_lock")
def a_default_is_set_and_set_anew(door: Door) -> None:
    client, name = door.client(), locked(door)
    for wanted in (default(Mode="GOVERNANCE", Days=3), default(Mode="COMPLIANCE", Years=2)):
        client.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=wanted)
    assert client.get_bucket_versioning(Bucket=name)["Status"] == "Enabled"


@case("locks", "test_object_lock_get_obj_lock")
def a_default_is_shown(door: Door) -> None:
    client, name = door.client(), locked(door)
    assert client.get_object_lock_configuration(Bucket=name)["ObjectLockConfiguration"] == {
        "ObjectLockEnabled": "Enabled"
    }
    wanted = default(Mode="GOVERNANCE", Days=3)
    client.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=wanted)
    assert client.get_object_lock_configuration(Bucket=name)["ObjectLockConfiguration"] == wanted


@case("locks", "test_object_lock_put_obj_lock_invalid_bucket")
def a_bucket_without_versions_cannot_lock(door: Door, bucket: str) -> None:
    wanted = default(Mode="GOVERNANCE", Days=3)
    call = door.client().put_object_lock_configuration
    refused("InvalidBucketState", call, Bucket=bucket, ObjectLockConfiguration=wanted, status=409)


@case("locks", "test_object_lock_get_obj_lock_invalid_bucket")
def a_bucket_without_lock_says_so(door: Door, bucket: str) -> None:
    call = door.client().get_object_lock_configuration
    refused("ObjectLockConfigurationNotFoundError", call, Bucket=bucket, status=404)


@case("locks", "test_object_lock_suspend_versioning")
def a_locked_bucket_keeps_its_versions(door: Door) -> None:
    call, wanted = door.client().put_bucket_versioning, {"Status": "Suspended"}
    refused("InvalidBucketState", call, Bucket=locked(door), VersioningConfiguration=wanted, status=409)


def _bad_defaults(code: str, *bad: dict[str, Any]) -> Any:
    def run(door: Door) -> None:
        client, name = door.client(), locked(door)
        for wanted in bad:
            call = client.put_object_lock_configuration
            refused(code, call, Bucket=name, ObjectLockConfiguration=wanted, status=400)
        assert "Rule" not in client.get_object_lock_configuration(Bucket=name)["ObjectLockConfiguration"]

    return run


for _name, _code, _bad in (
    ("with_days_and_years", "MalformedXML", [default(Mode="GOVERNANCE", Days=3, Years=1), default(Mode="GOVERNANCE")]),
    ("invalid_days", "InvalidRetentionPeriod", [default(Mode="GOVERNANCE", Days=days) for days in (0, 36_501)]),
    ("invalid_years", "InvalidRetentionPeriod", [default(Mode="GOVERNANCE", Years=years) for years in (-1, 101)]),
    ("invalid_mode", "MalformedXML", [default(Mode=mode, Years=1) for mode in ("compliance", "LOCKED")]),
    ("invalid_status", "MalformedXML", [{**default(Mode="GOVERNANCE", Years=1), "ObjectLockEnabled": "Off"}]),
):
    enter("locks", f"test_object_lock_put_obj_lock_{_name}", _bad_defaults(_code, *_bad))


# ---- retention -------------------------------------------------------------------------------------------------------


@case("locks", "test_object_lock_put_obj_retention")
def a_version_is_retained(door: Door) -> None:
    kept = Kept(door)
    kept.retain(governance())
    assert kept.remove(BypassGovernanceRetention=True) == 204


@case("locks", "test_object_lock_get_obj_retention")
def a_retention_is_shown(door: Door) -> None:
    kept = Kept(door)
    refused("NoSuchObjectLockConfiguration", kept.client.get_object_retention, **kept.at, status=404)
    kept.retain(governance())
    assert kept.retention == governance()


@case("locks", "test_object_lock_get_obj_retention_iso8601")
def a_retentions_header_is_iso_8601(door: Door) -> None:
    kept = Kept(door)
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=300)
    kept.retain(governance(until))
    head = kept.client.head_object(**kept.at, VersionId=kept.version)
    shown = head["ResponseMetadata"]["HTTPHeaders"]["x-amz-object-lock-retain-until-date"]
    assert abs(datetime.datetime.fromisoformat(shown) - until) < datetime.timedelta(seconds=1)


def _without_lock(operation: str, **words: Any) -> Any:
    def run(door: Door, bucket: str) -> None:
        client = door.client()
        fill(client, bucket, "k")
        refused("InvalidRequest", getattr(client, operation), Bucket=bucket, Key="k", status=400, **words)

    return run


for _name, _operation, _words in (
    ("put_obj_retention", "put_object_retention", {"Retention": governance()}),
    ("get_obj_retention", "get_object_retention", {}),
    ("put_legal_hold", "put_object_legal_hold", {"LegalHold": {"Status": "ON"}}),
    ("get_legal_hold", "get_object_legal_hold", {}),
):
    enter("locks", f"test_object_lock_{_name}_invalid_bucket", _without_lock(_operation, **_words))


@case("locks", "test_object_lock_put_obj_retention_invalid_mode")
def modes_are_spelt_in_capitals(door: Door) -> None:
    kept = Kept(door)
    for mode in ("compliance", "FOREVER"):
        wrong = {"Mode": mode, "RetainUntilDate": SOON}
        refused("MalformedXML", kept.client.put_object_retention, **kept.at, Retention=wrong, status=400)


@case("locks", "test_object_lock_put_obj_retention_versionid")
def one_version_is_retained(door: Door) -> None:
    kept = Kept(door)
    other = kept.client.put_object(**kept.at, Body=b"newer")["VersionId"]
    kept.retain(governance(), VersionId=kept.version)
    found = kept.client.get_object_retention(**kept.at, VersionId=kept.version)["Retention"]
    assert found == governance()
    kept.client.delete_object(**kept.at, VersionId=other)  # the other one is free
    refused("AccessDenied", kept.client.delete_object, **kept.at, VersionId=kept.version, status=403)


@case("locks", "test_object_lock_put_obj_retention_override_default_retention")
def a_retention_overrides_the_default(door: Door) -> None:
    client, name = door.client(), locked(door)
    wanted = default(Mode="GOVERNANCE", Days=1)
    client.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=wanted)
    fill(client, name, "k")
    assert client.get_object_retention(Bucket=name, Key="k")["Retention"]["Mode"] == "GOVERNANCE"
    client.put_object_retention(Bucket=name, Key="k", Retention=governance())
    assert client.get_object_retention(Bucket=name, Key="k")["Retention"] == governance()


@case("locks", "test_object_lock_put_obj_retention_increase_period")
def longer_is_always_allowed(door: Door) -> None:
    kept = Kept(door)
    for until in (SOON, LATER):
        kept.retain(governance(until))
    assert kept.retention == governance(LATER)


@case("locks", "test_object_lock_put_obj_retention_shorten_period")
def shorter_is_refused(door: Door) -> None:
    kept = Kept(door)
    kept.retain(governance(LATER))
    refused("AccessDenied", kept.client.put_object_retention, **kept.at, Retention=governance(), status=403)
    assert kept.retention == governance(LATER)


@case("locks", "test_object_lock_put_obj_retention_shorten_period_bypass")
def shorter_needs_the_bypass(door: Door) -> None:
    kept = Kept(door)
    kept.retain(governance(LATER))
    kept.retain(governance(), BypassGovernanceRetention=True)
    assert kept.retention == governance()


def _mode(before: str, after: str, *, bypass: bool, allowed: bool) -> Any:
    def run(door: Door) -> None:
        kept = Kept(door, ObjectLockMode=before, ObjectLockRetainUntilDate=SOON)
        words = {**kept.at, "Retention": {"Mode": after, "RetainUntilDate": SOON}, "BypassGovernanceRetention": bypass}
        if allowed:
            kept.client.put_object_retention(**words)
        else:
            refused("AccessDenied", kept.client.put_object_retention, status=403, **words)
        assert kept.retention["Mode"] == (after if allowed else before)

    return run


for _name, _change in (
    ("governance_with_bypass", _mode("GOVERNANCE", "COMPLIANCE", bypass=True, allowed=True)),
    ("governance_without_bypass", _mode("GOVERNANCE", "COMPLIANCE", bypass=False, allowed=False)),
    ("compliance", _mode("COMPLIANCE", "GOVERNANCE", bypass=False, allowed=False)),
):
    enter("locks", f"test_object_lock_changing_mode_from_{_name}", _change)
enter("locks", "compliance_heeds_no_bypass", _mode("COMPLIANCE", "GOVERNANCE", bypass=True, allowed=False))


# ---- removal, legal hold ---------------------------------------------------------------------------------------------


@case("locks", "test_object_lock_delete_object_with_retention")
def a_retained_version_stays(door: Door) -> None:
    kept = Kept(door)
    kept.retain(governance())
    refused("AccessDenied", kept.client.delete_object, **kept.at, VersionId=kept.version, status=403)
    assert kept.remove(BypassGovernanceRetention=True) == 204


@case("locks", "test_object_lock_multi_delete_object_with_retention")
def each_key_of_a_deletion_is_judged_alone(door: Door) -> None:
    kept = Kept(door)
    kept.retain(governance())
    free = kept.client.put_object(Bucket=kept.bucket, Key="free", Body=b"abc")["VersionId"]
    named = [{"Key": "k", "VersionId": kept.version}, {"Key": "free", "VersionId": free}]
    done = kept.client.delete_objects(Bucket=kept.bucket, Delete={"Objects": named})
    assert [(e["Code"], e["Key"], e["VersionId"]) for e in done["Errors"]] == [("AccessDenied", "k", kept.version)]
    assert [(d["Key"], d["VersionId"]) for d in done["Deleted"]] == [("free", free)]
    done = kept.client.delete_objects(Bucket=kept.bucket, Delete={"Objects": named[:1]}, BypassGovernanceRetention=True)
    assert ("Errors" in done, done["Deleted"][0]["VersionId"]) == (False, kept.version)


@case("locks", "test_object_lock_put_legal_hold")
def a_hold_is_put_on_and_taken_off(door: Door) -> None:
    kept = Kept(door)
    for status in ("ON", "OFF", "ON"):
        kept.hold(status)


@case("locks", "test_object_lock_put_legal_hold_invalid_status")
def a_hold_is_on_or_off(door: Door) -> None:
    kept = Kept(door)
    refused("MalformedXML", kept.client.put_object_legal_hold, **kept.at, LegalHold={"Status": "on"}, status=400)


@case("locks", "test_object_lock_get_legal_hold")
def a_hold_is_shown(door: Door) -> None:
    kept = Kept(door)
    for status in ("ON", "OFF"):
        kept.hold(status)
        assert kept.client.get_object_legal_hold(**kept.at)["LegalHold"] == {"Status": status}


@case("locks", "test_object_lock_delete_object_with_legal_hold_on")
def a_held_version_stays(door: Door) -> None:
    kept = Kept(door)
    kept.hold("ON")
    call, bypass = kept.client.delete_object, {"BypassGovernanceRetention": True}
    refused("AccessDenied", call, **kept.at, VersionId=kept.version, status=403)
    refused("AccessDenied", call, **kept.at, VersionId=kept.version, status=403, **bypass)


@case("locks", "test_object_lock_delete_object_with_legal_hold_off")
def a_version_let_go_is_free(door: Door) -> None:
    kept = Kept(door)
    for status in ("ON", "OFF"):
        kept.hold(status)
    assert kept.remove() == 204


def _shown(head: dict[str, Any]) -> tuple[Any, ...]:
    return head["ObjectLockMode"], head["ObjectLockRetainUntilDate"], head["ObjectLockLegalHoldStatus"]


@case("locks", "test_object_lock_get_obj_metadata")
def heads_show_locks(door: Door) -> None:
    kept = Kept(door)
    kept.hold("ON")
    kept.retain(governance())
    assert _shown(kept.client.head_object(**kept.at)) == ("GOVERNANCE", SOON, "ON")


@case("locks", "test_object_lock_uploading_obj")
def an_upload_brings_its_lock(door: Door) -> None:
    words = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": SOON, "ObjectLockLegalHoldStatus": "ON"}
    kept = Kept(door, **words)
    assert _shown(kept.client.head_object(**kept.at)) == ("GOVERNANCE", SOON, "ON")
    refused("AccessDenied", kept.client.delete_object, **kept.at, VersionId=kept.version, status=403)


@case("locks", "test_object_lock_delete_multipart_object_with_retention")
def an_upload_in_parts_brings_its_lock(door: Door) -> None:
    client, name = door.client(), locked(door)
    at = {"Bucket": name, "Key": "k"}
    words = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": SOON}
    begun = client.create_multipart_upload(**at, **words)["UploadId"]
    part = client.upload_part(**at, UploadId=begun, PartNumber=1, Body=b"abc")["ETag"]
    named = {"Parts": [{"PartNumber": 1, "ETag": part}]}
    version = client.complete_multipart_upload(**at, UploadId=begun, MultipartUpload=named)["VersionId"]
    refused("AccessDenied", client.delete_object, **at, VersionId=version, status=403)
    client.delete_object(**at, VersionId=version, BypassGovernanceRetention=True)


@case("locks", "test_object_lock_delete_multipart_object_with_legal_hold_on")
def an_upload_in_parts_brings_its_hold(door: Door) -> None:
    client, name = door.client(), locked(door)
    at = {"Bucket": name, "Key": "k"}
    begun = client.create_multipart_upload(**at, ObjectLockLegalHoldStatus="ON")["UploadId"]
    part = client.upload_part(**at, UploadId=begun, PartNumber=1, Body=b"abc")["ETag"]
    named = {"Parts": [{"PartNumber": 1, "ETag": part}]}
    version = client.complete_multipart_upload(**at, UploadId=begun, MultipartUpload=named)["VersionId"]
    words = {**at, "VersionId": version, "BypassGovernanceRetention": True}
    refused("AccessDenied", client.delete_object, status=403, **words)
    client.put_object_legal_hold(**at, LegalHold={"Status": "OFF"})
    client.delete_object(**words)


@case("locks", "test_object_lock_put_obj_lock_enable_after_create")
def a_lock_comes_later(door: Door, bucket: str) -> None:
    client, wanted = door.client(), default(Mode="GOVERNANCE", Days=3)
    call, words = client.put_object_lock_configuration, {"Bucket": bucket, "ObjectLockConfiguration": wanted}
    refused("InvalidBucketState", call, status=409, **words)
    for status in ("Suspended", "Enabled"):
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})
        if status == "Suspended":
            refused("InvalidBucketState", call, status=409, **words)
    call(**words)
    assert client.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"] == wanted


@case("locks", "test_object_lock_delete_object_with_retention_and_marker")
def a_marker_over_a_retained_version_comes_and_goes(door: Door) -> None:
    kept = Kept(door)
    kept.retain(governance())
    marker = kept.client.delete_object(**kept.at)
    assert marker["DeleteMarker"] is True
    refused("AccessDenied", kept.client.delete_object, **kept.at, VersionId=kept.version, status=403)
    kept.client.delete_object(**kept.at, VersionId=marker["VersionId"])  # markers are never locked
    assert kept.client.get_object(**kept.at)["VersionId"] == kept.version
    assert kept.remove(BypassGovernanceRetention=True) == 204
