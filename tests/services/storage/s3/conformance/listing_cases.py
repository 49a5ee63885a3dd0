"""Listings: prefixes, delimiters, pages and markers of both versions, on buckets that are filled once and only read."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from tests.services.storage.s3.conformance.table import case, enter, fill, refused
from tests.services.storage.s3.conftest import Door

NUMBERS = itertools.count(1)
_SHELVES: dict[tuple[str, ...], str] = {}

PLAIN = ("apple", "banana", "cherry", "date")
TREE = ("herbs/mint", "herbs/wild/thyme", "oats", "trees/ash", "trees/oak")
HIDDEN = ("_oats", "_trees/ash", "_trees/wild/oak", "_weeds/dock", "_weeds/nettle")


def shelf(door: Door, *keys: str) -> str:
    """Return a bucket with these keys, filled once for all cases that only read it."""
    if keys not in _SHELVES:
        _SHELVES[keys] = f"shelf-{door.port}-{next(NUMBERS)}"
        door.client().create_bucket(Bucket=_SHELVES[keys])
        fill(door.client(), _SHELVES[keys], *keys)
    return _SHELVES[keys]


def ask(door: Door, version: int, bucket: str, **words: Any) -> dict[str, Any]:
    """List by version 1 or 2."""
    client = door.client()
    answer: dict[str, Any] = (client.list_objects if version == 1 else client.list_objects_v2)(Bucket=bucket, **words)
    return answer


def keys_of(page: dict[str, Any]) -> list[str]:
    return [entry["Key"] for entry in page.get("Contents", ())]


def prefixes_of(page: dict[str, Any]) -> list[str]:
    return [entry["Prefix"] for entry in page.get("CommonPrefixes", ())]


def names(stem: str) -> tuple[str, str]:
    return f"test_bucket_list_{stem}", f"test_bucket_listv2_{stem}"


# ---- one question, one answer ----------------------------------------------------------------------------------------
# stem of the names, keys there are, what is asked, keys and common prefixes in the answer
QUESTIONS: tuple[tuple[str, tuple[str, ...], dict[str, Any], Iterable[str], Iterable[str]], ...] = (
    ("delimiter_basic", TREE, {"Delimiter": "/"}, ["oats"], ["herbs/", "trees/"]),
    ("delimiter_alt", ("pan", "pat", "sit", "mud"), {"Delimiter": "a"}, ["mud", "sit"], ["pa"]),
    ("delimiter_percentage", ("p%an", "p%at", "s%it", "mud"), {"Delimiter": "%"}, ["mud"], ["p%", "s%"]),
    ("delimiter_whitespace", ("p an", "p at", "s it", "mud"), {"Delimiter": " "}, ["mud"], ["p ", "s "]),
    ("delimiter_dot", ("p.an", "p.at", "s.it", "mud"), {"Delimiter": "."}, ["mud"], ["p.", "s."]),
    ("delimiter_unreadable", PLAIN, {"Delimiter": "\n"}, PLAIN, []),
    ("delimiter_empty", PLAIN, {"Delimiter": ""}, PLAIN, []),
    ("delimiter_none", PLAIN, {}, PLAIN, []),
    ("delimiter_not_exist", PLAIN, {"Delimiter": "/"}, PLAIN, []),
    ("delimiter_prefix_ends_with_delimiter", ("herbs/",), {"Delimiter": "/", "Prefix": "herbs/"}, ["herbs/"], []),
    ("prefix_basic", TREE, {"Prefix": "trees/"}, ["trees/ash", "trees/oak"], []),
    ("prefix_alt", ("pan", "pat", "sit"), {"Prefix": "pa"}, ["pan", "pat"], []),
    ("prefix_empty", TREE, {"Prefix": ""}, TREE, []),
    ("prefix_none", TREE, {}, TREE, []),
    ("prefix_not_exist", TREE, {"Prefix": "x"}, [], []),
    ("prefix_unreadable", TREE, {"Prefix": "\n"}, [], []),
    ("prefix_delimiter_basic", TREE, {"Prefix": "herbs/", "Delimiter": "/"}, ["herbs/mint"], ["herbs/wild/"]),
    ("prefix_delimiter_alt", ("par", "parata", "sit"), {"Prefix": "pa", "Delimiter": "a"}, ["par"], ["para"]),
    ("prefix_delimiter_prefix_not_exist", TREE, {"Prefix": "/", "Delimiter": "a"}, [], []),
    ("prefix_delimiter_delimiter_not_exist", TREE, {"Prefix": "t", "Delimiter": "z"}, ["trees/ash", "trees/oak"], []),
    ("prefix_delimiter_prefix_delimiter_not_exist", TREE, {"Prefix": "y", "Delimiter": "z"}, [], []),
    ("maxkeys_zero", PLAIN, {"MaxKeys": 0}, [], []),
    ("maxkeys_none", PLAIN, {}, PLAIN, []),
)


def _question(name: str, version: int, row: tuple[Any, ...]) -> None:
    _, keys, words, wanted_keys, wanted_prefixes = row

    def try_question(door: Door) -> None:
        page = ask(door, version, shelf(door, *keys), **words)
        assert (keys_of(page), prefixes_of(page)) == (list(wanted_keys), list(wanted_prefixes))
        assert page["IsTruncated"] is False
        assert page.get("Delimiter") == (words.get("Delimiter") or None)  # an empty one is not named in the answer
        assert page["Prefix"] == words.get("Prefix", "")
        assert page["MaxKeys"] == words.get("MaxKeys", 1000)
        if version == 2:
            assert page["KeyCount"] == len(keys_of(page)) + len(prefixes_of(page))

    enter("listing", name, try_question)


for _row in QUESTIONS:
    for _version, _name in enumerate(names(_row[0]), 1):
        _question(_name, _version, _row)


@case("listing", "test_basic_key_count")
def entries_are_counted(door: Door) -> None:
    assert ask(door, 2, shelf(door, *PLAIN))["KeyCount"] == len(PLAIN)


@case("listing", "test_bucket_list_empty")
def an_empty_bucket_lists_nothing(door: Door, bucket: str) -> None:
    assert all("Contents" not in ask(door, version, bucket) for version in (1, 2))


@case("listing", "test_bucket_list_distinct")
def a_bucket_lists_its_own(door: Door, bucket: str) -> None:
    assert keys_of(ask(door, 1, shelf(door, *PLAIN))) == list(PLAIN)
    assert keys_of(ask(door, 1, bucket)) == []


@case("listing", "test_bucket_list_special_prefix")
def an_underscore_is_a_letter(door: Door) -> None:
    bucket = shelf(door, *HIDDEN)
    assert keys_of(ask(door, 1, bucket)) == list(HIDDEN)
    assert keys_of(ask(door, 1, bucket, Prefix="_weeds/")) == ["_weeds/dock", "_weeds/nettle"]


def _encoded(version: int) -> None:
    def try_encoding(door: Door) -> None:
        bucket = shelf(door, "a+b/c", "a/b c", "p q/r", "x+y")
        page = ask(door, version, bucket, Delimiter="/", EncodingType="url")
        assert (keys_of(page), prefixes_of(page)) == (["x%2By"], ["a%2Bb/", "a/", "p%20q/"])
        assert (page["Delimiter"], page["EncodingType"]) == ("/", "url")

    enter("listing", names("encoding_basic")[version - 1], try_encoding)


# ---- pages -----------------------------------------------------------------------------------------------------------


def walk(door: Door, version: int, bucket: str, size: int, **words: Any) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the pages of a listing with a delimiter, checking how each names its successor."""
    follow: dict[str, Any] = {}
    while True:
        page = ask(door, version, bucket, MaxKeys=size, **words, **follow)
        found = keys_of(page), prefixes_of(page)
        yield found
        token = "NextMarker" if version == 1 else "NextContinuationToken"
        if not page["IsTruncated"]:
            assert token not in page
            return
        if version == 1:
            assert page["NextMarker"] == max(found[0] + found[1])
            follow = {"Marker": page["NextMarker"]}
        else:
            follow = {"ContinuationToken": page["NextContinuationToken"]}


