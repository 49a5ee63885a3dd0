"""Versions: every write is kept, any of them can be read, listed, copied, given an ACL and removed, in any order."""

from __future__ import annotations

from typing import Any

from tests.services.storage.s3.conformance.policy_cases import another
from tests.services.storage.s3.conformance.table import case, enter, refused
from tests.services.storage.s3.conftest import Door

MIB = 2**20


class Stack:
    """The versions of a key as they should be, oldest first: [version id, bytes]; bytes None: a delete marker."""

    def __init__(self, door: Door, bucket: str, key: str = "k", *, versioned: bool = True) -> None:
        self.client, self.at = door.client(), {"Bucket": bucket, "Key": key}
        self.have: list[tuple[str, bytes | None]] = []
        self.count = 0
        if versioned:
            self.switch("Enabled")

    def switch(self, status: str) -> None:
        bucket = self.at["Bucket"]
        self.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})
        assert self.client.get_bucket_versioning(Bucket=bucket)["Status"] == status

    def put(self, times: int = 1, *, null: bool = False) -> None:
        """Write; `null`: the bucket keeps one version without an id."""
        for _ in range(times):
            self.count += 1
            body = b"state %d" % self.count
            version = self.client.put_object(**self.at, Body=body).get("VersionId")
            assert (version is None) == null
            self._add(version or "null", body)

    def mark(self, *, null: bool = False) -> None:
        """Delete without naming a version."""
        done = self.client.delete_object(**self.at)
        assert (done["DeleteMarker"], done["VersionId"] == "null") == (True, null)
        self._add(done["VersionId"], None)

    def _add(self, version: str, body: bytes | None) -> None:
        if version == "null":
            self.have = [entry for entry in self.have if entry[0] != "null"]
        self.have.append((version, body))

    def remove(self, index: int) -> None:
        """Remove a version for good and look at all others."""
        version, _ = self.have.pop(index % len(self.have))
        self.client.delete_object(**self.at, VersionId=version)
        self.check()

    def check(self) -> None:
        """Compare the listing, every version's bytes, and the current one."""
        page = self.client.list_object_versions(Bucket=self.at["Bucket"], Prefix=self.at["Key"])
        listed = [v["VersionId"] for v in page.get("Versions", []) if v["Key"] == self.at["Key"]]
        assert listed == [v for v, body in reversed(self.have) if body is not None]
        markers = [v["VersionId"] for v in page.get("DeleteMarkers", []) if v["Key"] == self.at["Key"]]
        assert markers == [v for v, body in reversed(self.have) if body is None]
        for version, body in self.have:
            if body is not None:
                assert self.client.get_object(**self.at, VersionId=version)["Body"].read() == body
        if self.have and self.have[-1][1] is not None:
            assert self.client.get_object(**self.at)["Body"].read() == self.have[-1][1]
        else:
            refused("NoSuchKey", self.client.get_object, **self.at, status=404)


@case("versions", "test_versioning_bucket_create_suspend")
def versioning_is_switched(door: Door, bucket: str) -> None:
    assert "Status" not in door.client().get_bucket_versioning(Bucket=bucket)
    stack = Stack(door, bucket, versioned=False)
    for status in ("Suspended", "Enabled", "Enabled", "Suspended"):
        stack.switch(status)


@case("versions", "test_versioning_obj_create_read_remove")
def versions_go_in_any_order(door: Door, bucket: str) -> None:
    stack = Stack(door, bucket)
    for order in ([-1] * 4, [0] * 4, [1, 1, 1, 0], [3, 2, 1, 0], [2, 5, 8, 11]):
        stack.put(4)
        for index in order:
            stack.remove(index)
        assert stack.have == []


@case("versions", "test_versioning_obj_create_read_remove_head")
def the_one_before_becomes_current(door: Door, bucket: str) -> None:
    stack = Stack(door, bucket)
    stack.put(4)
    stack.remove(-1)
    stack.mark()
    stack.check()
    stack.remove(-1)


@case("versions", "test_versioning_obj_plain_null_version_removal")
def what_was_before_versioning_is_version_null(door: Door, bucket: str) -> None:
    stack = Stack(door, bucket, versioned=False)
    stack.put(null=True)
    stack.switch("Enabled")
    stack.check()
    stack.remove(0)


@case("versions", "test_versioning_obj_plain_null_version_overwrite")
def version_null_is_kept_below(door: Door, bucket: str) -> None:
    stack = Stack(door, bucket, versioned=False)
    stack.put(null=True)
    stack.switch("Enabled")
    stack.put()
    stack.check()
    stack.remove(-1)
    stack.remove(-1)


@case("versions", "test_versioning_obj_plain_null_version_overwrite_suspended")
def version_null_is_replaced_while_suspended(door: Door, bucket: str) -> None:
    stack = Stack(door, bucket, versioned=False)
    stack.put(null=True)
    stack.switch("Enabled")
    stack.switch("Suspended")
    stack.put(null=True)
    stack.check()
    assert len(stack.have) == 1
    stack.remove(0)


