"""`fieldstone storage report` as a user runs it: made from a gateway's folder, rechecked by somebody who has only epochs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from fieldstone.cli import main
from fieldstone.identity.keys import DeviceKey
from fieldstone.journal.manifest import file_info, read_manifest, write_manifest
from fieldstone.services.storage.customer_report import peek, sign
from fieldstone.services.storage.lab_world import World
from tests.services.storage import sealed_object
from tests.services.storage.sealed_object import FRESH, SEGMENT, SIZE


@dataclass
class Said:
    code: int
    out: str
    err: str


@dataclass
class Place:
    """A gateway's folder and a folder of sealed epochs."""

    gateway: Path
    epochs: Path
    key: DeviceKey
    dropper: str
    played: World


Run = Callable[..., Said]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("report")
    played, made = sealed_object.world()
    epochs = sealed_object.seal(played, folder / "sealed")
    gateway = sealed_object.gateway_folder(played, made, folder / "gateway")
    return Place(gateway, epochs, played.gateway, played.providers[5].device, played)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.delenv("FIELDSTONE_NODE", raising=False)

    def call(*words: object) -> Said:
        try:
            main(["storage", "report", *map(str, words)])
            code: object = 0
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        return Said(int(code or 0), said.out, said.err)  # type: ignore[call-overload]

    return call


def made(run: Run, place: Place, name: str, *words: object) -> dict:
    said = run(name, "--dir", place.gateway, "--epochs", place.epochs, "--json", *words)
    assert said.code == 0, said.err
    return json.loads(said.out)


