"""`fieldstone simulate`: what may become of a network's economy, from a scenario file to one offline report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fieldstone.economy.backtest import Score
    from fieldstone.economy.experiments.calibrate import Calibration
    from fieldstone.economy.experiments.comparison import Comparison
    from fieldstone.economy.experiments.scenario_file import ScenarioFile
    from fieldstone.economy.experiments.studies import Progress, Study


def command(
    scenario: Annotated[
        str, typer.Argument(metavar="[SCENARIO]", help="A scenario file, or the name of one of --list.")
    ] = "",
    against: Annotated[
        str, typer.Option(metavar="SCENARIO", help="Compare with another one, under the same random numbers.")
    ] = "",
    runs: Annotated[int | None, typer.Option(help="Runs; default: the scenario's.", show_default=False)] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed; the same seed gives the same bytes. Default: the scenario's.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for report.html, summary.json, runs.parquet. Default: simulation-NAME; none with --json.",
            show_default=False,
        ),
    ] = None,
    from_network: Annotated[
        str, typer.Option(metavar="DIR|URL", help="Take what can be known from a network's sealed epochs.")
    ] = "",
    epochs: Annotated[
        int, typer.Option(help="How many of the newest epochs, with --from-network.", min=1, max=10_000)
    ] = 30,
    stress: Annotated[bool, typer.Option(help="Run the stress pack and the heat map.")] = True,
    sensitivity: Annotated[bool, typer.Option(help="Find out which inputs decide.")] = True,
    backtest: Annotated[
        bool, typer.Option("--backtest", help="Show how the model did on public series; alone or with a scenario.")
    ] = False,
    list_scenarios: Annotated[bool, typer.Option("--list", help="List the packaged scenarios.")] = False,
    write: Annotated[str, typer.Option(metavar="NAME", help="Print a packaged scenario, to be edited.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print summary.json.")] = False,
) -> None:
    """Simulate a network's economy: Monte Carlo, stress, sensitivity, A/B; one offline HTML report.

    `fieldstone simulate --list`, `fieldstone simulate starter`, `fieldstone simulate mine.toml --against starter`,
    `fieldstone simulate --from-network .`
    """
    import json

    from fieldstone.economy.experiments.scenario_file import load, packaged, packaged_text
    from fieldstone.errors import UsageError

    if list_scenarios:
        known = packaged()
        typer.echo(json.dumps(known, indent=1) if as_json else "\n".join(f"{n:18} {s}" for n, s in known.items()))
        return
    if write:
        typer.echo(packaged_text(write), nl=False)
        return
    scores = _scores() if backtest else ()
    if backtest and not scenario and not from_network:
        _show_scores(scores, as_json)
        return
    if not scenario and not from_network:
        raise UsageError("name a scenario file or one of `fieldstone simulate --list`, or --from-network DIR")
    from fieldstone.economy.experiments.comparison import check_comparable, compare
    from fieldstone.economy.experiments.studies import check_size, study

    file = load(scenario or "starter")
    other = load(against) if against else None
    calibration: Calibration | None = None
    if from_network:
        file, calibration = _calibrated(file, from_network, epochs)
    runs, seed = file.runs if runs is None else runs, file.seed if seed is None else seed
    if not 0 <= seed < 2**63:
        raise UsageError(f"--seed must lie between 0 and 2⁶³, not {seed}")
    for one in (file, other):
        if one:
            check_size(one.scenario, runs)
    if other:
        check_comparable(file.scenario, other.scenario)
    _warn_without_numba()
    with _Bar() as bar:
        found = study(
            file, runs=runs, seed=seed, with_stress=stress, with_sensitivity=sensitivity, progress=bar.part(file)
        )
        comparison: Comparison | None = None
        if other:
            second = study(
                other, runs=runs, seed=seed, with_stress=False, with_sensitivity=False, progress=bar.part(other)
            )
            comparison = compare(found, second)
    from fieldstone.economy.experiments.report import write as write_report
    from fieldstone.economy.experiments.summary import document, to_json

    if out is None and not as_json:
        out = Path(f"simulation-{''.join(c if c.isalnum() or c in '-_' else '-' for c in file.scenario.name)}")
    parts: dict[str, Any] = {"against": comparison, "calibration": calibration, "backtest": scores}
    written = write_report(out, found, **parts) if out else []
    if as_json:
        typer.echo(to_json(document(found, **parts)), nl=False)
        return
    _show(found, comparison, calibration)
    if scores:
        typer.echo("")
        _show_scores(scores, False)
    typer.echo("\n" + "\n".join(str(path) for path in written))


def _calibrated(file: ScenarioFile, at: str, newest: int) -> tuple[ScenarioFile, Calibration]:
    from fieldstone.cli.sealed import open_store
    from fieldstone.economy.experiments.calibrate import calibrated

    store = open_store(at, None)
    numbers = store.epochs()[-newest:]
    return calibrated(file, [store.sealed(number) for number in numbers])


def _warn_without_numba() -> None:
    from importlib.util import find_spec

    if find_spec("numba") is None:
        typer.echo(
            "numba is not installed, so this runs some 100 times slower; `pip install 'fieldstone[sim]'` brings it",
            err=True,
        )


def _scores() -> tuple[Score, ...]:
    from fieldstone.economy.backtest import run

    return run()


def _show_scores(scores: tuple[Score, ...], as_json: bool) -> None:
    from fieldstone.charts import number_text
    from fieldstone.economy.experiments.summary import to_json

    if as_json:
        typer.echo(to_json({"backtest": [one.as_dict() for one in scores]}), nl=False)
        return
    typer.echo(
        f"{'back-test':40}{'known':>7}{'held out':>10}{'error':>10}{'no change':>11}{'direction':>11}{'in band':>9}"
    )
    for one in scores:
        values = (one.mape, one.persistence_mape, one.direction, one.coverage)
        shown = ["–" if value is None else number_text(round(value, 9), "%") for value in values]
        typer.echo(
            f"{one.name:40}{one.known:>7}{one.held_out:>10}{shown[0]:>10}{shown[1]:>11}{shown[2]:>11}{shown[3]:>9}"
            f"  {sum(one.meets.values())} of {len(one.meets)} bars met"
        )


def _show(study: Study, comparison: Comparison | None, calibration: Calibration | None) -> None:
    from fieldstone.charts import number_text
    from fieldstone.economy.experiments.outcomes import OUTCOMES, quantiles
    from fieldstone.economy.experiments.report import words

    typer.echo(
        f"{study.scenario.name}: {study.runs:,} runs of {study.scenario.months} months, seed {study.seed}, "
        f"scenario {study.file.config_hash[:12]}\n"
    )
    if calibration:
        typer.echo(f"from {calibration.title} ({calibration.days:.1f} days):")
        for row in calibration.measured:
            typer.echo(f"  {row.name:28} {row.shown:>12}  {row.meaning}")
        for text in calibration.warnings:
            typer.echo(f"  mind: {text}")
        typer.echo("  assumed:\n" + "\n".join(f"    - {text}" for text in calibration.assumed) + "\n")
    views = (("as given", study.main), ("utility only", study.utility), (_other(study), study.other_model))
    typer.echo(f"{'':66}" + "".join(f"{name:>24}" for name, _ in views))
    spans = [f"{view.collapse.value:.1%} ({view.collapse.low:.1%}–{view.collapse.high:.1%})" for _, view in views]
    typer.echo(f"{'collapse probability (95 %)':66}" + "".join(f"{span:>24}" for span in spans))
    for name, one in OUTCOMES.items():
        unit = one.unit if one.unit in ("%", "$", "months") else ""
        cells = [number_text(quantiles(view.outcomes[name], (0.5,))[0], unit) for _, view in views]
        typer.echo(f"{one.meaning:66}" + "".join(f"{cell:>24}" for cell in cells))
    pays = (study.paybacks, study.utility_paybacks)
    cells = [" / ".join(words.months(v).removesuffix(" months") for v in p.quantiles((0.25, 0.5, 0.75))) for p in pays]
    typer.echo(f"{'payback of a device, months: p25 / p50 / p75':66}" + "".join(f"{cell:>24}" for cell in cells))
    where, remark = words.tipping(study)
    typer.echo(f"\ntipping point: {where}: {remark}\n")
    for sentence in words.sentences(study):
        typer.echo(f"- {sentence}")
    if study.stresses:
        typer.echo(f"\n{'stress':66}{'collapse (95 %)':>24}{'utility only':>14}{'devices':>10}{'runway':>12}")
        if study.stress_base:
            down, bare = study.stress_base
            span = f"{down.value:.1%} ({down.low:.1%}–{down.high:.1%})"
            typer.echo(f"{'nothing happens':66}{span:>24}{words.percent(bare):>14}")
        for stress in study.stresses:
            if stress.collapse is None:
                typer.echo(f"{stress.stress.title:66}not run: {stress.why}")
                continue
            down = stress.collapse
            span = f"{down.value:.1%} ({down.low:.1%}–{down.high:.1%})"
            change = "" if stress.devices_change is None else f"{stress.devices_change:+.0%}"
            typer.echo(
                f"{stress.stress.title:66}{span:>24}{words.percent(stress.utility_collapse):>14}{change:>10}"
                f"{words.months(stress.runway_months):>12}"
            )
    if comparison:
        typer.echo(f"\nA {comparison.a.scenario.name} against B {comparison.b.scenario.name}, run by run:")
        typer.echo(f"{'':66}{'A':>12}{'B':>12}{'B − A':>12}{'B better in':>14}")
        a, b = comparison.a.main.collapse, comparison.b.main.collapse
        typer.echo(f"{'collapse probability':66}{a.value:>12.1%}{b.value:>12.1%}{b.value - a.value:>+12.1%}")
        for line in comparison.rows:
            unit = OUTCOMES[line.name].unit
            unit = unit if unit in ("%", "$", "months") else ""
            numbers = [number_text(value, unit) for value in (line.a, line.b, line.middle)]
            better = words.percent(line.better) if line.better else ""
            typer.echo(f"{OUTCOMES[line.name].meaning:66}" + "".join(f"{n:>12}" for n in numbers) + f"{better:>14}")


def _other(study: Study) -> str:
    return f"{study.other_model.result.scenario.price.model} price"


class _Bar:
    """A progress bar on stderr over the runs of one or two studies; silent where stderr is no terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} runs"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def part(self, file: ScenarioFile) -> Progress:
        task = self._bar.add_task(file.scenario.name, total=1)

        def report(done: int, every: int, what: str) -> None:
            self._bar.update(task, completed=done, total=every, description=f"{file.scenario.name}: {what}")

        return report
