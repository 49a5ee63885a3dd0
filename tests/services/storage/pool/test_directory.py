from __future__ import annotations

import json
from pathlib import Path

import pytest

from fieldstone.errors import UsageError
from fieldstone.identity.keys import DeviceKey
from fieldstone.services.storage.pool.directory import Directory, Node, prefix_of, region_of

DID = DeviceKey.generate().public.device_id


@pytest.mark.parametrize(
    ("url", "prefix"),
    [
        ("http://203.0.113.77:80", "203.0.113.0/24"),
        ("http://[2001:db8:1:2:3::4]:80", "2001:db8:1:2::/64"),
        ("https://disk.example", "disk.example"),
    ],
)
def test_prefixes(url: str, prefix: str) -> None:
    assert prefix_of(url) == prefix


def test_regions() -> None:
    assert region_of(47.4, 8.5) == "+40+0"
    assert region_of(-33.9, -70.6) == "-40-80"
    assert region_of(None, 8.5) == "unknown"


def test_a_node_file(tmp_path: Path) -> None:
    path = tmp_path / "nodes.json"
    path.write_text(json.dumps({"nodes": [{"did": DID, "url": "http://10.1.2.3:9/", "maker": "pi"}]}))
    [node] = Directory.read(path)
    assert (node.url, node.prefix, node.maker, node.operator) == ("http://10.1.2.3:9", "10.1.2.0/24", "pi", "unknown")


@pytest.mark.parametrize(
    "text", ["", "[]", '{"nodes": [{"did": 3}]}', '{"nodes": [{"did": "did:key:zzz", "url": "http://a"}]}']
)
def test_unusable_files(tmp_path: Path, text: str) -> None:
    path = tmp_path / "nodes.json"
    path.write_text(text)
    with pytest.raises(UsageError):
        Directory.read(path)
    with pytest.raises(UsageError):
        Directory.read(tmp_path / "none.json")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a",
        "http://",
        "http://a/b",
        "http://a?x",
        "a:80",
        "http://a\r\nx: y",
        "http://a b",
        "http://a:99999",
        "http://u@a",
    ],
)
def test_unusable_addresses(url: str) -> None:
    with pytest.raises(UsageError):
        Directory([Node(did=DID, url=url)])


def test_a_device_is_listed_once() -> None:
    with pytest.raises(UsageError, match="twice"):
        Directory([Node(did=DID, url="http://a"), Node(did=DID, url="http://b")])


def test_the_networks_listing() -> None:
    listing = {
        "devices": [
            {"device": DID, "key": DID, "operator": "0xab", "model": "nas-4", "lat": 1.0, "lon": 2.0, "enrolled_ms": 7,
             "storage_url": "http://10.0.0.1:4"},
            {"device": "x", "operator": "0xab"},
            {"device": "y", "operator": "0xab", "revoked_ms": 5, "url": "http://10.0.0.2:4"},
        ]
    }  # fmt: skip
    directory, problems = Directory.from_listing(listing)
    [node] = directory
    assert problems == []
    assert (node.did, node.operator, node.maker, node.region, node.joined_ms) == (DID, "0xab", "nas-4", "+0+0", 7)
    with pytest.raises(UsageError):
        Directory.from_listing([])


@pytest.mark.parametrize(
    "bad",
    [None, 7, [], {"url": "http://a"}, {"device": "x", "url": "http://a"}, {"device": DID, "url": 5},
     {"device": DID, "url": "http://a b"}, {"device": DID, "url": "http://a", "lat": "north"}],
)  # fmt: skip
def test_one_unusable_device_does_not_hide_the_others(bad: object) -> None:
    good = DeviceKey.generate().public.device_id
    directory, problems = Directory.from_listing({"devices": [bad, {"device": good, "url": "http://10.0.0.1"}]})
    assert [node.did for node in directory] == [good]
    assert len(problems) == 1
