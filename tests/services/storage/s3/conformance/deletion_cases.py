"""Deletions upon conditions: only what is still as it was seen; what is gone needs no condition."""

from __future__ import annotations

import datetime
from typing import Any

from tests.services.storage.s3.conformance.table import enter, refused
from tests.services.storage.s3.conftest import Door

LONG_AGO = datetime.datetime(2011, 6, 5, tzinfo=datetime.UTC)
# condition → (parameter of DeleteObject, field in DeleteObjects, value that fits no object)
CONDITIONS = {
    "if_match": ("IfMatch", "ETag", '"other"'),
    "if_match_last_modified_time": ("IfMatchLastModifiedTime", "LastModifiedTime", LONG_AGO),
    "if_match_size": ("IfMatchSize", "Size", 4321),
}
FACTS = {"if_match": "ETag", "if_match_last_modified_time": "LastModified", "if_match_size": "ContentLength"}


class Trial:
    """One object, deleted upon one condition by either request."""

    def __init__(self, door: Door, bucket: str, condition: str, *, many: bool, versioned: bool) -> None:
        self.client, self.bucket, self.many = door.client(), bucket, many
        self.parameter, self.field, self.wrong = CONDITIONS[condition]
        self.condition = condition
        if versioned:
            self.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})

    def write(self) -> tuple[Any, dict[str, str]]:
        """Write the object; return the fact that a condition may ask for, and what names its version."""
        put = self.client.put_object(Bucket=self.bucket, Key="k", Body=b"")
        head = self.client.head_object(Bucket=self.bucket, Key="k")
        version = put.get("VersionId")
        return head[FACTS[self.condition]], {"VersionId": version} if version else {}

    def delete(self, value: Any, **named: str) -> bool | None:
        """Delete; return whether a marker was made, None where the condition did not hold."""
        if self.many:
            entry = {"Key": "k", self.field: value, **named}
            done = self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": [entry]})
            if "Errors" in done:
                assert [e["Code"] for e in done["Errors"]] == ["PreconditionFailed"]
                return None
            return bool(done["Deleted"][0].get("DeleteMarker", False))
        words = {"Bucket": self.bucket, "Key": "k", self.parameter: value, **named}
        try:
            return bool(self.client.delete_object(**words).get("DeleteMarker", False))
        except self.client.exceptions.ClientError as error:
            found = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
            assert found == ("PreconditionFailed", 412)
            return None


def _plain(condition: str, many: bool) -> Any:
    def run(door: Door, bucket: str) -> None:
        trial = Trial(door, bucket, condition, many=many, versioned=False)
        fact, _ = trial.write()
        assert trial.delete(trial.wrong) is None
        assert trial.delete(fact) is False
        refused("404", trial.client.head_object, Bucket=bucket, Key="k")
        assert trial.delete(trial.wrong) is False  # nothing is there
        if condition == "if_match":
            trial.write()
            assert trial.delete("*") is False

    return run


def _current(condition: str, many: bool) -> Any:
    def run(door: Door, bucket: str) -> None:
        trial = Trial(door, bucket, condition, many=many, versioned=True)
        fact, _ = trial.write()
        assert trial.delete(trial.wrong) is None
        assert trial.delete(fact) is True
        assert trial.delete(trial.wrong) is None  # the marker is there
        if condition == "if_match":
            assert trial.delete("*") is True

    return run


def _version(condition: str, many: bool) -> Any:
    def run(door: Door, bucket: str) -> None:
        trial = Trial(door, bucket, condition, many=many, versioned=True)
        fact, named = trial.write()
        trial.write()
        assert trial.delete(trial.wrong, **named) is None
        assert trial.delete(fact, **named) is False
        assert trial.delete(trial.wrong, **named) is False  # nothing is there
        assert len(trial.client.list_object_versions(Bucket=bucket)["Versions"]) == 1

    return run


for _many, _request in ((False, "object"), (True, "objects")):
    for _condition in CONDITIONS:
        enter("conditions", f"test_delete_{_request}_{_condition}", _plain(_condition, _many))
        enter("conditions", f"test_delete_{_request}_current_{_condition}", _current(_condition, _many))
        enter("conditions", f"test_delete_{_request}_version_{_condition}", _version(_condition, _many))
