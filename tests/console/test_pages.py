"""The explorer in a real browser: pages draw, nothing is fetched from elsewhere, hostile names stay text."""

from __future__ import annotations

import shutil

import pytest

from tests.node.conftest import HOSTILE_NAME, Network

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        shutil.which("chromium") is None, reason="Chromium is not installed: scripts/install-test-tools"
    ),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    network = Network(tmp_path_factory.mktemp("pages"), stations=2)
    network.hours()
    network.live.close_epoch()
    network.live.node.settle()
    yield network
    network.close()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        yield opened
        opened.close()


def test_a_visitor_finds_out_why_a_device_earned_what_it_did(served: Network, browser) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    asked: list[str] = []
    dialogs: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    page.goto(served.url)
    assert page.locator("h1").inner_text() == "Test network"
    assert "of 2 devices earned" in page.locator(".tiles").inner_text()
    page.get_by_role("link", name="Devices").click()
    assert page.locator("tbody tr").count() == 2
    page.get_by_text(HOSTILE_NAME).first.wait_for()
    page.locator("tbody a").first.click()
    assert page.get_by_text("added to the operator's balance").count() == 1
    page.get_by_role("link", name="Epochs").click()
    page.locator("tbody a").first.click()
    root = served.live.node.store.sealed(1).manifest.root
    assert page.get_by_text(root).count() == 1
    assert dialogs == []
    assert [url for url in asked if not url.startswith(served.url)] == []


def test_pages_fit_a_phone(served: Network, browser) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    for path in ("/", "/devices", "/epochs/1"):
        page.goto(served.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
