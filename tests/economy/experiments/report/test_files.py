"""The report's files: the same bytes every time, in this process and in another one."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from fieldstone.economy.experiments import ScenarioFile, Study, compare, document, file_of, page, study, write
from fieldstone.economy.experiments.summary import to_json
from fieldstone.economy.flywheel import Scenario
from fieldstone.errors import EnvironmentProblem, UsageError
from tests.economy.experiments.conftest import SMALL
from tests.economy.flywheel.scenarios import scenarios


def hashes(paths: list[Path]) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_a_second_run_gives_the_same_bytes(tmp_path: Path, file: ScenarioFile) -> None:
    """One thread and two, this process and a fresh one with another hash seed."""
    first = hashes(write(tmp_path / "a", study(file, samples=4, threads=1)))
    again = study(file, samples=4, threads=2)
    assert hashes(write(tmp_path / "b", again)) == first
    code = (
        "import sys; from pathlib import Path\n"
        "from fieldstone.economy.experiments import load, study, write\n"
        f"write(Path(sys.argv[1]), study(load({str(SMALL)!r}), samples=4))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "c")], check=True, env=environment, timeout=120)
    assert hashes(sorted((tmp_path / "c").iterdir())) == dict(sorted(first.items()))
    other = hashes(write(tmp_path / "d", study(file, seed=8, samples=4)))
    assert all(other[name] != first[name] for name in first)


class _Reader(HTMLParser):
    """Collects the texts of headings and captions."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {"h2": [], "figcaption": []}
        self._in = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self.texts:
            self._in = tag
            self.texts[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._in = "" if tag == self._in else self._in

    def handle_data(self, data: str) -> None:
        if self._in:
            self.texts[self._in][-1] += data


def test_the_page_is_offline_and_every_figure_can_be_had_again(tmp_path: Path, small: Study) -> None:
    html, *_ = write(tmp_path, small, against=compare(small, small))
    text = html.read_text(encoding="utf-8")
    assert "<script" not in text
    assert not re.search(r"""(?:src|href)=["']?(?!#)[a-z]*:?//""", text)
    reader = _Reader()
    reader.feed(text)
    titles, captions = reader.texts["h2"], reader.texts["figcaption"]
    assert {"In short", "How it may go", "What is minted and burned", "What operators get", "Signs of collapse"} <= set(
        titles
    )
    assert len(captions) >= 12
    assert [caption for caption in captions if small.file.config_hash[:12] not in caption] == []
    # without a seed: those that are computed, not drawn
    assert sum("Seed 7" in caption for caption in captions) >= len(captions) - 3


def test_names_cannot_write_markup(tmp_path: Path, file: ScenarioFile) -> None:
    from dataclasses import replace

    evil = replace(
        file, scenario=replace(file.scenario, name="<script>alert(1)</script>"), summary="<img src=x onerror=y>"
    )
    html, *_ = write(tmp_path, study(evil, runs=3, with_stress=False, with_sensitivity=False))
    text = html.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "<img" not in text


def test_a_folder_that_cannot_be_written(tmp_path: Path, small: Study) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        write(tmp_path / "taken", small)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scenarios(months=14))
def test_any_valid_scenario_gives_a_report(scenario: Scenario) -> None:
    """Scenarios far from any real one: nothing to sell, a price of nothing, no devices, every policy and shock."""
    try:
        found = study(file_of(scenario), runs=3, samples=2)
    except UsageError as error:
        assert "no fleet" in str(error) or "changes nothing" in str(error)
        return
    assert "</html>" in page(found).html()
    assert json.loads(to_json(document(found)))["runs"] == 3