def test_a_report_tells_holders_proofs_scores_safety_and_money(run: Run, place: Place) -> None:
    body = made(run, place, "photos/holiday/1.jpg")
    assert (body["state"], body["report"]["margin"], body["report"]["stored_bytes"]) == ("retained", 1, 6 * 16_384)
    [segment] = body["report"]["segments"]
    assert (segment["segment"], segment["k"], segment["n"], segment["alive"]) == (SEGMENT.hex(), 4, 6, 5)
    dropped = next(share for share in segment["shares"] if share["device"] == place.dropper)
    assert not dropped["alive"] and dropped["last_proof_ms"] is None
    scores = {device: holder["scores_ppm"]["audit"] for device, holder in body["holders"].items()}
    assert len(scores) == 6 and min(scores, key=lambda device: scores[device]) == place.dropper
    assert body["holders"][place.dropper]["standing"] == "suspended"
    assert body["report"]["p_loss_1y_independent"] == pytest.approx(5.41068e-6, rel=1e-4)  # 4 of 5, repaired
    assert 0 < body["report"]["p_loss_1y_correlated_high"] < 0.02 and "seed 1" in body["report"]["model"]["correlated"]
    # the epoch's own price, $1,000: 5 shares of 16 KiB proven for 5.5 hours, 6 in the thirty days to come
    assert body["epoch"]["storage_micro_usd_per_gib_month"] == 1_000_000_000
    assert body["report"]["spent_micro_usd"] == int(5 * 16 * 5.5 * 3_600 * 10**9 / (2**20 * 2_592_000))
    assert body["report"]["ahead_micro_usd_30_days"] == -(-6 * 16_384 * 10**9 // 2**30)
    [books] = body["gateway_says"]["segments"]
    assert (books["uses"], books["not_leased"], books["shares"]) == (2, 0, {"held": 6})


def test_for_people_it_is_a_table(run: Run, place: Place) -> None:
    said = run("photos/holiday/1.jpg", "--dir", place.gateway, "--epochs", place.epochs)
    assert said.code == 0
    assert "photos/holiday/1.jpg: retained" in said.out
    assert "seed 1" in said.out and "if operators and regions fail together" in said.out
    assert said.out.count("100 %") >= 5 and "suspended" in said.out and "NO" in said.out


def test_for_people_what_is_not_listed_yet_is_not_called_lost(run: Run, place: Place) -> None:
    said = run("photos/fresh.jpg", "--dir", place.gateway, "--epochs", place.epochs)
    assert said.code == 0 and "not known yet" in said.out and "6 not leased yet" in said.out
    assert "100 %" not in said.out


def test_over_http_the_same_report_comes(run: Run, place: Place) -> None:
    with sealed_object.node(place.epochs) as url:
        said = run("photos/holiday/1.jpg", "--dir", place.gateway, "--network", url, "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out) == made(run, place, "photos/holiday/1.jpg")


def permanent(place: Place, folder: Path, **fund: int) -> Path:
    """Seal the epoch as it is when the object is permanent and a fund was bought."""
    stated = {"paid_in": 60_000_000, "drawn": 1_000, "stored_bytes": 6 * 16_384, **fund}
    return sealed_object.seal(place.played, folder, more=sealed_object.paid_once(place.played, **stated))


def test_a_permanent_object_tells_what_pays_for_it_and_how_long(run: Run, place: Place, tmp_path: Path) -> None:
    assert made(run, place, "photos/holiday/1.jpg")["permanence"] is None
    epochs, file = permanent(place, tmp_path / "sealed"), tmp_path / "1.report"
    words = ("photos/holiday/1.jpg", "--dir", place.gateway, "--epochs", epochs)
    said = run(*words, "--json", "--out", file)
    assert said.code == 0, said.err
    found = json.loads(said.out)["permanence"]
    assert (found["covered_segments"], found["balance_micro_usd"], found["warnings"]) == (1, 59_999_000, [])
    assert found["yearly_micro_usd"] == -(-6 * 16_384 * 10**9 * 365 // (2**30 * 30))
    [fund] = found["funds"]
    assert (fund["paid_this_epoch_micro_usd"], fund["review"]["state"]) == (500, "covers")
    # 59.999 dollars at 1.1139 a year, and less when nothing gets cheaper or repair reads more
    assert fund["review"]["if_prices_fall"][0]["years"] == pytest.approx(53.86, abs=0.01)
    assert fund["review"]["worst"]["years"] <= fund["review"]["if_prices_fall"][0]["years"]
    people = run(*words).out
    assert "Paid once" in people and "for ever" in people and "0.5 times a year" in people
    assert run("--verify", file, "--epochs", epochs).code == 0
    with sealed_object.node(epochs) as url:
        assert run("--verify", file, "--network", url).code == 0
    body, _ = peek(file.read_bytes())
    body["permanence"]["funds"][0]["review"]["years"] = 1.0
    file.write_bytes(sign(place.key, body))
    said = run("--verify", file, "--epochs", epochs)
    assert said.code == 1 and "permanence.funds[0].review.years = 1.0" in said.err


def test_an_underfunded_permanent_object_is_warned_of_in_words(run: Run, place: Place, tmp_path: Path) -> None:
    def said(name: str, **fund: int) -> list[str]:
        epochs = permanent(place, tmp_path / name, **fund)
        out = run("photos/holiday/1.jpg", "--dir", place.gateway, "--epochs", epochs, "--json").out
        return json.loads(out)["permanence"]["warnings"]

    [short] = said("short", paid_in=5_000_000)
    assert "underfunded" in short and "it lasts 4.7 years" in short
    [excess] = said("excess", stored_bytes=16_384)
    assert "81,920 bytes of shares are kept as permanent, 16,384 were paid for" in excess
    empty, unfunded = said("empty", drawn=60_000_000)
    assert "is empty" in empty and "No fund pays for this object" in unfunded


@pytest.mark.parametrize(
    ("key", "state"), [("fresh.jpg", "unlisted"), ("note", "inline"), ("empty", "empty"), ("twice.jpg", "retained")]
)
def test_what_is_not_proven_is_not_called_retained(
    run: Run, place: Place, tmp_path: Path, key: str, state: str
) -> None:
    file = tmp_path / "it.report"
    body = made(run, place, f"photos/{key}", "--out", file)
    assert body["state"] == state
    if key == "fresh.jpg":
        [books] = body["gateway_says"]["segments"]
        assert (books["segment"], books["not_leased"]) == (FRESH.hex(), 6)
    assert run("--verify", file, "--epochs", place.epochs).code == 0


def test_a_signed_report_is_rechecked_from_the_sealed_epoch_alone(run: Run, place: Place, tmp_path: Path) -> None:
    file = tmp_path / "1.report"
    body = made(run, place, "photos/holiday/1.jpg", "--out", file)
    gateway = place.key.public.device_id
    said = run("--verify", file, "--epochs", place.epochs, "--gateway", gateway, "--json")
    assert (said.code, json.loads(said.out)) == (0, body)
    with sealed_object.node(place.epochs) as url:
        assert run("--verify", file, "--network", url).code == 0
    said = run("--verify", file, "--epochs", place.epochs, "--gateway", place.dropper)
    assert said.code == 1 and gateway in said.err


def test_holders_that_fell_silent_are_not_counted_as_within_reach(run: Run, place: Place, tmp_path: Path) -> None:
    """Two of five live holders answered nothing for four rounds: no share failed, but it can perhaps not be read."""
    assert made(run, place, "photos/holiday/1.jpg")["reachable"] == {SEGMENT.hex(): 5}
    epochs, file = tmp_path / "sealed", tmp_path / "1.report"
    shutil.copytree(place.epochs, epochs)
    path = epochs / "epoch=1" / "carry-storage-holdings.parquet"
    since = pl.when(pl.col("index").is_in([0, 1])).then(pl.col("proven_ms") - 4 * 1_800_000).otherwise("proven_ms")
    table = pl.read_parquet(path).with_columns(proven_ms=since)
    table.write_parquet(path)
    manifest = read_manifest(path.parent)
    manifest.files[path.name] = file_info(path, table.height)
    write_manifest(path.parent, manifest)
    said = run("photos/holiday/1.jpg", "--dir", place.gateway, "--epochs", epochs, "--json", "--out", file)
    body = json.loads(said.out)
    assert (said.code, body["state"], body["report"]["margin"], body["reachable"]) == (
        1,
        "silent",
        1,
        {SEGMENT.hex(): 3},
    )
    said = run("--verify", file, "--epochs", epochs)
    assert said.code == 1 and said.out.count("silent") >= 3 and "every figure is that of" in said.err


LIES = {
    "reachable": lambda body: body["reachable"].update({SEGMENT.hex(): 6}),
    "margin": lambda body: body["report"].update(margin=3),
    "share": lambda body: body["report"]["segments"][0]["shares"][5].update(alive=True),
    "score": lambda body: next(iter(body["holders"].values()))["scores_ppm"].update(audit=1),
    "state": lambda body: body.update(state="unproven"),
    "money": lambda body: body["report"].update(spent_micro_usd=1),
    "price": lambda body: body["epoch"].update(storage_micro_usd_per_gib_month=1),
    "manifest": lambda body: body["epoch"].update(manifest_sha256="0" * 64),
    "a smaller k": lambda body: body["facts"]["segments"][0].update(k=3),
    "a missing segment": lambda body: body["facts"].update(segments=[]),
    "another size": lambda body: body["facts"].update(size_bytes=SIZE + 1),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_that_the_gateway_signed_is_found(run: Run, place: Place, tmp_path: Path, lie: str) -> None:
    file = tmp_path / "1.report"
    made(run, place, "photos/holiday/1.jpg", "--out", file)
    body, _ = peek(file.read_bytes())
    LIES[lie](body)
    file.write_bytes(sign(place.key, body))
    said = run("--verify", file, "--epochs", place.epochs)
    assert said.code == 1 and "Traceback" not in said.err and said.err.startswith("error: the report of ")


def test_somebody_else_cannot_sign_for_the_gateway(run: Run, place: Place, tmp_path: Path) -> None:
    file = tmp_path / "1.report"
    made(run, place, "photos/holiday/1.jpg", "--out", file)
    body, _ = peek(file.read_bytes())
    file.write_bytes(sign(DeviceKey.generate(), body))
    assert "does not know as the gateway" in run("--verify", file, "--epochs", place.epochs).err
    changed = bytearray(sign(place.key, body))
    changed[200] ^= 1
    file.write_bytes(bytes(changed))
    said = run("--verify", file, "--epochs", place.epochs)
    assert said.code == 1 and "Traceback" not in said.err


@pytest.mark.parametrize(
    "change",
    [
        {"segments": [{"id": "00" * 16, "k": 1, "n": 10**9, "size_bytes": 1, "object_bytes": 1}]},
        {"segments": [{"id": "00" * 16, "k": 5, "n": 4, "size_bytes": 1, "object_bytes": 1}]},
        {"segments": [{"id": "../..", "k": 1, "n": 1, "size_bytes": 1, "object_bytes": 1}]},
        {"size_bytes": -1},
    ],
)
def test_hostile_facts_are_refused_before_anything_is_computed(
    run: Run, place: Place, tmp_path: Path, change: dict
) -> None:
    file = tmp_path / "1.report"
    made(run, place, "photos/holiday/1.jpg", "--out", file)
    body, _ = peek(file.read_bytes())
    body["facts"].update(change)
    file.write_bytes(sign(place.key, body))
    said = run("--verify", file, "--epochs", place.epochs)
    assert said.code == 1 and "BAD_PAYLOAD" in said.err


@pytest.mark.parametrize(
    "says",
    [
        None,
        [],
        {},
        {"segments": 5, "repair_micro_usd": 0},
        {"segments": [{}], "repair_micro_usd": 0},
        {"segments": [], "repair_micro_usd": "much"},
        {"segments": [], "repair_micro_usd": -1},
    ],
)
def test_a_word_of_the_gateway_that_cannot_be_read_is_refused(
    run: Run, place: Place, tmp_path: Path, says: object
) -> None:
    """Nothing of it can be worked out again, so its form is all there is to check."""
    file = tmp_path / "1.report"
    made(run, place, "photos/holiday/1.jpg", "--out", file)
    body, _ = peek(file.read_bytes())
    file.write_bytes(sign(place.key, {**body, "gateway_says": says}))
    said = run("--verify", file, "--epochs", place.epochs)
    assert said.code == 1 and "BAD_PAYLOAD" in said.err, said.err


def test_a_report_cannot_write_to_the_terminal_of_who_reads_it(run: Run, place: Place, tmp_path: Path) -> None:
    """A stranger's report names its object: escape sequences and new lines must arrive as what they are."""
    file = tmp_path / "1.report"
    made(run, place, "photos/holiday/1.jpg", "--out", file)
    body, _ = peek(file.read_bytes())
    name = "a: retained\x1b[2J\n\u202eevil\x9b"
    body["facts"]["name"] = body["report"]["name"] = name
    body["gateway_says"]["segments"][0]["placement_relaxed"] = "\x1b]0;title\x07"
    file.write_bytes(sign(place.key, body))
    said = run("--verify", file, "--epochs", place.epochs)
    assert said.code == 0, said.err
    for letter in "\x1b\x9b\x07\u202e":
        assert letter not in said.out + said.err
    assert "a: retained\\x1b[2J\\n\\u202eevil\\x9b: retained" in said.out


def test_what_is_no_file_is_not_read_for_ever(run: Run, place: Place, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for file in (pipe, Path("/dev/zero"), tmp_path):
        said = run("--verify", file, "--epochs", place.epochs)
        assert said.code == 2 and "cannot be read" in said.err, said.err


def test_a_database_that_is_none_is_named_and_none_is_made(run: Run, place: Place, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"this is no database " * 50)
    words = ("photos/note", "--dir", place.gateway, "--epochs", place.epochs, "--database")
    said = run(*words, garbage)
    assert said.code == 2 and "is no gateway's database" in said.err, said.err
    for missing in (tmp_path / "new.db", f"sqlite:///{tmp_path}/new.db"):
        said = run(*words, missing)
        assert said.code == 2 and "does not exist" in said.err, said.err
    assert not (tmp_path / "new.db").exists()
    folder = tmp_path / "gateway"
    shutil.copytree(place.gateway, folder)
    (folder / "gateway.db").write_bytes(garbage.read_bytes())
    said = run("photos/note", "--dir", folder, "--epochs", place.epochs)
    assert said.code == 2 and "is no gateway's database" in said.err, said.err


def test_a_name_that_is_no_text_is_refused(run: Run, place: Place) -> None:
    said = run("photos/\udcff", "--dir", place.gateway, "--epochs", place.epochs)
    assert said.code == 2 and "UTF-8" in said.err, said.err


def test_an_epoch_whose_files_were_changed_proves_nothing(run: Run, place: Place, tmp_path: Path) -> None:
    """Changed in place the hash differs; sealed anew it is another manifest than the one that the report names."""
    file, epochs = tmp_path / "1.report", tmp_path / "sealed"
    made(run, place, "photos/holiday/1.jpg", "--out", file)
    shutil.copytree(place.epochs, epochs)
    path = epochs / "epoch=1" / "carry-storage-holdings.parquet"
    table = pl.read_parquet(path)
    table.with_columns(paid_units=pl.col("paid_units") * 2).write_parquet(path)
    said = run("--verify", file, "--epochs", epochs)
    assert said.code == 1 and "not the file that the manifest names" in said.err
    manifest = read_manifest(path.parent)
    manifest.files[path.name] = file_info(path, table.height)
    write_manifest(path.parent, manifest)
    said = run("--verify", file, "--epochs", epochs)
    assert said.code == 1 and "manifest_sha256" in said.err


def test_fewer_live_shares_than_needed_end_with_1(run: Run, place: Place, tmp_path: Path) -> None:
    epochs = tmp_path / "sealed"
    shutil.copytree(place.epochs, epochs)
    path = epochs / "epoch=1" / "carry-storage-holdings.parquet"
    failed = pl.col("index").is_in([0, 1])
    table = pl.read_parquet(path).with_columns(failed_ms=pl.when(failed).then(2**50).otherwise("failed_ms"))
    table.write_parquet(path)
    manifest = read_manifest(path.parent)
    manifest.files[path.name] = file_info(path, table.height)
    write_manifest(path.parent, manifest)
    said = run("photos/holiday/1.jpg", "--dir", place.gateway, "--epochs", epochs, "--json")
    assert (said.code, json.loads(said.out)["state"]) == (1, "short")
    assert "fewer shares than are needed" in said.err


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        ((), 2, "--dir GATEWAY_DIR"),
        (("photos/x",), 2, "--dir GATEWAY_DIR"),
        (("photos", "--dir", "GATEWAY"), 2, "BUCKET/KEY"),
        (("nobucket/x", "--dir", "GATEWAY"), 2, "no bucket 'nobucket'"),
        (("photos/x", "--dir", "GATEWAY"), 2, "no object 'x'"),
        (("photos/gone", "--dir", "GATEWAY"), 2, "no object 'gone'"),
        (("photos/note", "--dir", "."), 2, "no gateway.db"),
        (("photos/note", "--dir", "GATEWAY"), 2, "--network URL"),
        (("photos/note", "--dir", "GATEWAY", "--epochs", "EPOCHS", "--epoch", "9"), 2, "epoch 9 is not sealed"),
        (("photos/note", "--dir", "GATEWAY", "--network", "http://127.0.0.1:1"), 3, "does not answer"),
        (("--verify", "nofile", "--epochs", "EPOCHS"), 2, "nofile"),
        (("--verify", "GATEWAY/gateway.db", "--epochs", "EPOCHS"), 1, "BAD_"),
        (("--verify", "x", "--dir", "GATEWAY"), 2, "--verify only needs"),
    ],
)
def test_mistakes_are_named(run: Run, place: Place, words: tuple[str, ...], code: int, hint: str) -> None:
    named = {
        "GATEWAY": str(place.gateway),
        "EPOCHS": str(place.epochs),
        "GATEWAY/gateway.db": f"{place.gateway}/gateway.db",
    }
    said = run(*(named.get(word, word) for word in words))
    assert (said.code, hint in said.err) == (code, True), said.err
    assert "Traceback" not in said.err and "internal error" not in said.err


def test_a_gateway_of_another_network_is_told_so(run: Run, place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "gateway"
    shutil.copytree(place.gateway, folder)
    (folder / "device.key").unlink()
    DeviceKey.generate().save(folder / "device.key")
    said = run("photos/note", "--dir", folder, "--epochs", place.epochs)
    assert said.code == 2 and "is not enrolled in 'lab'" in said.err
