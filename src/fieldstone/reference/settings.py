"""`docs/reference/network-toml.md`: every setting with its default, unit and the reason to change it."""

from __future__ import annotations

from pathlib import Path

from fieldstone.cli.settings import MACHINE, TITLES, described, literal, sections
from fieldstone.config import ChainConfig, Config, MqttConfig, NodeConfig
from fieldstone.policy import Policy
from fieldstone.reference.markdown import code, head, plain, table


def page() -> str:
    """Return the page."""
    config = Config(Path(), NodeConfig(), ChainConfig(), MqttConfig(), Policy(network_id="my-network"))
    parts = [
        head(
            "network.toml",
            "fieldstone.policy and fieldstone.config",
            "`fieldstone init` writes the file with every default and these comments; `fieldstone config show --origin` says "
            "which values hold and where each comes from. Amounts are texts, so that no digit is lost; ppm are millionths. "
            "A mistake is reported with its key and its line.\n\n"
            "Sections `[node]`, `[chain]` and `[mqtt]` concern one machine, and `FIELDSTONE_<SECTION>_<KEY>` in the environment "
            "overrides them. All others are the network's *policy*: it is written to the journal, frozen into every sealed "
            "epoch, and a change takes effect with the next epoch.",
        )
    ]
    for name, values in sections(config):
        rows = []
        for key, value in values.items():
            unit, why = described(name, key)
            rows.append((code(key), "not set" if value is None else code(literal(value)), unit, why))
        title = TITLES.get(name, f"The {name.split('.')[-1]} service.")
        kind = "this machine" if name in MACHINE else "policy"
        parts.append(
            f"## [{name}]\n\n{plain(title)} ({kind})\n\n" + table(("key", "default", "unit", "why change it"), rows)
        )
    return "\n".join(parts)
