"""`fieldstone assess`: a sourced, graded scorecard of a network; side by side; a new case.

The group takes a case directly: `fieldstone assess helium`, `fieldstone assess my-case.toml --html report.html`.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from datetime import date

    from fieldstone.assess import Assessment, Case


class _CaseOrVerb(TyperGroup):
    """A group whose words that are no verb are a case: `assess helium` is `assess card helium`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the verb when the first word is not one."""
        first = next((word for word in args if not word.startswith("-")), None)
        if args and args[0] not in ("--help", "-h") and first not in self.commands:
            args = ["card", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_CaseOrVerb,
    add_completion=False,
    no_args_is_help=True,
    help="Does this network solve a problem that people pay for? A scorecard of dated, graded claims.\n\n"
    "`fieldstone assess helium`, `fieldstone assess CASE.toml --html report.html`, `fieldstone assess --network .`",
)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_On = Annotated[
    datetime | None,
    typer.Option(
        "--on",
        formats=["%Y-%m-%d"],
        metavar="DATE",
        help="The day to judge on; claims age. Default: today.",
        show_default=False,
    ),
]
_Framework = Annotated[
    Path | None, typer.Option("--framework", help="Other questions, weights and thresholds (TOML).", show_default=False)
]
_Html = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Write the offline HTML report.", show_default=False)
]


@app.command()
def card(
    case: Annotated[str, typer.Argument(metavar="[CASE]", help="A case file, or the name of a shipped case.")] = "",
    network: Annotated[
        str, typer.Option("--network", metavar="URL|DIR", help="Claims of grade A from a network's sealed epochs.")
    ] = "",
    epochs: Annotated[int, typer.Option(help="How many of the newest epochs, with --network.", min=1, max=10_000)] = 30,
    related: Annotated[
        list[str] | None,
        typer.Option(help="A customer who is no demand: team, treasury, operator (repeat).", show_default=False),
    ] = None,
    stress: Annotated[
        Path | None,
        typer.Option(
            "--stress",
            metavar="SUMMARY.json",
            help="A study by `fieldstone simulate`, for the last question.",
            show_default=False,
        ),
    ] = None,
    lab: Annotated[
        Path | None,
        typer.Option(
            "--lab",
            metavar="BOARD.json",
            help="A scoreboard by `fieldstone lab SERVICE --json`, for detection rates.",
            show_default=False,
        ),
    ] = None,
    html: _Html = None,
    memo: Annotated[bool, typer.Option("--memo", help="Print the Markdown memo.")] = False,
    as_json: _Json = False,
    on: _On = None,
    framework: _Framework = None,
) -> None:
    """Assess a network: print its scorecard, or the memo, or JSON, and write the HTML report."""
    from fieldstone.assess.sensitivity import sensitivity
    from fieldstone.errors import UsageError

    if not case and not network:
        raise UsageError(
            "name a case file or a shipped case (`fieldstone assess cases` lists them), or --network URL|DIR"
        )
    if memo and as_json:
        raise UsageError("--memo and --json both print to stdout; choose one")
    found = _case(case) if case else None
    if network:
        from fieldstone.assess.case import joined

        live = _live(network, epochs, related or [], found.network.name if found else "")
        found = joined(found, live) if found else live
    assert found is not None
    pack = None
    if stress:
        from fieldstone.assess.resilience import read_summary, with_stress

        pack = read_summary(stress)
        found = with_stress(found, pack, _day(on))
    if lab:
        from fieldstone.assess.suite import read_board, with_suite

        found = with_suite(found, read_board(lab), _day(on))
    result = _assess(found, on, framework)
    firmness = sensitivity(result)
    if html:
        from fieldstone.assess.report.html import page

        _write(html, page(result, firmness, pack))
    if as_json:
        from fieldstone.assess.report.document import to_json

        typer.echo(to_json(result, firmness), nl=False)
    elif memo:
        from fieldstone.assess.report.memo import memo as text_of

        typer.echo(text_of(result, firmness), nl=False)
    else:
        _print(result)


@app.command()
def compare(
    cases: Annotated[
        list[str], typer.Argument(metavar="CASE…", help="Two or more case files or names of shipped cases.")
    ],
    html: _Html = None,
    as_json: _Json = False,
    on: _On = None,
    framework: _Framework = None,
) -> None:
    """Show networks side by side."""
    import json

    from fieldstone.assess.report.compare import compare_document, compare_page, compare_table
    from fieldstone.cli.show import table
    from fieldstone.errors import UsageError

    if len(cases) < 2:
        raise UsageError("compare needs two cases or more")
    cards = [_assess(_case(case), on, framework) for case in cases]
    if html:
        _write(html, compare_page(cards))
    if as_json:
        typer.echo(json.dumps(compare_document(cards), ensure_ascii=False, indent=1, sort_keys=True))
    else:
        table(*compare_table(cards))


@app.command("cases")
def list_cases(as_json: _Json = False) -> None:
    """List the shipped cases."""
    import json

    from fieldstone.assess import case_names, shipped_case

    rows = []
    for name in case_names():
        case = shipped_case(name)
        rows.append({"case": name, "network": case.network.name, "service": case.network.service, "claims": len(case.claims), "missing": len(case.missing)})  # fmt: skip
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    for row in rows:
        typer.echo(
            f"{row['case']:14}{row['service']:12}{row['claims']:>4} claims, {row['missing']:>2} known to be missing"
        )


@app.command("metrics")
def list_metrics(as_json: _Json = False) -> None:
    """List what a claim can be about, with units and where the number is usually found."""
    import dataclasses
    import json

    from fieldstone.assess.amounts import expected
    from fieldstone.assess.catalogue import metrics

    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(metric) for metric in metrics().values()], ensure_ascii=False))
        return
    for metric in metrics().values():
        typer.echo(f"{metric.name}  [{expected(metric.kind, '')}]\n    {metric.title}. Found: {metric.where}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of `--json`."""
    import json

    from fieldstone.assess.report.document import schema as loaded

    typer.echo(json.dumps(loaded(), indent=1))


