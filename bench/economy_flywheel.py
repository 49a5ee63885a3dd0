"""The flywheel beside radCAD, cadCAD and Mesa, same model in the same run: `python bench/economy_flywheel.py`.

Peers live in an environment of their own, named by FIELDSTONE_PEERS (its python; radcad==0.14.0, cadCAD==0.5.3,
Mesa==3.3.1 from PyPI). Without it only Fieldstone's figures are printed. CPU seconds of all threads, so that a busy machine changes
little; wall seconds beside them where two cores are the point.

Flywheel: 8 cohorts with different lead times, 2 segments, 120 months, all noise on. The peers run the model as one
state variable and one update function around `flywheel.reference.step` (their cheapest form: each further variable
costs them more), draw from Python's `random` (cheaper there than Philox in Python), and keep the same series.
Agents: 10,000 operators with own costs; per step each active one books its income less its costs and leaves after
`patience` steps of loss, and each inactive one joins when the return over the horizon passes its hurdle.
"""

from __future__ import annotations

import copy
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fieldstone.economy.flywheel import Cohort, Emission, Scenario, Segment
from fieldstone.economy.flywheel.inputs import by_step, tables
from fieldstone.economy.flywheel.operators import Operators, draw_operators
from fieldstone.economy.flywheel.reference import step
from fieldstone.economy.flywheel.state import start

SCENARIO = Scenario(
    months=120,
    cohorts=tuple(
        Cohort(
            name=f"cohort {k}",
            initial_devices=20.0,
            potential_devices=2_000.0,
            lead_months=float(k % 4),
            hurdle=0.1 * k,
        )
        for k in range(8)
    ),
    segments=(Segment(name="elastic", noise_year=0.2), Segment(name="logit", form="logit", noise_year=0.2)),
    emission=Emission(tokens_month=20_000.0, data_share=0.3),
)
AGENTS, AGENT_STEPS = 10_000, 60
INCOME = np.linspace(60_000.0, 200_000.0, AGENT_STEPS)
PEER_RUNS = 20


def cpu(work: Callable[[], Any]) -> float:
    """Return the CPU seconds of all threads and waited-for children that `work` takes."""
    begin = os.times()
    work()
    end = os.times()
    return sum(end[:4]) - sum(begin[:4])


def operators() -> Operators:
    return draw_operators(AGENTS, capex_usd=500, opex_usd=5, hurdle=0.3, patience=3)


def radcad(deepcopy: bool) -> float:
    """Return run-steps per CPU second."""
    from radcad import Backend, Engine, Experiment, Model, Simulation

    rows = by_step(tables(SCENARIO))

    def advance(params: Any, substep: Any, history: Any, before: Any, inputs: Any) -> tuple[str, Any]:
        state = before["economy"][0]
        state = copy.deepcopy(state) if not deepcopy else state
        t = before["timestep"]
        return "economy", (state, step(SCENARIO, rows[t], state, t, 0, 0))

    model = Model(
        initial_state={"economy": (start(SCENARIO), None)},
        state_update_blocks=[{"policies": {}, "variables": {"economy": advance}}],
        params={},
    )
    simulation = Simulation(model=model, timesteps=SCENARIO.steps, runs=PEER_RUNS)
    experiment = Experiment([simulation])
    experiment.engine = Engine(backend=Backend.SINGLE_PROCESS, deepcopy=deepcopy, drop_substeps=True)
    return PEER_RUNS * SCENARIO.steps / cpu(experiment.run)


def cadcad() -> float:
    from cadCAD.configuration import Experiment
    from cadCAD.configuration.utils import config_sim
    from cadCAD.engine import ExecutionContext, ExecutionMode, Executor

    rows = by_step(tables(SCENARIO))

    def advance(params: Any, substep: Any, history: Any, before: Any, inputs: Any, **rest: Any) -> tuple[str, Any]:
        state, t = copy.deepcopy(before["economy"][0]), before["timestep"]
        return "economy", (state, step(SCENARIO, rows[t], state, t, 0, 0))

    experiment = Experiment()
    experiment.append_model(
        model_id="flywheel",
        sim_configs=config_sim({"N": PEER_RUNS, "T": range(SCENARIO.steps), "M": {"nothing": [0]}}),
        initial_state={"economy": (start(SCENARIO), None)},
        partial_state_update_blocks=[{"policies": {}, "variables": {"economy": advance}}],
    )
    context = ExecutionContext(ExecutionMode().local_mode)
    return PEER_RUNS * SCENARIO.steps / cpu(lambda: Executor(context, experiment.configs).execute())


