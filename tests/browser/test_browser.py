"""The way in as a person goes it: Chromium on the example site, the PIN read off the phone page in a second tab."""

from __future__ import annotations

import re
from typing import Any

import pytest
import requests

from tests.example.running import PASSWORD, Demo

pytestmark = pytest.mark.browser

DEMO, ADMIN = "+447700900067", "+447700900042"
WITHOUT_JAVASCRIPT = {"java_script_enabled": False}


def number_of(page: Any) -> str:
    return str(page.locator("#vg-status b").inner_text())


def give_password(page: Any, username: str, path: str = "/orders/") -> None:
    page.goto(path)
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Continue").click()


def give_pin(page: Any, pin: str, button: str = "Sign in") -> None:
    page.get_by_label("PIN").fill(pin)
    page.get_by_role("button", name=button, exact=True).click()


def sign_up(page: Any, username: str, number: str) -> None:
    page.goto("/accounts/login/")
    page.get_by_role("link", name="Sign up").click()
    page.get_by_label("Username").fill(username)
    page.get_by_label("Phone number").fill(number)
    page.get_by_label("Password:").fill("oat & rye")
    page.get_by_label("Password confirmation").fill("oat & rye")
    page.get_by_role("button", name="Sign up").click()


class Phone:
    """The sandbox's page about one number, in a tab of its own."""

    def __init__(self, context: Any, demo: Demo, number: str) -> None:
        self.page = context.new_page()
        self._address = f"{demo.phone}/?to={number.replace('+', '%2B')}"

    def newest_pin(self) -> str:
        self.page.goto(self._address)
        return str(self.page.locator(".message strong").last.inner_text())


def wrong(pin: str) -> str:
    return f"{(int(pin) + 1) % 10_000:04}"


def is_kept_out(page: Any) -> bool:
    page.goto("/orders/")
    return "/accounts/login/" in page.url


def test_login__with_javascript(context: Any, demo: Demo) -> None:
    """Password, wrong PIN, another PIN after the pause that the button counts down, right PIN, log out."""
    page, phone = context.new_page(), Phone(context, demo, DEMO)
    give_password(page, "demo")
    assert number_of(page) == "67"
    resend = page.get_by_role("button", name=re.compile("Send a new PIN"))
    assert re.fullmatch(r"Send a new PIN in [1-5]\xa0s", resend.inner_text())
    assert resend.is_disabled()
    first = phone.newest_pin()

    give_pin(page, wrong(first))
    assert "The PIN is not right. You can try 4 more times." in page.get_by_role("alert").inner_text()

    page.locator("button:enabled", has_text="Send a new PIN").click()
    page.wait_for_url("**/accounts/verify/")
    assert resend.is_disabled()
    second = phone.newest_pin()
    assert phone.page.locator(".message").count() >= 2

    give_pin(page, second)
    page.wait_for_url("**/orders/")
    assert page.get_by_role("heading", name="Your orders").is_visible()
    page.get_by_role("button", name="Sign out").click()
    assert is_kept_out(page)


@pytest.mark.parametrize("context", [WITHOUT_JAVASCRIPT], indirect=True)
def test_login__without_javascript(context: Any, demo: Demo) -> None:
    """The same way works with scripts off; then the server keeps the pause, and says so."""
    page, phone = context.new_page(), Phone(context, demo, ADMIN)
    give_password(page, "admin")
    assert page.get_by_text(re.compile(r"You can ask for a new PIN in [1-5] seconds\.")).is_visible()
    page.get_by_role("button", name="Send a new PIN").click()
    assert "A PIN was sent a moment ago." in page.get_by_role("alert").inner_text()
    pin = phone.newest_pin()
    give_pin(page, wrong(pin))
    assert "The PIN is not right." in page.get_by_role("alert").inner_text()
    give_pin(page, "12x4")
    assert "A PIN has 4 to 16 digits" in page.get_by_role("alert").inner_text()
    give_pin(page, f"{pin[:2]} {pin[2:]}")
    assert page.url == f"{demo.site}/orders/"
    page.get_by_role("button", name="Sign out").click()
    assert is_kept_out(page)


def test_sign_up__goes_through_the_second_step(context: Any, demo: Demo) -> None:
    """A new customer is asked for a PIN before the first page opens; it is on its way."""
    number = "+447700900021"
    page, phone = context.new_page(), Phone(context, demo, number)
    sign_up(page, "newcomer", "00 44 7700 900-021")
    give_pin(page, phone.newest_pin())
    page.wait_for_url("**/orders/")
    assert page.get_by_text("newcomer").is_visible()