def _paged(stem: str, keys: tuple[str, ...], inner: str) -> None:
    tops = sorted({key.partition("/")[0] + ("/" if "/" in key else "") for key in keys})
    nested = sorted(k if k.count("/") == 1 else inner + "wild/" for k in keys if k.startswith(inner))

    def pages(entries: list[str], size: int, prefix: str) -> list[tuple[list[str], list[str]]]:
        cut = [entries[i : i + size] for i in range(0, len(entries), size)]
        return [([e for e in page if e in keys], [e for e in page if e not in keys]) for page in cut]

    def try_pages(version: int) -> None:
        def run(door: Door) -> None:
            bucket = shelf(door, *keys)
            for size in (1, 2, 3):
                for prefix, entries in (("", tops), (inner, nested)):
                    found = list(walk(door, version, bucket, size, Delimiter="/", Prefix=prefix))
                    assert found == pages(entries, size, prefix), (size, prefix)

        enter("listing", names(stem)[version - 1], run)

    try_pages(1)
    try_pages(2)


_paged("delimiter_prefix", TREE, "herbs/")
_paged("delimiter_prefix_underscore", HIDDEN, "_trees/")


def _two_pages(version: int) -> None:
    after = ("Marker", "StartAfter")[version - 1]

    def many(door: Door) -> None:
        bucket = shelf(door, *PLAIN)
        page = ask(door, version, bucket, MaxKeys=3)
        assert (keys_of(page), page["IsTruncated"]) == (list(PLAIN[:3]), True)
        page = ask(door, version, bucket, MaxKeys=3, **{after: PLAIN[2]})
        assert (keys_of(page), page["IsTruncated"]) == ([PLAIN[3]], False)

    def one(door: Door) -> None:
        bucket = shelf(door, *PLAIN)
        page = ask(door, version, bucket, MaxKeys=1)
        assert (keys_of(page), page["IsTruncated"]) == ([PLAIN[0]], True)
        page = ask(door, version, bucket, **{after: PLAIN[0]})
        assert (keys_of(page), page["IsTruncated"]) == (list(PLAIN[1:]), False)

    enter("listing", names("many")[version - 1], many)
    enter("listing", names("maxkeys_one")[version - 1], one)
    for what, place, wanted in (
        ("unreadable", "\n", PLAIN),
        ("not_in_list", "blueberry", PLAIN[2:]),
        ("after_list", "zucchini", ()),
    ):
        _place(version, after, what, place, wanted)


