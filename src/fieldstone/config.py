"""Read `network.toml`. A mistake is reported with its key and its line.

Sections `[node]`, `[chain]` and `[mqtt]` concern one machine; all others form the `Policy`. Environment variables
`FIELDSTONE_<SECTION>_<KEY>` override settings of the machine sections only: a policy must not differ by machine.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from fieldstone.errors import ConfigError
from fieldstone.policy import Policy, ServicePolicy

Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]


class NodeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where this machine keeps and serves the network. `data` is relative to the file; port 0 picks a free one."""

    name: str = "A Fieldstone network"
    data: str = "data"
    host: str = "127.0.0.1"
    port: Port = 8080
    public_url: str = ""
    workers: Annotated[int, msgspec.Meta(ge=1)] = 2
    commit_interval_ms: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 5
    device_reports_per_minute: Annotated[int, msgspec.Meta(ge=1)] = 600
    log_level: str = "info"


class ChainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`url` is `embedded` (served to wallets at /rpc) or a JSON-RPC address. `confirmations`: blocks until final."""

    url: str = "embedded"
    confirmations: Annotated[int, msgspec.Meta(ge=0)] = 0


class MqttConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`broker`: `embedded`, `off`, or mqtt(s)://host:port. Reports arrive on `<topic>/<device>`."""

    broker: str = "off"
    host: str = "127.0.0.1"
    port: Port = 1883
    topic: str = "fieldstone/reports"


@dataclass(frozen=True, slots=True)
class Config:
    """A read `network.toml`: the machine's sections and the network's policy. `path` is the file."""

    path: Path
    node: NodeConfig
    chain: ChainConfig
    mqtt: MqttConfig
    policy: Policy

    @property
    def data_dir(self) -> Path:
        """Folder of the journal, the state, the chain and the sealed epochs."""
        return (self.path.parent / self.node.data).resolve()


_MACHINE_SECTIONS: dict[str, type[msgspec.Struct]] = {"node": NodeConfig, "chain": ChainConfig, "mqtt": MqttConfig}


def load(path: Path, environ: Mapping[str, str] | None = None) -> Config:
    """Read and check `network.toml`. Raises ConfigError naming key and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError("no such file; `fieldstone init` writes one", path=str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", path=str(path)) from error
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise ConfigError(f"not TOML: {error}", line=int(line[1]) if line else None, path=str(path)) from error
    _override(tree, os.environ if environ is None else environ)
    machine: dict[str, Any] = {}
    for name, section_type in _MACHINE_SECTIONS.items():
        machine[name] = _convert(tree.pop(name, {}), section_type, f"{name}.", text, path)
    network = tree.pop("network", {})
    if not isinstance(network, dict):
        raise ConfigError("must be a table", key="network", line=line_of(text, "network"), path=str(path))
    for key in network:
        if key not in ("network_id", "chain_id", "schema_version"):
            raise ConfigError("unknown key", key=f"network.{key}", line=line_of(text, f"network.{key}"), path=str(path))
    services = tree.get("services")
    for name, service in services.items() if isinstance(services, dict) else ():
        # one by one, because a message about the whole leaves out which service it was
        _convert(service, ServicePolicy, f"services.{name}.", text, path)
    policy = _convert({**tree, **network}, Policy, "", text, path)
    return Config(path=path.resolve(), policy=policy, **machine)


def _convert(tree: Any, target: type[Any], prefix: str, text: str, path: Path) -> Any:
    try:
        return msgspec.convert(tree, target)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        key = prefix + where.rstrip("`").lstrip(".")
        unknown = re.search(r"unknown field `(.+?)`", message)
        if unknown:
            key = f"{key.rstrip('.')}.{unknown[1]}".lstrip(".")
            message = "unknown key"
        missing = re.search(r"missing required field `(.+?)`", message)
        if missing:
            key = f"{key.rstrip('.')}.{missing[1]}".lstrip(".")
            key = f"network.{key}" if key in ("network_id",) else key
            message = "is missing"
        key = key.rstrip(".")
        raise ConfigError(message, key=key, line=line_of(text, key), path=str(path)) from error


def _override(tree: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Apply FIELDSTONE_NODE_PORT=… and the like to the machine sections."""
    for section, section_type in _MACHINE_SECTIONS.items():
        for field in msgspec.structs.fields(section_type):
            value = environ.get(f"FIELDSTONE_{section}_{field.name}".upper())
            if value is None:
                continue
            table = tree.setdefault(section, {})
            if isinstance(table, dict):  # anything else is refused by the conversion, with its key
                is_number = re.fullmatch(r"-?[0-9]{1,18}", value) is not None and field.type is not str
                table[field.name] = int(value) if is_number else value


def line_of(text: str, dotted: str) -> int | None:
    """Find the 1-based line on which a dotted key (`rewards.take_ppm`) or its table stands; None when it is absent."""
    wanted = re.sub(r"\[(\d+|\.\.\.)\]", "", dotted).split(".")
    if wanted[0] in ("network_id", "chain_id", "schema_version"):
        wanted.insert(0, "network")
    table: list[str] = []
    best: tuple[int, int] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]?\]", line)
        pair = re.match(r"\s*([A-Za-z0-9_.\"-]+)\s*=", line)
        if header:
            table = here = header[1].replace('"', "").replace(" ", "").split(".")
        elif pair:
            here = table + pair[1].replace('"', "").split(".")
        else:
            continue
        depth = min(len(here), len(wanted))
        if here[:depth] != wanted[:depth]:
            continue
        if best is None or depth > best[0]:
            best = (depth, number)
    return best[1] if best else None
