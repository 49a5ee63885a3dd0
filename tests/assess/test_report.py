"""Reports: valid JSON, the memo's order, a page that opens from disk, equal bytes for equal input, hostile texts."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import jsonschema_rs
import pytest

from fieldstone.assess.evaluate import Assessment, assess
from fieldstone.assess.library import case_names, shipped_case
from fieldstone.assess.regulation import rules, standing
from fieldstone.assess.report.compare import compare_document, compare_page, compare_table
from fieldstone.assess.report.document import document, number, schema, to_json
from fieldstone.assess.report.html import page
from fieldstone.assess.report.memo import memo
from fieldstone.assess.sensitivity import sensitivity
from tests.assess.conftest import HEAD, ON, card, claim
from tests.assess.test_evaluate import FULL

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>"
VALID = jsonschema_rs.validator_for(schema())


def shipped(name: str) -> Assessment:
    return assess(shipped_case(name), on=ON)


@pytest.mark.parametrize("name", case_names())
def test_every_card_is_valid_json_with_graded_numbers(name: str) -> None:
    one = shipped(name)
    told = json.loads(to_json(one, sensitivity(one)))
    VALID.validate(told)
    for question in told["questions"]:
        for measure in question["measures"]:
            known = measure["known"]
            assert known is None or (known["grade"] in "ABCD" and known["claims"]), "a number without a grade or claim"


@pytest.mark.parametrize(
    "texts", [(), FULL, (claim("hardware.capex", 3, "USD"), claim("revenue.per_device", 0, "USD/day"))]
)
def test_empty_full_and_infinite_cards_are_valid(texts: tuple[str, ...]) -> None:
    one = card(*texts)
    VALID.validate(document(one, sensitivity(one)))
    assert number(float("inf")) == "infinite" and number(None) is None and number(-0.0) == 0.0


def test_the_schema_refuses_what_it_does_not_know() -> None:
    told = document(card(), sensitivity(card()))
    for wrong in (
        {**told, "extra": 1},
        {**told, "schema_version": 2},
        {k: v for k, v in told.items() if k != "claims"},
    ):
        assert not VALID.is_valid(wrong)
    assert not VALID.is_valid({**told, "scores": {**told["scores"], "coverage": 1.5}})


def test_equal_input_gives_equal_bytes() -> None:
    a, b = shipped("filecoin"), shipped("filecoin")
    for render in (to_json, memo, page):
        assert render(a, sensitivity(a)) == render(b, sensitivity(b))
    assert compare_page([a, shipped("helium")]) == compare_page([b, shipped("helium")])


def test_the_memo_has_its_parts_in_order() -> None:
    one = shipped("helium")
    text = memo(one, sensitivity(one))
    heads = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert heads == [
        "Who pays?",
        "Questions",
        "With customers' money alone, and with the token",
        "Red flags",
        "How firm is this?",
        "Contradictions",
        "What would change the verdict",
        "Known to be missing",
        "Sources",
    ]
    assert "**Red: what is known speaks against it; red flags: 0 hard, 1 soft**" in text
    assert "14 raw / 4 adjusted for evidence / coverage 51 %" in text
    assert "| 4 | Are rewards linked to demand? | 14 | subsidy ratio 85.8 % | amber | D |" in text
    assert "5,451 TB/quarter" in text and "2,731 TB/quarter" in text
    assert "unknown: run simulate" in text


def test_the_report_says_what_it_may_say() -> None:
    one = shipped("weatherxm")
    text = page(one, sensitivity(one))
    assert "Not rateable: too little is known" in text
    assert "there is no verdict" in text
    assert text.count("hatch") > 5, "unknown is drawn hatched"
    for who in (
        "For an investment committee",
        "For an operator about to buy hardware",
        "For a customer about to depend on it",
    ):
        assert who in text


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name == "src"]


def test_texts_of_a_case_stay_texts() -> None:
    head = HEAD.replace('name = "N"', f"name = '{EVIL}'\nregions = ['{EVIL}', 'EU']\nsummary = '{EVIL}'").replace(
        'title = "S"', f"title = '{EVIL}'"
    )
    tail = f"\n[[missing]]\nquestion = '1'\nwhat = '{EVIL}'\n[[regulation]]\nregion = '{EVIL}'\nrule = '{EVIL}'\nnote = '{EVIL}'\n"
    texts = [text.replace('grade = "A"', f"grade = \"A\"\nscope = '{EVIL}'\nnote = '{EVIL}'") for text in FULL]
    rival = claim("supply.utilisation", 1, "%", id="rival").replace('grade = "A"', f"grade = \"A\"\nscope = '{EVIL}'")
    one = card(*texts, rival, tail, head=head)
    firm = sensitivity(one)
    for text in (page(one, firm), compare_page([one, one])):
        tags = Tags()
        tags.feed(text)
        assert not {"script", "img", "iframe", "link"} & set(tags.seen)
    assert "<script" not in memo(one, firm)
    VALID.validate(document(one, firm))


def test_comparison() -> None:
    cards = [shipped(name) for name in ("helium", "filecoin", "weatherxm")]
    columns, rows = compare_table(cards)
    assert columns == ["", "Helium", "Filecoin", "WeatherXM"]
    assert rows[0] == ["verdict", "red", "red", "not rateable"]
    assert ["4 Are rewards linked to demand?", "amber D", "red D", "unknown"] in rows
    told = json.loads(json.dumps(compare_document(cards)))
    assert [n["name"] for n in told["networks"]] == columns[1:]
    assert told["networks"][0]["numbers"]["verified_share"] is None


def test_rules_by_region_and_service() -> None:
    names = {s.title: s for s in standing(shipped_case("glow"))}
    assert any("Is the token a security" in title for title in names)
    assert all(rule.source and rule.asks and rule.grade in "ABCD" for rule in rules())
    own = standing(card(head=HEAD + '[[regulation]]\nregion = "BR"\nrule = "Anatel"\nstatus = "open"\n').case)
    assert [(s.region, s.title, s.status) for s in own] == [("BR", "Anatel", "open")]
    known = {rule.id for rule in rules()}
    for name in case_names():
        assert all(item.rule in known for item in shipped_case(name).regulation)


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed: scripts/install-test-tools")
def test_the_page_opens_from_disk_without_a_request_and_fits_a_phone(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    one = shipped("helium")
    (tmp_path / "report.html").write_text(page(one, sensitivity(one)), encoding="utf-8")
    (tmp_path / "compare.html").write_text(compare_page([one, shipped("filecoin")]), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        view = browser.new_page(viewport={"width": 390, "height": 800})
        asked: list[str] = []
        said: list[str] = []
        view.on("request", lambda request: asked.append(request.url))
        view.on("console", lambda message: said.append(message.text))
        for name in ("report.html", "compare.html"):
            view.goto((tmp_path / name).as_uri())
            assert view.evaluate("document.documentElement.scrollWidth") <= 390, name
        # the policy lets the style sheet in: a refused one would leave the page unstyled
        assert view.evaluate("getComputedStyle(document.querySelector('table')).borderCollapse") == "collapse"
        browser.close()
    assert said == [] and len(asked) == 2
