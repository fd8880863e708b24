"""Test the stand-in for the Verification Widget: what it takes from a site, asks the user, and sends back."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from http import HTTPStatus
from urllib.parse import urlencode

import pytest

from django_verigator.client import widget
from django_verigator.sandbox import Sandbox

from .http_client import PASSWORD, PHONE, USERNAME, Response, send
from .test_phone_page import Reader

CALLBACK = "http://localhost:8000/widget/answer/a-state/"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Page(HTMLParser):
    """The forms of a page, by what they post to."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.status = response.status
        self.html = response.body.decode()
        self.headers = response.headers
        self.text = Reader(self.html).text
        self.forms: dict[str, dict[str, str]] = {}
        self._action = ""
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._action = values["action"]
            self.forms[self._action] = {}
        elif tag == "input":
            self.forms[self._action][values["name"]] = values.get("value", "")


class Browser:
    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    def get(self, parameters: dict[str, str] | str) -> Page:
        query = parameters if isinstance(parameters, str) else urlencode(parameters)
        return Page(send(self.sandbox.url, "GET", f"/widget/?{query}"))

    def post(self, step: str, fields: dict[str, str], **headers: str) -> Page:
        body = urlencode(fields).encode()
        return Page(send(self.sandbox.url, "POST", step, raw=body, headers={**FORM, **headers}))

    def submit(self, page: Page, step: str, **typed: str) -> Page:
        return self.post(step, {**page.forms[step], **typed})


@pytest.fixture
def browser(sandbox: Sandbox) -> Browser:
    return Browser(sandbox)


def asked(password: str = PASSWORD, **more: str) -> dict[str, str]:
    values = {"user": USERNAME, "version": "1", "callback_url": CALLBACK, **more}
    return {**values, "sig": widget.sign(values, password)}


def test_right_pin__sends_the_browser_back_with_a_signed_answer(browser: Browser, sandbox: Sandbox) -> None:
    page = browser.get(asked(phone=PHONE))
    assert page.forms["/widget/send"]["number"] == PHONE

    page = browser.submit(page, "/widget/send")
    page = browser.submit(page, "/widget/check", pin=sandbox.last_pin(PHONE))

    answer = page.forms[CALLBACK]
    assert {key: value for key, value in answer.items() if key != "sig"} == {
        "user": USERNAME,
        "version": "1",
        "status": "VERIFIED",
        "phone": PHONE,
    }
    assert widget.verify(answer, PASSWORD)


def test_request__may_come_as_a_form_from_the_page_of_another_site(browser: Browser) -> None:
    page = browser.post("/widget/", asked(phone=PHONE), Origin="http://shop.example")

    assert (page.status, page.forms["/widget/send"]["number"]) == (HTTPStatus.OK, PHONE)


@pytest.mark.parametrize("step", ["send", "check", "cancel"])
def test_steps_after_the_first__are_not_for_other_sites(browser: Browser, sandbox: Sandbox, step: str) -> None:
    body = urlencode({**asked(), "number": PHONE}).encode()
    headers = {**FORM, "Origin": "http://shop.example"}

    response = send(sandbox.url, "POST", f"/widget/{step}", raw=body, headers=headers)

    assert response.status == HTTPStatus.FORBIDDEN
    assert sandbox.messages() == []


def test_number__is_the_one_that_was_typed_and_got_the_pin(browser: Browser, sandbox: Sandbox) -> None:
    page = browser.submit(browser.get(asked(phone=PHONE)), "/widget/send", number="+44 7700 900 067")

    # Whatever the browser claims afterwards.
    page = browser.submit(page, "/widget/check", pin=sandbox.last_pin("+447700900067"), number=PHONE)

    assert page.forms[CALLBACK]["phone"] == "+447700900067"


def test_opening__sends_nothing(browser: Browser, sandbox: Sandbox) -> None:
    browser.get(asked(phone=PHONE))

    assert sandbox.messages() == []


def test_number_that_is_none__is_asked_for_again(browser: Browser, sandbox: Sandbox) -> None:
    page = browser.submit(browser.get(asked()), "/widget/send", number='"><b>12')

    assert "no phone number" in page.text
    assert page.forms["/widget/send"]["number"] == '"><b>12'
    assert sandbox.messages() == []


def test_wrong_pins__end_after_five_tries(browser: Browser, sandbox: Sandbox) -> None:
    page = browser.submit(browser.get(asked(phone=PHONE)), "/widget/send")
    right = sandbox.last_pin(PHONE)
    wrong = f"{int(right) % 9000 + 1000}"
    assert wrong != right

    for _ in range(5):
        page = browser.submit(page, "/widget/check", pin=wrong)
        assert "not right" in page.text
    page = browser.submit(page, "/widget/check", pin=right)

    assert "Too many wrong PINs" in page.text
    assert CALLBACK not in page.forms


