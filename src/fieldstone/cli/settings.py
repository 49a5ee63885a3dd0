"""Every setting of `network.toml`: its unit and the reason to change it. Keys and defaults come from the Structs.

`init` writes the file from here, `config show` lists values from here; a test fails when a Struct has a key that this
table lacks, or the other way round.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from fieldstone.config import ChainConfig, Config, MqttConfig, NodeConfig
from fieldstone.policy import Policy

# dotted key → (unit, why one would change it)
SETTINGS: dict[str, tuple[str, str]] = {
    "network.network_id": (
        "text",
        "names the network in every signature; letters, digits and hyphens. Never change it once devices have signed",
    ),
    "network.chain_id": ("number", "EVM chain id that signatures and roots are bound to; 31337 is the embedded chain"),
    "network.schema_version": ("number", "version of the report format that devices sign"),
    "node.name": ("text", "title on the explorer's pages"),
    "node.data": ("folder", "journal, state, chain, keys and sealed epochs; relative to this file. Back it up"),
    "node.host": ("address", "127.0.0.1 serves this machine only; 0.0.0.0 everyone"),
    "node.port": ("port", "HTTP: intake, market, explorer; 0 picks a free one"),
    "node.public_url": ("URL", "how devices and customers reach this node, when it stands behind a proxy"),
    "node.workers": ("processes", "signature checks and epoch partitions run in them; the number of cores is right"),
    "node.commit_interval_ms": (
        "ms",
        "reports that arrive within it share one fsync: more throughput, later receipts (see `fieldstone doctor`)",
    ),
    "node.device_reports_per_minute": (
        "reports per minute",
        "budget of one device; above it reports are refused (429)",
    ),
    "node.log_level": ("debug, info, warning or error", "how much the log says"),
    "chain.url": ("`embedded` or URL", "a JSON-RPC address settles on any EVM chain instead of the embedded one"),
    "chain.confirmations": ("blocks", "a transaction is final after so many; raise it on chains that reorganise"),
    "mqtt.broker": ("`off`, `embedded` or URL", "second door for reports; mqtt(s)://host:port uses your own broker"),
    "mqtt.host": ("address", "where the embedded broker listens"),
    "mqtt.port": ("port", "of the embedded broker"),
    "mqtt.topic": ("topic", "reports arrive on <topic>/<device>"),
    "epoch.length_s": ("s", "short epochs pay sooner, long ones cost less gas and judge better; a day is usual"),
    "epoch.first_start_ms": ("Unix ms", "start of epoch 1; 0 starts it with the network"),
    "identity.signature_rule": (
        "text",
        "the one rule by which signatures are accepted, so that verifiers never disagree",
    ),
    "identity.manufacturers": (
        "tables",
        "[[identity.manufacturers]] with name, root_pem, models: certificate roots to trust",
    ),
    "identity.models": ("texts", "hardware models that may enrol; none listed: any"),
    "identity.certificate_models": ("texts", "hardware models that may enrol only with a manufacturer certificate"),
    "identity.recovery_wait_s": ("s", "time in which a device's holder can object to the replacement of a lost key"),
    "identity.min_move_interval_s": ("s", "a device may move once in it: moving between cells to chase pay is no use"),
    "intake.future_tolerance_s": ("s", "how far a device's clock may run ahead"),
    "intake.stale_after_s": ("s", "older reports are refused; as long as devices may buffer offline"),
    "intake.max_span_s": ("s", "longest time span of one report"),
    "intake.max_readings": ("readings", "in one report"),
    "intake.max_report_bytes": ("bytes", "one report"),
    "intake.max_body_bytes": ("bytes", "one request, which may hold many reports"),
    "rewards.take_ppm": (
        "ppm of revenue",
        "the network's part; it must be above 0, or buying from oneself costs nothing and demand can be faked",
    ),
    "rewards.token_price_usd": ("$ per token", "until a `price` entry of the journal says otherwise"),
    "rewards.bootstrap_per_epoch": ("tokens", "offered for verified but unsold capacity in epoch 1, before it fades"),
    "rewards.bootstrap_decay_ppm": (
        "ppm per epoch",
        "the schedule shrinks by it; 0 mints for ever if nobody ever buys",
    ),
    "rewards.r_half_usd": ("$ per epoch", "smoothed revenue at which the bootstrap has halved: demand takes over"),
    "rewards.revenue_smoothing_ppm": ("ppm", "weight of the newest epoch in smoothed revenue"),
    "rewards.cell_resolution": ("H3 resolution", "cells over which the bootstrap is spread; 7 is about 5 km²"),
    "rewards.full_coverage_cells": (
        "cells",
        "until so many are served, the rest of the bootstrap is not minted: the first device does not take it all",
    ),
    "rewards.need_demand_ppm": (
        "ppm of the take",
        "may steer the bootstrap to cells where customers bought; below 1000000, or self-dealing is free",
    ),
    "rewards.max_epoch_mint": ("tokens", "most that one epoch adds to all balances; the contract refuses more"),
    "services.rule_version": ("number", "version of the service's verification rules; old epochs keep theirs"),
    "services.share_ppm": ("ppm of the bootstrap", "all services together make 1000000"),
    "services.cell_target_rate": (
        "service units per s",
        "verified work at which a cell's pool is whole; for sensing the number of perfect stations a cell needs",
    ),
    "services.unsold_pay_ppm": (
        "ppm of list price",
        "most that unsold work earns, of what it would if it were sold; above 1000000 a full disk can earn less than an "
        "empty one. Without meaning where work has no list price (sensing)",
    ),
    "services.bond_per_unit": (
        "tokens per unit of capacity",
        "what an operator puts at risk for each TiB that earns bootstrap; capacity without it earns sales only. 0: no bond",
    ),
    "services.slash_ppm": (
        "ppm of the bond",
        "of what was bonded for the data that a device lost, a case that the verifiers uphold takes so much",
    ),
    "services.params": ("table", "overrides of single rule parameters by dotted key"),
    "market.prices_usd": ("$ per unit", 'product = "price", instead of the service\'s default'),
    "market.quote_valid_s": ("s", "how long a quoted price holds"),
    "market.min_quality_ppm": ("ppm", "worse data is never sold"),
    "market.refund_below_delivery_ppm": (
        "ppm",
        "an order that delivers less of what was quoted is refunded in proportion",
    ),
    "settlement.verifiers": ("addresses", "who may co-sign roots; `fieldstone verifier` prints its address"),
    "settlement.threshold": ("signatures", "how many verifiers must agree before a root is posted"),
    "settlement.activation_delay_s": ("s", "time in which anyone can object to a posted root"),
    "settlement.claim_window_s": ("s", "the claim cap below holds for each such window"),
    "settlement.claim_window_cap": ("tokens", "most that can be claimed in one window: bounds the loss by a bad root"),
    "settlement.dispute_bond": ("tokens", "posted by whoever objects, lost if the objection is wrong"),
    "settlement.dispute_deadline_s": ("s", "an objection without an answer by then cancels the root"),
    "settlement.bond_depth_blocks": (
        "blocks",
        "bonds are read so far below an epoch's last block; as deep as the chain can reorganise, 0 for the embedded one",
    ),
    "settlement.treasury": ("address", "receives take and dust; without one they wait in a pool"),
}

TITLES = {
    "network": "What binds every signature. Change nothing here once the network runs.",
    "node": "This machine. FIELDSTONE_NODE_<KEY> in the environment overrides a key.",
    "chain": "Settlement.",
    "mqtt": "The MQTT door.",
    "epoch": "From here on everything is policy: it decides verdicts, rewards or prices, and goes into the journal.",
    "identity": "Who may take part.",
    "intake": "What the doors accept.",
    "rewards": "Who gets how much (docs/explanation/rewards.md). `fieldstone doctor` checks these for exploitable rules.",
    "market": "What customers pay.",
    "settlement": "Who signs, and how long the public may object.",
}

NETWORK_KEYS = ("network_id", "chain_id", "schema_version")
MACHINE = {"node": NodeConfig, "chain": ChainConfig, "mqtt": MqttConfig}
ADDRESS_EXAMPLE = "0x0000000000000000000000000000000000000000"


def sections(config: Config) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (table name, key → value) in the order of the file: `network`, machine sections, policy sections."""
    policy = config.policy
    yield "network", {key: getattr(policy, key) for key in NETWORK_KEYS}
    for name in MACHINE:
        yield name, _plain(getattr(config, name))
    for field in msgspec.structs.fields(Policy):
        if field.name in NETWORK_KEYS:
            continue
        value = getattr(policy, field.name)
        if field.name == "services":
            for service, setting in value.items():
                yield f"services.{service}", _plain(setting)
        else:
            yield field.name, _plain(value)