@case("versions", "test_versioning_obj_suspend_versions")
def suspended_and_enabled_again(door: Door, bucket: str) -> None:
    stack = Stack(door, bucket)
    stack.put(3)
    stack.switch("Suspended")
    for step in (stack.mark, stack.mark, stack.put, stack.put, stack.mark, stack.put, stack.mark):
        step(null=True)
        stack.check()
    stack.switch("Enabled")
    stack.put(2)
    for index in (0, 3, 1, 0, 0, 0):
        stack.remove(index)
    assert stack.have == []


@case("versions", "test_versioning_obj_create_versions_remove_all")
def many_versions_go(door: Door, bucket: str) -> None:
    stack = Stack(door, bucket)
    stack.put(6)
    for index in range(6):
        stack.remove(index)


@case("versions", "test_versioning_obj_create_versions_remove_special_names")
def keys_of_odd_letters_have_versions(door: Door, bucket: str) -> None:
    for key in ("_", "_k", ":", " ", "%", "+"):
        stack = Stack(door, bucket, key)
        stack.put(2)
        stack.remove(0)
        stack.remove(0)


@case("versions", "test_versioning_obj_create_overwrite_multipart")
def uploads_in_parts_make_versions(door: Door, bucket: str) -> None:
    stack = Stack(door, bucket)
    for letter in (b"a", b"b"):
        begun = stack.client.create_multipart_upload(**stack.at)["UploadId"]
        bodies = [letter * 5 * MIB, letter * 3]
        named = []
        for number, body in enumerate(bodies, 1):
            part = stack.client.upload_part(**stack.at, UploadId=begun, PartNumber=number, Body=body)
            named.append({"PartNumber": number, "ETag": part["ETag"]})
        done = stack.client.complete_multipart_upload(**stack.at, UploadId=begun, MultipartUpload={"Parts": named})
        stack.have.append((done["VersionId"], b"".join(bodies)))
    stack.check()
    for index in (0, 0):
        stack.remove(index)


@case("versions", "test_versioning_obj_list_marker")
def keys_rise_and_versions_fall(door: Door, bucket: str) -> None:
    first, second = Stack(door, bucket, "k"), Stack(door, bucket, "k-1")
    for _ in range(3):
        first.put()
        second.put()
    listed = door.client().list_object_versions(Bucket=bucket)["Versions"]
    expected = [("k", v) for v, _ in reversed(first.have)] + [("k-1", v) for v, _ in reversed(second.have)]
    assert [(v["Key"], v["VersionId"]) for v in listed] == expected
    first.check()
    second.check()


@case("versions", "test_versioning_copy_obj_version")
def any_version_is_copied(door: Door, bucket: str) -> None:
    stack = Stack(door, bucket)
    stack.put(3)
    client = stack.client
    with another(door) as other:
        for target in (bucket, other):
            for version, body in stack.have:
                source = {**stack.at, "VersionId": version}
                done = client.copy_object(Bucket=target, Key="copy", CopySource=source)
                assert done["CopySourceVersionId"] == version
                assert client.get_object(Bucket=target, Key="copy")["Body"].read() == body
        client.copy_object(Bucket=other, Key="copy", CopySource=stack.at)
        assert client.get_object(Bucket=other, Key="copy")["Body"].read() == stack.have[-1][1]


def _removed_twice(*, marked: bool) -> Any:
    def run(door: Door, bucket: str) -> None:
        stack = Stack(door, bucket)
        stack.put(2)
        if marked:
            stack.mark()
        gone = [version for version, _ in stack.have]
        for _ in range(2):  # what is gone can be removed again
            for version in gone:
                done = stack.client.delete_object(**stack.at, VersionId=version)
                assert done["ResponseMetadata"]["HTTPStatusCode"] == 204
            page = stack.client.list_object_versions(Bucket=bucket)
            assert ("Versions" in page, "DeleteMarkers" in page) == (False, False)

    return run


enter("versions", "test_versioning_multi_object_delete", _removed_twice(marked=False))
enter("versions", "test_versioning_multi_object_delete_with_marker", _removed_twice(marked=True))


@case("versions", "test_versioning_multi_object_delete_with_marker_create")
def what_is_not_there_is_marked_too(door: Door, bucket: str) -> None:
    stack = Stack(door, bucket)
    stack.mark()
    stack.check()
    done = stack.client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k"}]})["Deleted"][0]
    stack.have.append((done["DeleteMarkerVersionId"], None))
    assert done["DeleteMarker"] is True
    stack.check()


def _grants(client: Any, **at: str) -> set[tuple[str | None, str | None, str]]:
    return {
        (g["Grantee"].get("ID"), g["Grantee"].get("URI", "").rpartition("/")[2] or None, g["Permission"])
        for g in client.get_object_acl(**at)["Grants"]
    }


