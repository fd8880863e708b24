"""A browser, and the demo served beside it in a process of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.example.running import Demo, serving

try:
    from playwright import sync_api as playwright
except ImportError:
    playwright = None  # type: ignore[assignment]

CHROMIUM = shutil.which("chromium")
RESEND_PAUSE = 5  # seconds; 30 without it
TIMEOUT = 15_000  # milliseconds


# A module long, not a session: while Playwright runs, Django believes itself in an event loop and refuses its ORM.


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    if playwright is None:
        pytest.skip("Playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium on the PATH")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def demo(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    with serving(folder, VERIGATOR_RESEND_PAUSE=str(RESEND_PAUSE)) as running:
        yield running


@pytest.fixture
def context(request: pytest.FixtureRequest, chromium: Any, demo: Demo) -> Iterator[Any]:
    """A fresh browser profile with its first tab; ``parametrize`` it indirectly with other options.

    Whatever the consoles of its tabs complain about fails the test: broken scripts, refused styles, missing files.
    """
    options = {"viewport": {"width": 390, "height": 844}, **getattr(request, "param", {})}
    context = chromium.new_context(base_url=demo.site, **options)
    context.set_default_timeout(TIMEOUT)
    complaints: list[str] = []

    def listen(page: Any) -> None:
        page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
        page.on("console", lambda message: _note(complaints, page, message))

    context.on("page", listen)
    yield context
    context.close()
    assert complaints == []


def _note(complaints: list[str], page: Any, message: Any) -> None:
    # Django's admin names no icon, so a browser asks for /favicon.ico there.
    if message.type in ("error", "warning") and "/favicon.ico" not in str(message.location.get("url", "")):
        complaints.append(f"{page.url}: {message.text}")