def _place(version: int, after: str, what: str, place: str, wanted: tuple[str, ...]) -> None:
    def try_place(door: Door) -> None:
        page = ask(door, version, shelf(door, *PLAIN), **{after: place})
        assert (page[after], keys_of(page), page["IsTruncated"]) == (place, list(wanted), False)

    enter("listing", ("test_bucket_list_marker_", "test_bucket_listv2_startafter_")[version - 1] + what, try_place)


for _version in (1, 2):
    _two_pages(_version)
    _encoded(_version)


@case("listing", "test_bucket_list_delimiter_not_skip_special")
def a_skipped_prefix_skips_nothing_else(door: Door) -> None:
    inside = [f"7/{number}" for number in range(30)]
    behind = ["70", "70#", "70+", "8"]
    bucket = shelf(door, "7/", *inside, *behind)
    for size in (2, 4, 1000):  # pages that end inside the prefix, and one that holds all of it
        found = list(walk(door, 1, bucket, size, Delimiter="/"))
        assert [key for page in found for key in page[0]] == behind
        assert [prefix for page in found for prefix in page[1]] == ["7/"]


@case("listing")
def a_prefix_that_is_not_above_the_marker_is_done(door: Door) -> None:
    bucket = shelf(door, *TREE)
    assert prefixes_of(ask(door, 1, bucket, Delimiter="/", Marker="herbs/mint")) == ["trees/"]
    assert prefixes_of(ask(door, 2, bucket, Delimiter="/", StartAfter="herbs/mint")) == ["trees/"]
    page = door.client().list_object_versions(Bucket=bucket, Delimiter="/", KeyMarker="herbs/mint")
    assert prefixes_of(page) == ["trees/"]
    assert prefixes_of(ask(door, 1, bucket, Delimiter="/", Marker="herbs")) == ["herbs/", "trees/"]


@case("listing")
def limits_fit_32_bits(door: Door) -> None:
    bucket = shelf(door, *PLAIN)
    assert ask(door, 1, bucket, MaxKeys=2**31 - 1)["MaxKeys"] == 1000
    for version in (1, 2):
        call = door.client().list_objects if version == 1 else door.client().list_objects_v2
        refused("InvalidArgument", call, Bucket=bucket, MaxKeys=2**31, status=400)


