"""`fieldstone epoch` on a network that ran: every verb through a real process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fieldstone.journal import EntryKind
from tests.node.conftest import Network


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    # the rule is wrong on purpose: station 2 measures up to 64 %, and the network believes nothing above 61.5 %
    wrong = '[services.sensing.params."models.generic.variables.humidity_pct"]\nhigh = 61.5\n'
    network = Network(tmp_path_factory.mktemp("epochs"), settlement=wrong)
    for _ in range(2):
        network.hours()
        network.live.close_epoch()
    yield network
    network.close()


def fieldstone(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "fieldstone", *words], capture_output=True, text=True, timeout=120)


def test_show_list_and_explain(served: Network) -> None:
    at = str(served.folder)
    rows = json.loads(fieldstone("epoch", "list", "--at", at, "--json").stdout)
    assert [row["epoch"] for row in rows] == [1, 2]
    shown = json.loads(fieldstone("epoch", "show", "2", "--at", served.url, "--json").stdout)
    assert shown["manifest"]["root"] == rows[1]["root"]
    device = served.keys[1].public.device_id
    text = fieldstone("epoch", "explain", "2", "--device", device[-10:], "--at", at)
    assert text.returncode == 0 and "added to the operator's balance" in text.stdout
    lines = json.loads(fieldstone("epoch", "explain", "2", "--device", device, "--at", at, "--json").stdout)
    total = next(s for s in shown["statements"] if s["device"] == device)["total_base"]
    assert str(lines[-1]["exact"]) == total


def test_replay_from_folder_and_from_url(served: Network) -> None:
    for at in (str(served.folder), served.url):
        done = fieldstone("epoch", "replay", "2", "--at", at, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["agrees"] is True


def test_diff_tells_epochs_apart_by_exit_code(served: Network) -> None:
    at = str(served.folder)
    assert fieldstone("epoch", "diff", "1", "1", "--at", at).returncode == 0
    assert fieldstone("epoch", "diff", "1", "2", "--at", at).returncode in (0, 1)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["epoch", "show", "99"], "not sealed"),
        (["epoch", "explain", "1", "--device", "nobody"], "no device"),
        (["epoch", "explain", "1", "--device", ""], "devices end with it"),
        (["epoch", "make-good", "1", "--cause", "x", "--corrected", "/nonexistent.toml"], "cannot be read"),
    ],
)
def test_mistakes_are_explained_without_a_traceback(served: Network, words: list[str], says: str) -> None:
    done = fieldstone(*words, "--at", str(served.folder))
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr


def test_make_good_shows_first_and_pays_on_yes(served: Network, tmp_path: Path) -> None:
    """The corrected rule believes station 2, which is owed what the wrong one cost it."""
    corrected = tmp_path / "corrected.toml"
    corrected.write_text("[sensing]\n")
    at = str(served.folder)
    nothing = fieldstone("epoch", "make-good", "1", "--cause", "test", "--corrected", str(corrected), "--at", at)
    assert nothing.returncode == 0 and "Nothing is owed" in nothing.stderr
    corrected.write_text('[sensing."models.generic.variables.humidity_pct"]\nhigh = 100.0\n')
    head = served.live.node.journal.head
    looked = fieldstone(
        "epoch", "make-good", "1", "--cause", "test", "--corrected", str(corrected), "--at", at, "--json"
    )
    assert looked.returncode == 0, looked.stderr
    assert served.live.node.journal.head == head
    rows = {row["device"]: int(row["amount_base"]) for row in json.loads(looked.stdout)}
    assert list(rows) == [served.keys[2].public.device_id] and min(rows.values()) > 0
    paid = fieldstone(
        "epoch", "make-good", "1", "--cause", "limit was wrong", "--corrected", str(corrected), "--at", at, "--yes"
    )
    assert paid.returncode == 0, paid.stderr
    corrections = list(served.live.node.journal.read(head + 1, None, (EntryKind.CORRECTION,)))
    lines = json.loads(corrections[0].body)["rows"]
    assert {line["device"]: int(line["amount_base"]) for line in lines} == {d: a for d, a in rows.items() if a > 0}
