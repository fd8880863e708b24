"""The Verification Widget as a person goes it: from the site to a page of another site, and back with a cookie.

The widget's page posts to the site across sites, so that the browser sends no cookie along; what comes next has to be
seen in a real browser.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from .conftest import TIMEOUT
from .widget_site import FIRST, OLD, PASSWORD, USERNAME

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parents[2]
NEW, OTHER = "+37255500099", "+37255500098"
DARK = {"color_scheme": "dark", "viewport": {"width": 1200, "height": 800}}
WITHOUT_JAVASCRIPT = {"java_script_enabled": False}


@dataclass(frozen=True)
class Site:
    url: str
    sandbox: str

    def newest_pin(self, number: str) -> str:
        found = requests.get(f"{self.sandbox}/_sandbox/messages", params={"to": number}, timeout=5).json()
        return str(found["messages"][-1]["pin"])


@pytest.fixture
def site(request: pytest.FixtureRequest, chromium: Any, tmp_path: Path) -> Iterator[Site]:
    command = [sys.executable, "-m", "tests.browser.widget_site", str(tmp_path), getattr(request, "param", "Lax")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Site(*json.loads(process.stdout.readline()))
        finally:
            process.stdin.close()


@pytest.fixture
def page(request: pytest.FixtureRequest, chromium: Any, site: Site) -> Iterator[Any]:
    options = {"viewport": {"width": 390, "height": 844}, **getattr(request, "param", {})}
    context = chromium.new_context(base_url=site.url, **options)
    context.set_default_timeout(TIMEOUT)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert [text for text in complaints if "404" not in text] == []  # the test site has no icon


def give_password(page: Any, username: str) -> None:
    page.goto("/accounts/login/")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Continue").click()


def enrol(page: Any, number: str = NEW) -> None:
    give_password(page, FIRST)
    page.get_by_label("Phone number").fill(number)
    page.get_by_role("button", name=re.compile("PIN")).click()
    page.wait_for_url("**/accounts/verify/")


def open_widget(page: Any, site: Site) -> None:
    page.wait_for_timeout(1500)  # the pause between two codes
    page.locator("button:enabled", has_text="Confirm it on Messente's page").click()
    page.wait_for_url(f"{site.sandbox}/widget/**")


def confirm_there(page: Any, site: Site, number: str = NEW) -> None:
    page.get_by_label("Phone number").fill(number)
    page.get_by_role("button", name="Send me a PIN").click()
    page.get_by_label("PIN").wait_for()
    page.get_by_label("PIN").fill(site.newest_pin(number))
    page.get_by_role("button", name="Confirm").click()


@pytest.mark.parametrize("page", [{}, DARK], indirect=True, ids=["narrow", "wide and dark"])
def test_first_phone__is_confirmed_on_the_other_site(page: Any, site: Site) -> None:
    posted: list[dict[str, str]] = []
    sent_on: list[dict[str, str]] = []

    def look(asked: Any) -> None:
        if "/accounts/widget/answer/" in asked.url:
            posted.append({"method": asked.method, **asked.all_headers()})
        if "/accounts/widget/confirm/" in asked.url:
            sent_on.append({"method": asked.method, "url": asked.url, **asked.all_headers()})

    page.on("requestfinished", look)
    enrol(page)
    open_widget(page, site)
    assert page.get_by_label("Phone number").input_value() == NEW

    confirm_there(page, site)

    page.wait_for_url("**/private/")
    assert "private of" in page.content()
    (first,), (second,) = posted, sent_on
    assert (first["method"], "cookie" in first) == ("POST", False), "a cross-site POST brings no cookie"
    assert (second["method"], "verigator_token" in second["cookie"]) == ("GET", True), "the GET after it does"
    assert NEW[1:] not in second["url"]


@pytest.mark.parametrize("page", [WITHOUT_JAVASCRIPT], indirect=True)
def test_first_phone__is_confirmed_without_javascript(page: Any, site: Site) -> None:
    enrol(page)
    open_widget(page, site)
    confirm_there(page, site)
    page.get_by_role("button", name="Go back to the site").click()

    page.wait_for_url("**/private/")


@pytest.mark.parametrize("site", ["Strict"], indirect=True)
@pytest.mark.parametrize(
    ("page", "goes_back_alone"), [({}, True), (WITHOUT_JAVASCRIPT, False)], indirect=["page"], ids=["with", "without"]
)
def test_strict_cookies__come_along_to_the_page_that_confirms(page: Any, site: Site, goes_back_alone: bool) -> None:
    enrol(page)
    assert {cookie["sameSite"] for cookie in page.context.cookies() if "token_" in cookie["name"]} == {"Strict"}
    open_widget(page, site)
    confirm_there(page, site)
    if not goes_back_alone:
        page.get_by_role("button", name="Go back to the site").click()

    page.wait_for_url("**/private/")
    assert "private of" in page.content()


def test_new_phone__is_confirmed_by_a_user_who_is_logged_in(page: Any, site: Site) -> None:
    give_password(page, USERNAME)
    page.get_by_label("PIN").fill(site.newest_pin(OLD))
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/private/")
    page.goto("/accounts/security/phone/")
    page.get_by_label("Phone number").fill(NEW)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name=re.compile("PIN")).click()
    open_widget(page, site)

    confirm_there(page, site)

    page.wait_for_url("**/accounts/security/")
    assert NEW[-2:] in page.locator("main").inner_text()
    page.goto("/verified/")
    assert "verified" in page.content()


def test_another_number__confirms_nothing(page: Any, site: Site) -> None:
    enrol(page)
    open_widget(page, site)

    confirm_there(page, site, OTHER)

    page.wait_for_url("**/accounts/widget/confirm/**")
    assert "Another number was confirmed" in page.get_by_role("alert").inner_text()
    page.goto("/private/")
    assert "/accounts/" in page.url


def test_cancelled__leads_back_to_a_page_that_sends_a_pin(page: Any, site: Site) -> None:
    enrol(page)
    open_widget(page, site)
    page.get_by_role("button", name="Cancel").click()

    page.wait_for_url("**/accounts/widget/confirm/**")
    assert "You have cancelled" in page.get_by_role("alert").inner_text()
    page.wait_for_timeout(1500)  # the pause between two codes
    page.locator("button:enabled", has_text="Send a new PIN").click()
    page.get_by_label("PIN").fill(site.newest_pin(NEW))
    page.get_by_role("button", name="Sign in").click()

    page.wait_for_url("**/private/")


def test_answer__carried_to_another_browser_is_refused(page: Any, site: Site, chromium: Any) -> None:
    enrol(page)
    open_widget(page, site)
    stranger = chromium.new_context(base_url=site.url).new_page()
    stranger.goto(page.url)  # the request, on its way to the widget
    confirm_there(stranger, site)

    stranger.wait_for_url("**/accounts/login/")
    stranger.goto("/private/")
    assert "/accounts/login/" in stranger.url
    stranger.context.close()
