"""`fieldstone agent`: sign and deliver a device's readings, from a station on the local network or from a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fieldstone.agent.agent import Agent

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Sign, keep and deliver a device's readings.")

Node = Annotated[str, typer.Option("--node", envvar="FIELDSTONE_NODE", metavar="URL", help="Address of the node.")]
KeyFile = Annotated[Path, typer.Option("--key", metavar="FILE", help="The device's key file.")]
BufferFile = Annotated[
    Path | None, typer.Option("--buffer", metavar="FILE", help="Where to keep what is not delivered; beside the key.")
]
Service = Annotated[str, typer.Option(help="Service of the report.")]
Kind = Annotated[str, typer.Option(help="Kind of the report.")]
PerReport = Annotated[int, typer.Option("--per-report", min=1, max=2_000, help="Readings under one signature.")]
Mqtt = Annotated[
    str, typer.Option("--mqtt", metavar="URL", help="Deliver through this broker (mqtt:// or mqtts://), not by HTTP.")
]
Topic = Annotated[str, typer.Option(help="Topic of the network's reports, with --mqtt.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT_NODE = "http://127.0.0.1:8080"


@app.command()
def send(
    file: Path,
    key: KeyFile,
    node: Node = DEFAULT_NODE,
    buffer: BufferFile = None,
    service: Service = "sensing",
    kind: Kind = "readings",
    per_report: PerReport = 60,
    mqtt: Mqtt = "",
    topic: Topic = "fieldstone/reports",
    wait: Annotated[float, typer.Option(min=0, help="Seconds to keep trying; the rest stays in the buffer.")] = 60.0,
    as_json: Json = False,
) -> None:
    """Sign a CSV or Parquet file of readings (`t_ms` or `time`, one column per variable) and deliver it."""
    import threading

    from fieldstone.agent.files import in_reports, read_readings
    from fieldstone.errors import CheckFailed, Retryable

    agent = _agent(key, node, buffer, mqtt, topic)
    readings = read_readings(file, _columns(agent, service, kind))
    reports = list(in_reports(readings, per_report, 86_400_000 - 1))
    for report in reports:
        agent.record(service, kind, report)
    typer.echo(f"{len(readings)} readings signed in {len(reports)} reports; delivering …", err=True)
    sent = agent.drain(threading.Event(), most_s=wait)
    counts = agent.buffer.counts()
    outcome = {
        "readings": len(readings),
        "accepted": sent.accepted,
        "refused": sent.refused,
        "waiting": counts["queued"],
    }
    if as_json:
        typer.echo(json.dumps({**outcome, "refusals": agent.buffer.refusals()}))
    else:
        typer.echo("  ".join(f"{name} {value}" for name, value in outcome.items()))
    if sent.refused:
        raise CheckFailed(f"{sent.refused} reports were refused: {agent.buffer.refusals()}")
    if counts["queued"]:
        raise Retryable(f"{counts['queued']} reports wait in the buffer: {sent.problem}. Run the same agent again")


@app.command()
def run(
    key: KeyFile,
    node: Node = DEFAULT_NODE,
    buffer: BufferFile = None,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where the station uploads to.")] = "127.0.0.1:8090",
    protocol: Annotated[str, typer.Option(help="What the station speaks: ecowitt or wunderground.")] = "ecowitt",
    service: Service = "sensing",
    kind: Kind = "readings",
    per_report: PerReport = 60,
    mqtt: Mqtt = "",
    topic: Topic = "fieldstone/reports",
    every: Annotated[float, typer.Option(min=1, help="Seconds after which a partial report is sent.")] = 600.0,
) -> None:
    """Take a station's uploads on the local network, sign them and deliver them, until stopped."""
    import signal
    import threading

    from fieldstone.agent.adapters import ADAPTERS, Parsed
    from fieldstone.agent.listener import Listener
    from fieldstone.errors import UsageError

    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise UsageError(f"--listen {listen!r} is not HOST:PORT")
    if protocol not in ADAPTERS:
        raise UsageError(f"--protocol {protocol!r} is none of {', '.join(ADAPTERS)}")
    agent = _agent(key, node, buffer, mqtt, topic)
    columns = set(_columns(agent, service, kind))

    def keep(parsed: Parsed) -> None:
        values = {name: value for name, value in parsed.reading.values.items() if name in columns}
        if values:
            agent.observe(service, kind, parsed.reading.t_ms, values)

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    listener = Listener(host, int(port), ADAPTERS[protocol](), keep)
    listener.start()
    typer.echo(f"Set the station's upload to http://{host}:{listener.port}/ ({protocol}). Stop with Ctrl-C.", err=True)
    try:
        agent.run(stop, readings=per_report, after_ms=int(every * 1_000))
    finally:
        listener.close()
        counts = agent.buffer.counts()
        agent.buffer.close()
    typer.echo(
        f"Stopped. Kept for the next start: {counts['queued']} reports, {counts['unsigned']} readings.", err=True
    )


@app.command()
def status(key: KeyFile, buffer: BufferFile = None, as_json: Json = False) -> None:
    """Show what the buffer holds: waiting, accepted and refused reports, and why they were refused."""
    import time

    from fieldstone.agent.buffer import Buffer

    kept = Buffer(_buffer_path(key, buffer), time.time_ns() // 1_000_000)
    facts = {**kept.counts(), "refusals": kept.refusals()}
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        typer.echo(f"{name:<9} {value}")


def _buffer_path(key: Path, buffer: Path | None) -> Path:
    return buffer or key.with_name(key.name + ".buffer.db")


def _agent(key: Path, node: str, buffer: Path | None, mqtt: str, topic: str) -> Agent:
    import time

    from fieldstone.agent.agent import Agent
    from fieldstone.agent.buffer import Buffer
    from fieldstone.agent.transport import HttpTransport
    from fieldstone.identity.keys import DeviceKey

    device_key = DeviceKey.load(key)
    kept = Buffer(_buffer_path(key, buffer), time.time_ns() // 1_000_000)
    if not mqtt:
        return Agent(device_key, kept, HttpTransport(node))
    from fieldstone.agent.mqtt import MqttTransport

    known = kept.get("network") is not None  # pinned earlier; otherwise the node is asked once, by HTTP
    network = None if known else HttpTransport(node).network()
    return Agent(device_key, kept, MqttTransport(mqtt, topic, device_key.public.device_id), network=network)


def _columns(agent: Agent, service: str, kind: str) -> tuple[str, ...]:
    from fieldstone.errors import UsageError
    from fieldstone.services import load_service

    table = agent.network.kind_table()
    if table is None:
        table = {(service, k): tuple(c.name for c in cs) for k, cs in load_service(service).kinds.items()}
    if (service, kind) not in table:
        raise UsageError(f"this network has no kind {service}/{kind}; it has {', '.join(f'{s}/{k}' for s, k in table)}")
    return table[service, kind]