def _plain(section: msgspec.Struct) -> dict[str, Any]:
    tree: dict[str, Any] = msgspec.to_builtins(section)
    return tree


def described(table: str, key: str) -> tuple[str, str]:
    """Return (unit, reason) of a setting; two empty texts for one that is not described."""
    return SETTINGS.get(f"{table.split('.')[0]}.{key}", ("", ""))


def to_toml(config: Config, notes: Mapping[str, Sequence[str]] = MappingProxyType({})) -> str:
    """Return the commented `network.toml` that loads as `config`. `notes`: "table.key" → more lines of comment for it."""
    blocks = ["# A Fieldstone network. Amounts are texts, so that no digit is lost; ppm are millionths.\n"]
    for table, values in sections(config):
        title = TITLES.get(table, f"The {table.split('.')[-1]} service.")
        lines = [f"# {title}", f"[{table}]"]
        for key, value in values.items():
            unit, reason = described(table, key)
            lines += [f"# {unit}: {reason}."] if unit else []
            lines += [f"# {line}" for line in notes.get(f"{table}.{key}", ())]
            lines.append(f"# {key} = {literal(ADDRESS_EXAMPLE)}" if value is None else f"{key} = {literal(value)}")
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def literal(value: Any) -> str:
    """Return a TOML value. Raises TypeError for what TOML cannot hold."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for DEL, which TOML wants escaped
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return "[" + ", ".join(literal(item) for item in value) + "]"
    if isinstance(value, Mapping):
        inner = ", ".join(f"{literal(str(key))} = {literal(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    raise TypeError(f"TOML has no form for {type(value).__name__}")
