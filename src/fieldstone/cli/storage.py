"""`fieldstone storage …`: run a provider or a gateway, ask for commitments, see who holds what."""

from __future__ import annotations

from fieldstone.cli.lazy import LazyVerbs, group

# verb → module in this package; the order is the order of `--help`
VERBS: dict[str, str] = {
    "demo": "storage_demo",
    "provide": "storage_provide",
    "leave": "storage_leave",
    "gateway": "storage_gateway",
    "keys": "storage_keys",
    "report": "storage_report",
    "quote": "storage_quote",
    "endow": "storage_endow",
    "funds": "storage_funds",
    "coverage": "storage_coverage",
    "commp": "storage_commp",
    "root": "storage_root",
}


class _Storage(LazyVerbs):
    verbs = VERBS


app = group(_Storage, "Store, prove and return data on disks of many owners.")