def _acl(named: bool) -> Any:
    def run(door: Door, bucket: str) -> None:
        stack, owner = Stack(door, bucket), door.accounts["main"]
        stack.put(3)
        client, at = stack.client, {**stack.at, "VersionId": stack.have[1 if named else -1][0]}
        shown = client.get_object_acl(**at)["Owner"]
        assert (shown["ID"], shown["DisplayName"]) == (owner.id, owner.name)
        private = {(owner.id, None, "FULL_CONTROL")}
        assert _grants(client, **at) == private
        client.put_object_acl(**(at if named else stack.at), ACL="public-read")
        assert _grants(client, **at) == private | {(None, "AllUsers", "READ")}
        assert door.client(None).get_object(**at)["Body"].read()
        for version, _ in stack.have:
            if version != at["VersionId"]:
                assert _grants(client, **{**at, "VersionId": version}) == private
        stack.put()
        assert _grants(client, **stack.at) == private

    return run


enter("versions", "test_versioned_object_acl", _acl(True))
enter("versions", "test_versioned_object_acl_no_version_specified", _acl(False))


def _named(upload: Any) -> Any:
    def run(door: Door, bucket: str) -> None:
        """Answers name the version where the bucket is versioned, and not where it never was or is suspended."""
        client, stack = door.client(), Stack(door, bucket, versioned=False)
        assert upload(client, bucket) is None
        stack.switch("Enabled")
        version = upload(client, bucket)
        assert version == client.list_object_versions(Bucket=bucket)["Versions"][0]["VersionId"]
        stack.switch("Suspended")
        assert upload(client, bucket) is None

    return run


def _whole(client: Any, bucket: str) -> str | None:
    return client.put_object(Bucket=bucket, Key="k", Body=b"abc").get("VersionId")


def _in_parts(client: Any, bucket: str) -> str | None:
    at = {"Bucket": bucket, "Key": "k"}
    begun = client.create_multipart_upload(**at)["UploadId"]
    part = client.upload_part(**at, UploadId=begun, PartNumber=1, Body=b"abc")["ETag"]
    named = {"Parts": [{"PartNumber": 1, "ETag": part}]}
    return client.complete_multipart_upload(**at, UploadId=begun, MultipartUpload=named).get("VersionId")


enter("versions", "test_versioning_bucket_atomic_upload_return_version_id", _named(_whole))
enter("versions", "test_versioning_bucket_multipart_upload_return_version_id", _named(_in_parts))


@case("versions", "test_versioning_obj_suspended_copy")
def copies_of_a_version_null_stay(door: Door, bucket: str) -> None:
    stack = Stack(door, bucket)
    stack.put()
    stack.switch("Suspended")
    stack.put(null=True)
    with another(door) as other:
        targets = [{"Bucket": bucket, "Key": "copy"}, {"Bucket": other, "Key": "k"}]
        for target in targets:
            stack.client.copy_object(**target, CopySource=stack.at)
        stack.mark(null=True)
        for target in targets:
            assert stack.client.get_object(**target)["Body"].read() == b"state 2"


def _hidden(status: str) -> Any:
    def run(door: Door, bucket: str) -> None:
        """A key under a marker is not found, and the answer says why."""
        stack = Stack(door, bucket)
        stack.put()
        stack.switch(status)
        stack.mark(null=status == "Suspended")
        version = stack.have[-1][0]
        for call in (stack.client.head_object, stack.client.get_object):
            code = "404" if call == stack.client.head_object else "NoSuchKey"
            answered = refused(code, call, **stack.at, status=404)["ResponseMetadata"]["HTTPHeaders"]
            assert (answered["x-amz-delete-marker"], answered["x-amz-version-id"]) == ("true", version)

    return run


enter("versions", "test_delete_marker_versioned", _hidden("Enabled"))
enter("versions", "test_delete_marker_suspended", _hidden("Suspended"))


@case("versions", "test_delete_marker_nonversioned")
def nothing_hides_what_is_gone(door: Door, bucket: str) -> None:
    door.client().put_object(Bucket=bucket, Key="k", Body=b"")
    door.client().delete_object(Bucket=bucket, Key="k")
    answered = refused("404", door.client().head_object, Bucket=bucket, Key="k", status=404)
    assert "x-amz-delete-marker" not in answered["ResponseMetadata"]["HTTPHeaders"]


@case("versions", "test_versioning_stack_delete_merkers")
def markers_lie_upon_markers(door: Door, bucket: str) -> None:
    stack = Stack(door, bucket)
    stack.put()
    for _ in range(3):
        stack.mark()
    stack.check()
    for _ in range(3):
        stack.remove(-1)


@case("versions")
def a_marker_of_a_version_needs_its_key(door: Door, bucket: str) -> None:
    listed, marker = door.client().list_object_versions, "a" * 32
    said = refused("InvalidArgument", listed, Bucket=bucket, VersionIdMarker=marker, status=400)["Error"]
    assert (said["ArgumentName"], said["ArgumentValue"]) == ("version-id-marker", marker)
    assert said["Message"] == "A version-id marker cannot be specified without a key marker."
    for version in (marker, "bogus"):
        said = refused("InvalidArgument", listed, Bucket=bucket, KeyMarker="", VersionIdMarker=version)["Error"]
        assert (said["ArgumentName"], said["Message"]) == ("version-id-marker", "Invalid version id specified")
