"""Test the phone page with its script in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from django_verigator.sandbox import Sandbox

from .http_client import PHONE, Shop

CHROMIUM = shutil.which("chromium")
playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def tab(browser: Any, sandbox: Sandbox) -> Iterator[Any]:
    """Open the phone page; a message on the browser's console fails the test."""
    console_messages: list[str] = []
    tab = browser.new_page(viewport={"width": 390, "height": 844})
    tab.on("console", lambda message: console_messages.append(message.text))
    tab.on("pageerror", lambda error: console_messages.append(str(error)))
    tab.goto(sandbox.url)
    yield tab
    tab.close()
    assert console_messages == []


def test_message__appears_by_itself_and_in_view(tab: Any, shop: Shop, sandbox: Sandbox) -> None:
    user = shop.add_user('<img src="x" onerror="alert(1)">')
    for _ in range(9):
        shop.start(user)

    newest = tab.locator(".message", has_text=sandbox.last_pin(PHONE)).last
    newest.wait_for(timeout=5000)

    playwright.expect(tab.locator(".message")).to_have_count(9)
    playwright.expect(newest).to_be_in_viewport()
    playwright.expect(newest.get_by_role("button", name=f"Copy PIN {sandbox.last_pin(PHONE)}")).to_be_visible()
    playwright.expect(tab.locator("#numbers a")).to_have_text(["All", PHONE])


def test_app__is_attached_shows_its_code_and_is_detached(tab: Any, shop: Shop, sandbox: Sandbox) -> None:
    user = shop.add_user("<b>john</b>")
    tab.get_by_label("Phone number", exact=True).fill("+372 5555 555")
    tab.get_by_role("button", name="Attach app").click()
    tab.locator(".device").wait_for(timeout=5000)
    shop.start(user, "totp")
    tab.locator(".notice").wait_for(timeout=5000)

    code = tab.locator(".device .code").inner_text().replace(" ", "")

    assert shop.verified(user, code)
    assert tab.locator(".device [data-field=account]").inner_text() == "<b>john</b>"
    tab.get_by_role("button", name=f"Detach the app from {PHONE}").click()
    tab.locator(".device").wait_for(state="detached", timeout=5000)
    assert sandbox.devices() == []


def test_stopped_sandbox__is_shown(browser: Any, sandbox: Sandbox) -> None:
    tab = browser.new_page()
    tab.goto(sandbox.url)
    tab.get_by_text("Live").wait_for(timeout=5000)

    sandbox.stop()

    tab.get_by_text("Not running").wait_for(timeout=5000)
    tab.close()
