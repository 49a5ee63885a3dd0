from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from fieldstone.errors import UsageError
from fieldstone.identity.keys import DeviceKey
from fieldstone.services.storage.pool import Directory, Node, Profile
from fieldstone.services.storage.pool.asn import AsnTable
from fieldstone.services.storage.pool.placement import Candidate, place

# the format of iptoasn.com's ip2asn-combined.tsv; documentation addresses and numbers (RFC 5737, 3849, 5398)
TABLE = """\
192.0.2.0\t192.0.2.127\t64496\tZZ\tFIRST
192.0.2.128\t192.0.2.255\t0\tNone\tNot routed
198.51.100.0\t198.51.101.255\t64497\tZZ\tSECOND
2001:db8::\t2001:db8:0:ffff:ffff:ffff:ffff:ffff\t64498\tZZ\tTHIRD
"""


@pytest.mark.parametrize("is_packed", [False, True])
def test_addresses_and_prefixes_find_their_system(tmp_path: Path, is_packed: bool) -> None:
    path = tmp_path / "ip2asn.tsv"
    path.write_bytes(gzip.compress(TABLE.encode()) if is_packed else TABLE.encode())
    table = AsnTable.read(path)
    known = {
        "192.0.2.0/24": "AS64496", "192.0.2.200": "", "198.51.101.0/24": "AS64497", "198.51.102.0/24": "",
        "2001:db8:0:5::/64": "AS64498", "2001:db9::/64": "", "127.0.0.0/24": "", "disk.example": "", "": "",
    }  # fmt: skip
    assert {prefix: table.of(prefix) for prefix in known} == known


@pytest.mark.parametrize(
    "text",
    ["192.0.2.0\t192.0.2.9", "a\tb\t3", "192.0.2.9\t192.0.2.0\t1", "192.0.2.0\t2001:db8::\t1", "1.1.1.1\t1.1.1.1\tx"],
)
def test_what_is_no_table_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.tsv"
    path.write_text(text)
    with pytest.raises(UsageError):
        AsnTable.read(path)
    with pytest.raises(UsageError):
        AsnTable.read(tmp_path / "none.tsv")


def test_one_system_gets_no_more_than_its_cap_however_many_prefixes_it_has() -> None:
    nodes = [
        Node(
            did=DeviceKey.generate().public.device_id,
            url=f"http://198.51.100.{i}:9" if i < 20 else f"http://10.0.{i}.1:9",
            operator=f"o{i}", maker=f"m{i}", region=f"r{i}", prefix=f"198.51.100.{i}/32" if i < 20 else "",
        )
        for i in range(40)
    ]  # fmt: skip
    directory = Directory(nodes)
    profile = Profile("10/18", 10, 18)
    few = Directory(nodes)
    few.know_networks(AsnTable([("198.51.100.0", "198.51.101.255", 64497)]))
    assert [one.asn for one in few][:2] == ["AS64497"] * 2 and [one.asn for one in few][-1] == ""
    few.renew(nodes)
    few.update(nodes[0].did, free_bytes=7)
    seed = random.Random(1)
    for known, most in ((directory, 18), (few, profile.operator_cap)):
        counts = [
            sum(one.url.startswith("http://198.") for one in place(profile, map(Candidate, known), seed=seed).nodes)
            for _ in range(50)
        ]
        assert max(counts) <= most
        assert known is few or max(counts) > profile.operator_cap
