"""The phone page, as a browser without JavaScript gets it."""

from __future__ import annotations

from html.parser import HTMLParser
from http import HTTPStatus
from urllib.parse import quote

import pytest

from django_verigator.sandbox import Sandbox

from .caller import PHONE, Shop, ask


class Reader(HTMLParser):
    """Keeps the text outside <template>, every tag, and all that a strict policy would block."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.inline: list[str] = []
        self.links: list[str] = []
        self._shapes = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._shapes += tag == "template"
        values = dict(attrs)
        self.inline += [name for name in values if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and not values.get("src")):
            self.inline.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href") and value]

    def handle_endtag(self, tag: str) -> None:
        self._shapes -= tag == "template"

    def handle_data(self, data: str) -> None:
        if not self._shapes:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page(sandbox: Sandbox, path: str = "/") -> Reader:
    answer = ask(sandbox.url, "GET", path)
    assert answer.status == HTTPStatus.OK
    return Reader(answer.body.decode("utf-8"))


def test_page__forbids_everything_that_is_not_its_own(sandbox: Sandbox) -> None:
    answer = ask(sandbox.url, "GET", "/")

    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self';")
    assert "unsafe" not in policy
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"


def test_page__has_no_inline_script_or_style_and_all_its_files(shop: Shop, sandbox: Sandbox) -> None:
    shop.start(shop.add_user())
    sandbox.attach_device(PHONE)
    seen = page(sandbox)

    assert seen.inline == []
    assert {"/static/phone.css", "/static/phone.js", "/static/icon.svg"} <= set(seen.links)
    assert [ask(sandbox.url, "GET", link).status for link in seen.links] == [HTTPStatus.OK] * len(seen.links)


def test_empty_page__says_what_to_do(sandbox: Sandbox) -> None:
    assert "No messages yet Start a login on your site." in page(sandbox).text


def test_page__shows_messages_newest_last_and_the_codes_of_the_app(shop: Shop, sandbox: Sandbox) -> None:
    john, anna = shop.add_user("john"), shop.add_user("anna", "+4401234567")
    shop.start(john)
    shop.start(anna)
    sandbox.attach_device(PHONE)
    shop.start(john, "totp")

    text = page(sandbox).text

    pins = [message["pin"] for message in sandbox.messages()]
    at = [text.index(f"Your Verification PIN code is {pin}") for pin in pins]
    assert at == sorted(at)
    assert "CoffeeShop asks for a code for john" in text
    code = sandbox.devices()[0]["code"]
    assert f"{code[:3]} {code[3:]}" in text


@pytest.mark.parametrize("to", [PHONE, quote(PHONE), PHONE[1:]])
def test_page__can_show_one_phone(shop: Shop, sandbox: Sandbox, to: str) -> None:
    shop.start(shop.add_user("john"))
    shop.start(shop.add_user("anna", "+4401234567"))
    sandbox.attach_device("+4401234567")
    mine, other = sandbox.messages()

    text = page(sandbox, f"/?to={to}").text

    assert f"PIN code is {mine['pin']}" in text
    assert text.count("Your Verification PIN code is") == 1
    assert other["user_id"] not in text
    assert "anna" not in text


def test_page__shows_names_as_text_and_never_as_markup(shop: Shop, sandbox: Sandbox) -> None:
    name = '<img src=x onerror="alert(1)"> $pin &amp;'
    shop.add_user(name)
    sandbox.attach_device(PHONE)

    seen = page(sandbox)

    assert "img" not in seen.tags
    assert name in seen.text


def test_page__of_nonsense_shows_all_phones(shop: Shop, sandbox: Sandbox) -> None:
    shop.start(shop.add_user())

    assert sandbox.last_pin(PHONE) in page(sandbox, "/?to=%3Cscript%3E").text