@case("listing", "test_bucket_list_maxkeys_invalid")
def limits_are_numbers(door: Door, bucket: str) -> None:
    client = door.client(user_agent_extra="limits")
    client.meta.events.register(
        "before-call.s3.ListObjects", lambda params, **_: params.update(url=params["url"] + "&max-keys=many")
    )
    refused("InvalidArgument", client.list_objects, Bucket=bucket, status=400)


@case("listing", "test_bucket_list_marker_none")
def an_unsaid_marker_is_empty(door: Door) -> None:
    assert ask(door, 1, shelf(door, *PLAIN))["Marker"] == ""


@case("listing", "test_bucket_list_marker_empty")
def an_empty_marker_is_the_start(door: Door) -> None:
    page = ask(door, 1, shelf(door, *PLAIN), Marker="")
    assert (page["Marker"], keys_of(page), page["IsTruncated"]) == ("", list(PLAIN), False)


@case("listing", "test_bucket_listv2_continuationtoken_empty")
def an_empty_token_is_the_start(door: Door) -> None:
    page = ask(door, 2, shelf(door, *PLAIN), ContinuationToken="")
    assert (page["ContinuationToken"], keys_of(page), page["IsTruncated"]) == ("", list(PLAIN), False)


@case("listing", "test_bucket_listv2_continuationtoken")
def tokens_go_on(door: Door) -> None:
    token = ask(door, 2, shelf(door, *PLAIN), MaxKeys=2)["NextContinuationToken"]
    page = ask(door, 2, shelf(door, *PLAIN), ContinuationToken=token)
    assert (page["ContinuationToken"], keys_of(page), page["IsTruncated"]) == (token, list(PLAIN[2:]), False)


@case("listing", "test_bucket_listv2_both_continuationtoken_startafter")
def a_token_outranks_the_start(door: Door) -> None:
    words = {"StartAfter": PLAIN[0]}
    token = ask(door, 2, shelf(door, *PLAIN), MaxKeys=1, **words)["NextContinuationToken"]
    page = ask(door, 2, shelf(door, *PLAIN), ContinuationToken=token, **words)
    assert (page["ContinuationToken"], page["StartAfter"], keys_of(page)) == (token, PLAIN[0], list(PLAIN[2:]))


def _owners(name: str, words: dict[str, Any], *, shown: bool) -> None:
    def try_owners(door: Door) -> None:
        page = ask(door, 2, shelf(door, *TREE), **words)
        assert [("Owner" in entry) for entry in page["Contents"]] == [shown] * len(TREE)

    enter("listing", f"test_bucket_listv2_fetchowner_{name}", try_owners)


_owners("notempty", {"FetchOwner": True}, shown=True)
_owners("defaultempty", {}, shown=False)
_owners("empty", {"FetchOwner": False}, shown=False)


# ---- what is said of each entry, and who may ask ---------------------------------------------------------------------


@case("listing", "test_bucket_list_return_data")
def entries_say_what_a_head_says(door: Door) -> None:
    _compare(door, shelf(door, *PLAIN), door.client().list_objects, "Contents")


@case("listing", "test_bucket_list_return_data_versioning")
def versions_say_what_a_head_says(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    fill(client, bucket, *PLAIN[:2])
    _compare(door, bucket, client.list_object_versions, "Versions")


def _compare(door: Door, bucket: str, call: Any, field: str) -> None:
    client = door.client()
    for entry in call(Bucket=bucket)[field]:
        head = client.head_object(Bucket=bucket, Key=entry["Key"])
        owner = client.get_object_acl(Bucket=bucket, Key=entry["Key"])["Owner"]
        assert (entry["ETag"], entry["Size"], entry["Owner"]) == (head["ETag"], head["ContentLength"], owner)
        assert entry["LastModified"].replace(microsecond=0) == head["LastModified"]
        assert entry.get("VersionId") == head.get("VersionId")
        assert owner["DisplayName"] == "main"


def _strangers(version: int) -> None:
    def call(door: Door) -> Any:
        client = door.client(None)
        return client.list_objects if version == 1 else client.list_objects_v2

    def may(door: Door, bucket: str) -> None:
        door.client().put_bucket_acl(Bucket=bucket, ACL="public-read")
        assert call(door)(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"] == 200

    def may_not(door: Door, bucket: str) -> None:
        refused("AccessDenied", call(door), Bucket=bucket, status=403)

    enter("access", names("objects_anonymous")[version - 1], may)
    enter("access", names("objects_anonymous_fail")[version - 1], may_not)


for _version in (1, 2):
    _strangers(_version)