def test_admin__is_caught(context: Any, demo: Demo) -> None:
    """The admin's own login does not get round the PIN, which is sent as soon as the password is right."""
    page, phone = context.new_page(), Phone(context, demo, ADMIN)
    page.goto("/admin/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/accounts/verify/")
    give_pin(page, phone.newest_pin())
    page.wait_for_url("**/admin/")
    assert page.get_by_role("heading", name="Site administration").is_visible()


def test_user_without_phone__enrols_one(context: Any, demo: Demo) -> None:
    """Without a phone the password is enough, until the gift card asks for a PIN: then a phone is added first."""
    number = "+447700900031"
    page, phone = context.new_page(), Phone(context, demo, number)
    give_password(page, "nophone")
    page.wait_for_url("**/orders/")
    page.get_by_role("link", name="Gift card").click()
    assert page.get_by_role("heading", name="Add your phone").is_visible()
    page.get_by_label("Phone number").fill("7700 900031")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Send me a PIN").click()
    assert "international form" in page.get_by_role("alert").inner_text()
    page.get_by_label("Phone number").fill(number)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Send me a PIN").click()
    give_pin(page, phone.newest_pin(), button="Confirm")
    page.wait_for_url("**/card/")
    assert page.get_by_role("heading", name="Your gift card").is_visible()


def test_pin_page__made_for_phones_and_screen_readers(context: Any) -> None:
    """The PIN field has the focus, offers the code from the SMS, calls up digits, and is told what the page says."""
    page = context.new_page()
    give_password(page, "demo")
    pin = page.get_by_label("PIN")
    assert pin.evaluate("field => field === document.activeElement")
    assert pin.get_attribute("autocomplete") == "one-time-code"
    assert pin.get_attribute("inputmode") == "numeric"
    assert page.title() == "Type your PIN"
    give_pin(page, "1")
    told_by = pin.get_attribute("aria-describedby").split()
    said = " ".join(page.locator(f"#{name}").inner_text() for name in told_by)
    assert "number ending in 67" in said
    assert "A PIN has 4 to 16 digits" in said
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_url("**/accounts/login/")


@pytest.mark.parametrize(("context", "number"), [({}, 51), (WITHOUT_JAVASCRIPT, 52)], indirect=["context"])
def test_recovery_codes__offer_to_print_where_that_works(context: Any, demo: Demo, number: int) -> None:
    """What needs scripts is not to be seen without them."""
    page, phone = context.new_page(), Phone(context, demo, f"+4477009000{number}")
    sign_up(page, f"printer{number}", f"+4477009000{number}")
    give_pin(page, phone.newest_pin())
    page.goto("/accounts/security/recovery-codes/")
    page.get_by_label("Password").fill("oat & rye")
    page.get_by_role("button", name="Make new codes").click()
    page.get_by_role("link", name="Download").wait_for()
    page.wait_for_load_state()
    assert page.locator("[data-print]").is_visible() is (number == 51)


def test_provider_down__try_again(context: Any, demo: Demo) -> None:
    """While the provider refuses, the page says so and offers to try again; then the login goes on."""
    number = "+447700900041"
    page, phone = context.new_page(), Phone(context, demo, number)
    fault = {"fault": "status", "status": 429, "times": 1, "operation": "auth.start"}
    requests.post(f"{demo.phone}/_sandbox/faults", json=fault, timeout=20)
    sign_up(page, "patient", number)
    assert "We cannot send or check PINs at the moment." in page.get_by_role("alert").inner_text()
    assert not page.get_by_label("PIN").is_visible()
    page.get_by_role("button", name="Try again").click()
    give_pin(page, phone.newest_pin())
    page.wait_for_url("**/orders/")


@pytest.mark.parametrize("context", [{"viewport": {"width": 320, "height": 480}}], indirect=True)
def test_pages__fit(context: Any) -> None:
    """On the narrowest screen (or zoomed in to 400 %) nothing is cut off, and what is clicked is large enough."""
    page = context.new_page()
    for path in ("/", "/accounts/login/", "/accounts/signup/"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        for box in (each.bounding_box() for each in page.locator("button, input:visible").all()):
            assert box["height"] >= 44


def test_keyboard__in_reading_order(context: Any) -> None:
    """With the keyboard alone: from the password to the PIN page, and there from the field to each button."""
    page = context.new_page()
    page.goto("/accounts/login/?next=/orders/")
    page.locator("#id_username:focus").wait_for()
    page.keyboard.type("demo")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/accounts/verify/")
    page.locator("button:enabled", has_text="Send a new PIN").wait_for()
    order = [""]
    while order[-1] != "Cancel" and len(order) < 8:
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.textContent.trim()"))
    assert order[1:3] == ["Sign in", "Send a new PIN"]
    assert order[-1] == "Cancel"