def mesa(shuffled: bool) -> float:
    """Return steps per CPU second of 10,000 agents."""
    import mesa as framework

    drawn = operators()

    class Owner(framework.Agent):  # type: ignore[misc]
        def __init__(self, model: Any, i: int) -> None:
            super().__init__(model)
            self.weight, self.opex = float(drawn.weight[i]), float(drawn.opex_usd[i])
            self.entry = ((1 + float(drawn.hurdle[i])) * float(drawn.capex_usd[i]) / 24 + self.opex) / self.weight
            self.patience, self.active, self.losses, self.earned = int(drawn.patience[i]), i < 500, 0, 0.0

        def step(self) -> None:
            rate = self.model.rate
            if self.active:
                margin = self.weight * rate - self.opex
                self.earned += margin
                self.losses = self.losses + 1 if margin < 0 else 0
                if self.losses > self.patience:
                    self.active = False
            elif rate >= self.entry:
                self.active = True

    class Network(framework.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(seed=1)
            for i in range(AGENTS):
                Owner(self, i)
            self.rate, self.t = 0.0, 0

        def step(self) -> None:
            self.rate = INCOME[self.t] / sum(agent.weight for agent in self.agents if agent.active)
            self.t += 1
            (self.agents.shuffle_do if shuffled else self.agents.do)("step")

    network = Network()

    def run() -> None:
        for _ in range(AGENT_STEPS):
            network.step()

    return AGENT_STEPS / cpu(run)


PEERS: dict[str, Callable[[], float]] = {
    "cadCAD, one process": cadcad,
    "radCAD, deep copies (default)": lambda: radcad(True),
    "radCAD, copies by hand": lambda: radcad(False),
    "Mesa shuffle_do": lambda: mesa(True),
    "Mesa do": lambda: mesa(False),
}


def as_peer(name: str) -> None:
    """Run one peer (in the peers' environment) and print its figure as the last line."""
    from fieldstone.economy.flywheel import draws

    rng = random.Random(1)
    draws.normal = lambda *address: rng.gauss(0, 1)  # type: ignore[assignment]
    draws.uniform = lambda *address: rng.random()  # type: ignore[assignment]
    print("\n" + json.dumps(PEERS[name]()))


def ask(python: str, name: str) -> float | None:
    source = str(Path(__file__).parent.parent / "src")
    done = subprocess.run(
        [python, __file__, "--peer", name], env={**os.environ, "PYTHONPATH": source}, capture_output=True, text=True
    )
    if done.returncode:
        print(f"{name}: {done.stderr.strip()[-300:]}", file=sys.stderr)
        return None
    return float(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Print three small tables."""
    from fieldstone.economy.flywheel import prepare, simulate
    from fieldstone.economy.flywheel.operators import crowd

    prepared = prepare(SCENARIO)
    begin = time.process_time()
    simulate(prepared, runs=1)
    print(f"first call (compilation, or its cache): {time.process_time() - begin:.1f} s CPU")
    runs = 4_000
    ours = min(cpu(lambda: simulate(prepared, runs=runs, seed=1)) for _ in range(3))
    plain = cpu(lambda: simulate(prepared, runs=PEER_RUNS, engine="reference"))
    drawn = operators()
    repeats = [INCOME] * 50
    crowd(drawn, INCOME, begin_active=500)
    agents = min(cpu(lambda: [crowd(drawn, row, begin_active=500) for row in repeats]) for _ in range(3))

    python = os.environ.get("FIELDSTONE_PEERS")
    figures = {name: ask(python, name) if python else None for name in PEERS}
    speed, agent_speed = runs * SCENARIO.steps / ours, AGENT_STEPS * len(repeats) / agents
    print("\nflywheel, 8 cohorts, all 29 series kept           run-steps per CPU second   Fieldstone is")
    rows = {"Fieldstone": speed, "Fieldstone, plain reference": PEER_RUNS * SCENARIO.steps / plain, **figures}
    for name, figure in rows.items():
        if "Mesa" not in name and figure:
            print(f"{name:48}  {figure:24,.0f}   {speed / figure:10,.0f} ×")
    print(f"\n{AGENTS:,} operators, join and exit rule                 steps per CPU second   Fieldstone is")
    for name, figure in {"Fieldstone": agent_speed, **figures}.items():
        if figure and (name == "Fieldstone" or "Mesa" in name):
            print(f"{name:48}  {figure:24,.0f}   {agent_speed / figure:10,.0f} ×")

    print("\n10,000 runs × 10 years                               CPU seconds   wall seconds")
    for label, record in (
        ("all series kept", None),
        ("four series kept", ("devices", "price_usd", "burn", "emission")),
    ):
        given = {} if record is None else {"record": record}
        best = (1e9, 1e9)
        for _ in range(3):
            wall = time.perf_counter()
            spent = cpu(lambda given=given: simulate(prepared, runs=10_000, seed=2, **given))  # type: ignore[misc]
            best = min(best, (spent, time.perf_counter() - wall))
        print(f"{label:48}  {best[0]:14.2f}   {best[1]:12.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        as_peer(sys.argv[2])
    else:
        main()
