"""`fieldstone assess` from outside: shipped names, files, exit codes, a new case by script and by questions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fieldstone.cli import main

Run = Callable[..., tuple[int, str, str]]
ON = ("--on", "2026-11-22")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> tuple[int, str, str]:
        try:
            main([str(word) for word in words])
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_a_shipped_case_by_name(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("assess", "helium", *ON)
    assert code == 0 and out.startswith("Helium (wireless), on 2026-11-22: Red")
    html = tmp_path / "r.html"
    code, out, err = run("assess", "Helium", *ON, "--html", html, "--json")
    assert code == 0 and json.loads(out)["verdict"]["band"] == "red"
    assert html.read_text().startswith("<!doctype html>") and "wrote" in err
    code, out, _ = run("assess", "helium", "--memo", *ON)
    assert code == 0 and out.startswith("# Helium")


def test_cases_and_metrics_and_schema_are_listed(run: Run) -> None:
    code, out, _ = run("assess", "cases", "--json")
    assert code == 0 and {row["case"] for row in json.loads(out)} >= {
        "helium",
        "filecoin",
        "arweave",
        "render",
        "akash",
    }
    code, out, _ = run("assess", "metrics")
    assert code == 0 and "payers.external_share" in out
    code, out, _ = run("assess", "schema")
    assert code == 0 and json.loads(out)["title"] == "Assessment of a network"


def test_compare(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("assess", "compare", "helium", "filecoin", *ON, "--html", tmp_path / "c.html")
    assert code == 0 and "Filecoin" in out and (tmp_path / "c.html").exists()
    assert run("assess", "compare", "helium")[0] == 2


@pytest.mark.parametrize(
    "words",
    [
        ("nosuch",),
        ("missing.toml",),
        ("--memo",),
        ("helium", "--memo", "--json"),
        ("helium", "--on", "yesterday"),
        ("helium", "--framework", "missing.toml"),
        ("new", "x.toml", "--name", "X", "--claim", "revenue.total=5"),
        ("new", "x.toml", "--name", "X", "--claim", "nosuch=5 USD @2025 C S"),
        ("new", "x.toml", "--name", "X", "--claim", "revenue.total=5 USD @2025 C S"),
        ("new", "x.toml", "--name", "X", "--service", "dreams"),
        ("new", "x.toml", "--claim", "users=5 people @2025 C S"),
    ],
)
def test_wrong_usage_is_exit_2_with_a_sentence(run: Run, words: tuple[str, ...], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run("assess", *words)
    assert code == 2 and out == "" and err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_in_a_case_names_its_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text('schema = 1\n[network]\nname = "N"\nservice = "dreams"\n')
    code, _, err = run("assess", tmp_path / "x.toml")
    assert code == 2 and "x.toml:4: network.service" in err


def test_other_weights(run: Run, tmp_path: Path) -> None:
    from importlib import resources

    text = (resources.files("fieldstone.assess") / "data" / "questions.toml").read_text()
    (tmp_path / "q.toml").write_text(text.replace('id = "1"\nweight = 14', 'id = "1"\nweight = 0'))
    code, out, _ = run("assess", "helium", *ON, "--json", "--framework", tmp_path / "q.toml")
    assert code == 0 and json.loads(out)["scores"]["coverage"] == pytest.approx(37 / 86)


def test_a_new_case_from_a_script(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    claims = (
        'revenue.total=852000 USD/quarter @2025-Q3 C "State of Akash"',
        "control.unlimited_mint=true @2025 B audit",
    )
    words = [word for one in claims for word in ("--claim", one)]
    code, _, err = run("assess", "new", file, "--name", 'My "net"', "--service", "compute", *words, *ON)
    assert code == 0 and "fieldstone assess" in err
    code, out, _ = run("assess", file, "--json", *ON)
    told = json.loads(out)
    assert told["verdict"]["band"] == "red" and told["network"]["name"] == 'My "net"'
    assert len(told["claims"]) == 2 and len(told["missing"]) == 12
    assert run("assess", "new", file, "--name", "N")[0] == 2, "an existing file is kept"


def test_a_new_case_asks_its_way(tmp_path: Path) -> None:
    from datetime import date

    from fieldstone.assess.ask import interview
    from fieldstone.assess.case import parse_case

    answers = {
        "Name of the network": ["", "Asked"],
        "Service": ["magic", "energy"],
        "Token": ["WATT"],
        "Are there operators": ["maybe", "yes"],
        "  payers.external_share": ["ninety", "90"],
        "    unit": ["shares", "%"],
        "    period": ["soon", "2026-Q3"],
        "    source": ["", "Audit 2026"],
        "    grade": ["X", "b"],
        "    what is in": ["all payers"],
    }
    said: list[str] = []

    def ask(question: str, default: str) -> str:
        for start, given in answers.items():
            if question.startswith(start) and given:
                return given.pop(0)
        return default

    text = interview(ask, said.append, date(2026, 11, 22))
    read = parse_case(text)
    (one,) = read.claims
    assert (read.network.name, read.network.service, read.network.token) == ("Asked", "energy", "WATT")
    assert (one.metric, one.value, one.grade, one.scope, one.source.title) == (
        "payers.external_share",
        0.9,
        "B",
        "all payers",
        "Audit 2026",
    )
    assert sum("not usable" in line for line in said) == 8
    assert not any(given for given in answers.values())


def test_a_network_in_a_folder(run: Run, tmp_path: Path) -> None:
    from tests.epoch.conftest import SmallNetwork

    code, _, err = run("assess", "--network", tmp_path)
    assert code == 2 and "no sealed epochs" in err
    network = SmallNetwork(tmp_path)
    network.run_hours(5)
    network.pay(0, 5_000_000)
    network.run_hours(1)
    network.close()
    network.journal.close()
    code, out, _ = run("assess", "--network", tmp_path, "--json", *ON)
    assert code == 0
    told = json.loads(out)
    assert {claim["grade"] for claim in told["claims"]} == {"A"}
    assert told["network"]["name"] == "test"