def test_old_pin__is_refused(browser: Browser, sandbox: Sandbox) -> None:
    page = browser.submit(browser.get(asked(phone=PHONE)), "/widget/send")
    sandbox.advance(301)

    page = browser.submit(page, "/widget/check", pin=sandbox.last_pin(PHONE))

    assert "too old" in page.text
    assert CALLBACK not in page.forms


def test_pin__is_good_once(browser: Browser, sandbox: Sandbox) -> None:
    page = browser.submit(browser.get(asked(phone=PHONE)), "/widget/send")
    pin = sandbox.last_pin(PHONE)
    browser.submit(page, "/widget/check", pin=pin)

    assert CALLBACK not in browser.submit(page, "/widget/check", pin=pin).forms


@pytest.mark.parametrize(("more", "phone"), [({"phone": PHONE}, PHONE), ({}, None)])
def test_cancel__goes_back_with_a_signed_answer(browser: Browser, more: dict[str, str], phone: str | None) -> None:
    page = browser.submit(browser.get(asked(**more)), "/widget/cancel")

    answer = page.forms[CALLBACK]
    assert (answer["status"], answer.get("phone")) == ("CANCELLED", phone)
    assert widget.verify(answer, PASSWORD)


def test_empty_number_that_was_signed__is_carried_along(browser: Browser) -> None:
    page = browser.submit(browser.get(asked(phone="")), "/widget/send", number=PHONE)

    assert "/widget/check" in page.forms


@pytest.mark.parametrize(
    "parameters",
    [
        {**asked(), "sig": "0" * 32},
        {**asked(), "sig": "é"},
        asked(password="another"),
        {**asked(), "phone": PHONE},
        {**asked(), "callback_url": "http://localhost:9000/"},
        asked(user="nobody"),
        asked(version="2"),
        {key: value for key, value in asked().items() if key != "sig"},
        {key: value for key, value in asked().items() if key != "callback_url"},
        asked(phone="1" * 10_000),
    ],
)
def test_request__that_is_wrong_gets_no_step(browser: Browser, sandbox: Sandbox, parameters: dict[str, str]) -> None:
    for page in (browser.get(parameters), browser.post("/widget/send", {**parameters, "number": PHONE})):
        assert page.status == HTTPStatus.BAD_REQUEST
        assert page.forms == {}
    assert sandbox.messages() == []


def test_parameter_that_comes_twice__is_refused(browser: Browser) -> None:
    page = browser.get(f"{urlencode(asked(phone=PHONE))}&phone=%2B447700900067")

    assert (page.status, page.forms) == (HTTPStatus.BAD_REQUEST, {})


@pytest.mark.parametrize(
    "callback",
    [
        "https://shop.example/answer/",
        "http://localhost.shop.example/",
        "http://localhost@shop.example/",
        "http://shop.example\\@localhost/",
        "//shop.example/",
        "javascript:alert(1)",
        "http://localhost; script-src *:80/",
        "http://localhost:8000/\r\nSet-Cookie: a=b",
        "/answer/",
        "http://[::1/",
    ],
)
def test_callback__leads_to_this_machine_alone(browser: Browser, callback: str) -> None:
    page = browser.get(asked(callback_url=callback))

    assert (page.status, page.forms) == (HTTPStatus.BAD_REQUEST, {})
    assert "Set-Cookie" not in page.headers


def test_callback__may_lead_elsewhere_where_the_sandbox_may_be_reached_from_there(
    start_sandbox: Callable[..., Sandbox],
) -> None:
    browser = Browser(start_sandbox(allow_remote=True))
    callback = "https://shop.example/answer/"

    page = browser.submit(browser.get(asked(callback_url=callback)), "/widget/cancel")

    assert callback in page.forms
    assert "form-action https://shop.example;" in page.headers["Content-Security-Policy"]


def test_pages__post_to_themselves_and_the_last_one_to_the_site(browser: Browser) -> None:
    first = browser.get(asked())
    last = browser.submit(first, "/widget/cancel")

    for page, target in ((first, "'self'"), (last, "http://localhost:8000")):
        policy = page.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self';")
        assert f"form-action {target};" in policy
        assert Reader(page.html).inline == []
        links = [link for link in Reader(page.html).links if link.startswith("/static/")]
        assert [send(browser.sandbox.url, "GET", link).status for link in links] == [HTTPStatus.OK] * 4


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/widget/send", HTTPStatus.METHOD_NOT_ALLOWED),
        ("PUT", "/widget/", HTTPStatus.METHOD_NOT_ALLOWED),
        ("POST", "/widget/other", HTTPStatus.NOT_FOUND),
    ],
)
def test_other_steps_and_methods__are_refused(sandbox: Sandbox, method: str, path: str, status: int) -> None:
    assert send(sandbox.url, method, path).status == status
