"""The PIN page while it waits: what became of the message appears by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.browser.test_browser import DEMO, give_password
from tests.example.running import Demo, serving

pytestmark = pytest.mark.browser

WAITS = '<div id="vg-delivery" role="status" data-refresh="/accounts/verify/">'


@pytest.fixture(scope="module")
def demo(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with serving(tmp_path_factory.mktemp("demo"), "--provider", "omnichannel") as running:
        yield running


def test_news__appears_beside_what_is_typed(context: Any, demo: Demo) -> None:
    """Under the example's Content-Security-Policy; a console that complains fails the test."""
    order = {"to": DEMO, "status": "ACCEPTD"}
    assert requests.post(f"{demo.phone}/_sandbox/deliveries", json=order, timeout=5).status_code == 201
    page = context.new_page()
    page.clock.install()
    asked = []

    def answer_with_news(route: Any) -> None:
        if route.request.resource_type != "fetch":
            route.continue_()
            return
        asked.append(route.request.method)
        answer = route.fetch()
        text = answer.text()
        assert WAITS in text
        route.fulfill(response=answer, body=text.replace(WAITS, '<div id="vg-delivery" role="status"><p>News</p>'))

    page.route("**/accounts/verify/", answer_with_news)
    give_password(page, "demo")
    page.get_by_label("PIN").press_sequentially("12")
    page.clock.fast_forward(10_000)
    page.locator("#vg-delivery", has_text="News").wait_for()
    assert page.get_by_label("PIN").input_value() == "12"
    assert page.evaluate("document.activeElement.name") == "pin"
    page.clock.fast_forward(60_000)
    page.get_by_role("button", name="Send a new PIN", exact=True).wait_for()
    assert asked == ["GET"]  # and no more, once there is nothing to wait for