@app.command()
def new(
    file: Annotated[Path, typer.Argument(help="The case file to write.")],
    name: Annotated[str, typer.Option(help="Name of the network; with it nothing is asked.")] = "",
    service: Annotated[str, typer.Option(help="Kind of service.")] = "other",
    token: Annotated[str, typer.Option(help="Token symbol.")] = "",
    claim: Annotated[
        list[str] | None,
        typer.Option(help='A claim: metric=value unit @period GRADE "source" (repeat).', show_default=False),
    ] = None,
    on: _On = None,
) -> None:
    """Write a new case: asks its way through on a terminal, or takes --name and --claim from a script."""
    from fieldstone.assess.ask import interview, parse_draft, render
    from fieldstone.assess.case import SERVICES
    from fieldstone.errors import UsageError

    if file.exists():
        raise UsageError(f"{file} exists already; choose another name or edit it")
    if service not in SERVICES:
        raise UsageError(f"{service!r} is no service; one of {', '.join(SERVICES)}")
    today = _day(on)
    if name:
        gate = dict.fromkeys(("three_sided_market", "token_incentive", "physical_placement"), True)
        text = render(name, service, token, gate, [parse_draft(one, token) for one in claim or []], today)
    elif claim:
        raise UsageError("--claim needs --name")
    else:
        typer.echo("Leave empty what is not known: unknown is not bad, and it will be listed as missing.", err=True)
        text = interview(_ask, lambda line: typer.echo(line, err=True), today)
    _write(file, text)
    typer.echo(f"Next: fieldstone assess {file} --html report.html", err=True)


def _ask(question: str, default: str) -> str:
    answer: str = typer.prompt(question, default=default, show_default=bool(default), err=True)
    return answer


def _case(name: str) -> Case:
    from fieldstone.assess import load_case, shipped_case

    path = Path(name)
    if path.suffix == ".toml" or path.is_file():
        return load_case(path)
    return shipped_case(name)


def _live(network: str, count: int, related: list[str], name: str) -> Case:
    from fieldstone.assess import claims_of_epochs
    from fieldstone.cli.sealed import is_url, open_store

    numbers = None
    if is_url(network):
        from fieldstone.cli.node_client import node_client
        from fieldstone.epoch.fetch import get

        with node_client(network) as client:
            sealed = sorted(int(item["epoch"]) for item in get(client, "/v1/epochs").json()["epochs"])
        numbers = sealed[-count:]
        typer.echo(f"fetching {len(numbers)} epochs …", err=True)
    store = open_store(network, numbers)
    return claims_of_epochs([store.sealed(n) for n in store.epochs()[-count:]], name=name, related=related)


def _assess(case: Case, on: datetime | None, framework: Path | None) -> Assessment:
    from fieldstone.assess import assess, load_framework

    return assess(case, on=_day(on), framework=load_framework(framework))


def _day(on: datetime | None) -> date:
    from datetime import date

    return on.date() if on else date.today()


def _write(path: Path, text: str) -> None:
    from fieldstone.errors import EnvironmentProblem

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise EnvironmentProblem(f"{path} cannot be written: {error}") from error
    typer.echo(f"wrote {path}", err=True)


def _print(result: Assessment) -> None:
    from fieldstone.assess.report.words import band_word, headline, percent, scored, value_of
    from fieldstone.cli.show import table

    network = result.case.network
    typer.echo(f"{network.name} ({network.service}), on {result.on}: {headline(result)}")
    typer.echo(result.because)
    typer.echo(
        f"{scored(result.raw)} raw / {scored(result.adjusted)} adjusted for evidence / coverage {percent(result.coverage)}"
    )
    rows = [
        [
            a.question.id,
            a.question.title,
            f"{a.question.weight:g}",
            band_word(a),
            a.grade.value if a.grade else "—",
            value_of(a),
        ]
        for a in result.answers
    ]
    table(["", "question", "weight", "band", "grade", "value"], rows)
    for flag in result.flags:
        if flag.raised:
            typer.echo(f"red flag ({flag.rule.severity}): {flag.rule.title}")
    seen = [s for s in result.suspicions if s.outcome == "found"]
    typer.echo(
        f"{len(result.case.claims)} claims, {len(result.contradictions)} contradictions, {len(seen)} signs of dressed-up numbers; "
        "--memo or --html FILE shows them"
    )
