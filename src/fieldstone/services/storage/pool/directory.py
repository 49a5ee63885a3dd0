"""Which storage nodes there are: read from a file or from the network's list of devices, kept by device id.

The file is JSON: {"nodes": [{"did": …, "url": …, "operator": …, "lat": …, "lon": …, "region": …, "maker": …,
"prefix": …, "joined_ms": …}]}. Only `did` and `url` are needed; what is missing counts as "unknown", and all unknown
operators are one operator: who does not say who they are gets no more than one operator's shares.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from fieldstone.errors import Rejected, UsageError
from fieldstone.identity.keys import PublicKey
from fieldstone.services.storage.pool.asn import AsnTable

UNKNOWN = "unknown"


class Node(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """One provider. `prefix`: its /24 (IPv4) or /64 (IPv6); worked out of an address in `url` when not given.
    `asn`: the autonomous system ("AS…") when a table of them is there (`asn`), else the prefix stands in.

    `free_bytes`: what it says is free (−1: not asked yet); `joined_ms`: when it was enrolled (0: long ago).
    What the network's verdicts say: `score` 0 … 1 for placement; `is_out`: disqualified; `is_leaving`: it says so itself; `is_silent`: it answers no
    rounds since `heard_ms`; `failed`: shares that it failed to prove; `bond_room_bytes`: how much more its bond covers (−1: none is
    asked for).
    """

    did: str
    url: str
    operator: str = UNKNOWN
    lat: float | None = None
    lon: float | None = None
    region: str = UNKNOWN
    maker: str = UNKNOWN
    prefix: str = ""
    asn: str = ""
    free_bytes: int = -1
    joined_ms: int = 0
    score: float = 1.0
    is_out: bool = False
    is_leaving: bool = False
    heard_ms: int = 0
    is_silent: bool = False
    failed: tuple[bytes, ...] = ()
    bond_room_bytes: int = -1


class _File(msgspec.Struct, frozen=True):
    nodes: list[Node]


class Directory:
    """The nodes that may be asked. `replace` swaps the whole list; who iterates meanwhile sees one or the other."""

    def __init__(self, nodes: Iterable[Node] = (), asns: AsnTable | None = None) -> None:
        self._nodes: dict[str, Node] = {}
        self.asns = asns
        self.replace(nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    def get(self, did: str) -> Node | None:
        """Return a node by its device id."""
        return self._nodes.get(did)

    def replace(self, nodes: Iterable[Node]) -> None:
        """Take a new list. Raises UsageError on an unusable did or URL, or two nodes with one did."""
        found: dict[str, Node] = {}
        for node in nodes:
            checked = _checked(node)
            if checked.did in found:
                raise UsageError(f"node {checked.did} is listed twice")
            found[checked.did] = checked if self.asns is None else self._placed(checked)
        self._nodes = found

    def know_networks(self, asns: AsnTable) -> None:
        """Take a table of autonomous systems, for the nodes known and to come."""
        self.asns = asns
        self._nodes = {did: self._placed(node) for did, node in self._nodes.items()}

    def _placed(self, node: Node) -> Node:
        return node if self.asns is None else msgspec.structs.replace(node, asn=self.asns.of(node.prefix))

    @classmethod
    def read(cls, path: Path) -> Directory:
        """Read a node file. Raises UsageError naming what is wrong."""
        try:
            return cls(msgspec.json.decode(path.read_bytes(), type=_File).nodes)
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from error
        except msgspec.DecodeError as error:
            raise UsageError(f"{path} is no list of nodes: {error}") from None

    def update(self, did: str, *, prefix: str | None = None, free_bytes: int | None = None) -> None:
        """Take note of what was learned about a node that is listed."""
        node = self._nodes.get(did)
        if node is not None:
            learned: dict[str, str | int] = {"prefix": prefix} if prefix is not None else {}
            if free_bytes is not None:
                learned["free_bytes"] = free_bytes
            # in its old place: who iterates meanwhile is not disturbed
            self._nodes[did] = self._placed(msgspec.structs.replace(node, **learned))

    def renew(self, nodes: Iterable[Node]) -> None:
        """Take a new list and keep what was learned about nodes that are still where they were: space, prefix."""
        before = self._nodes
        self.replace(nodes)
        for did, node in list(self._nodes.items()):
            old = before.get(did)
            if old is not None and old.url == node.url:
                renewed = msgspec.structs.replace(node, prefix=old.prefix, free_bytes=old.free_bytes)
                self._nodes[did] = self._placed(renewed)

    @classmethod
    def from_listing(cls, listing: object) -> tuple[Directory, list[str]]:
        """Take the network's `{"devices": […]}`: devices that name a storage address. Raises UsageError for no such list.

        Of a device, `device` or `key`, `operator`, `model` (its maker), `lat`, `lon`, `region`, `enrolled_ms`, `url` or
        `storage_url`, and of its standing `state`, `score_ppm`, `heard_ms`, `silent_ms`, `failed` are used; devices without an address and revoked ones are left out. Returned beside the directory:
        why others were left out. One device with an unusable address must not keep a gateway from all others.
        """
        if not isinstance(listing, dict) or not isinstance(listing.get("devices"), list):
            raise UsageError("the network's list of devices has no field `devices`")
        found: dict[str, Node] = {}
        problems = []
        for device in listing["devices"]:
            try:
                if not isinstance(device, dict):
                    raise UsageError(f"{device!r:.80} is no device")
                url = device.get("storage_url") or device.get("url")
                if not url or device.get("revoked_ms"):
                    continue
                node = _checked(_listed(device, url))
            except (UsageError, msgspec.ValidationError, ValueError, OverflowError) as error:
                problems.append(str(error))
                continue
            if node.did in found:
                problems.append(f"node {node.did} is listed twice")
            found.setdefault(node.did, node)
        return cls(found.values()), problems


def _listed(device: dict[str, object], url: object) -> Node:
    facts = {
        "did": device.get("key") or device.get("device"),
        "url": url,
        # who shares a disk is one operator, whatever their names
        "operator": device.get("shares_disk_with") or device.get("operator") or UNKNOWN,
        "lat": device.get("lat"),
        "lon": device.get("lon"),
        "region": device.get("region") or UNKNOWN,
        "maker": device.get("maker") or device.get("model") or UNKNOWN,
        "joined_ms": device.get("enrolled_ms") or 0,
        "score": _score(device.get("score_ppm")),
        "is_out": device.get("state") == "disqualified",
        "is_leaving": bool(device.get("is_leaving")),
        "heard_ms": device.get("heard_ms") or 0,
        "is_silent": bool(device.get("silent_ms")),
        "failed": _shares(device.get("failed")),
        "bond_room_bytes": device.get("bond_room_bytes", -1),
    }
    node = msgspec.convert(facts, Node)
    if node.region == UNKNOWN:
        node = msgspec.structs.replace(node, region=region_of(node.lat, node.lon))
    return node


def _score(ppm: object) -> float:
    if ppm is None:
        return 1.0
    if not isinstance(ppm, int) or not 0 <= ppm <= 1_000_000:
        raise UsageError(f"{ppm!r:.40} is no score in ppm")
    return ppm / 1_000_000


def _shares(names: object) -> tuple[bytes, ...]:
    try:
        return tuple(bytes.fromhex(name) for name in msgspec.convert(names or [], list[str]))
    except ValueError:
        raise UsageError("a failed share's name is not hexadecimal") from None


def region_of(lat: float | None, lon: float | None) -> str:
    """Name the 10° × 10° field that a place lies in: coarse enough for one power grid or one disaster."""
    if lat is None or lon is None:
        return UNKNOWN
    return f"{int(lat // 10) * 10:+d}{int(lon // 10) * 10:+d}"


def prefix_of(url: str) -> str:
    """Return the /24 or /64 of a URL's address; the host name itself when it is a name (see `Watch`, which resolves it)."""
    host = urlsplit(url).hostname or UNKNOWN
    return prefix_of_address(host) or host


def prefix_of_address(text: str) -> str | None:
    """Return the /24 (IPv4) or /64 (IPv6) of an address, None for anything else."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return str(ipaddress.ip_network((address, 24 if address.version == 4 else 64), strict=False))


def _has_port(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _host(url: str) -> str:
    """Return the host of an address, one that can be looked up; '' when it is none."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme not in ("http", "https") or parts.query or parts.fragment or parts.path not in ("", "/"):
            return ""
        if prefix_of_address(host) is None:
            host.encode("idna")  # `a..b` and labels of 64 letters cannot be asked for
    except ValueError:
        return ""
    return host


def _checked(node: Node) -> Node:
    # urlsplit drops line ends silently, and the host goes into a header
    is_plain = all("!" <= letter <= "~" for letter in node.url) and "@" not in node.url
    if not is_plain or not _host(node.url) or not _has_port(node.url):
        raise UsageError(f"node {node.did}: {node.url!r} is no address; write http(s)://host:port without a path")
    try:
        PublicKey.from_device_id(node.did)
    except Rejected as error:
        raise UsageError(f"node at {node.url}: {error}") from None
    return msgspec.structs.replace(node, url=node.url.rstrip("/"), prefix=node.prefix or prefix_of(node.url))
