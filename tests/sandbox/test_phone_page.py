"""Test the phone page as a browser without JavaScript receives it."""

from __future__ import annotations

from html.parser import HTMLParser
from http import HTTPStatus
from urllib.parse import quote

import pytest

from django_verigator.sandbox import Sandbox

from .http_client import PHONE, Shop, send


class Reader(HTMLParser):
    """Collect the text outside <template>, every tag and link, and whatever the Content-Security-Policy blocks."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.inline: list[str] = []
        self.links: list[str] = []
        self._template_depth = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._template_depth += tag == "template"
        values = dict(attrs)
        self.inline += [name for name in values if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and not values.get("src")):
            self.inline.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href") and value]

    def handle_endtag(self, tag: str) -> None:
        self._template_depth -= tag == "template"

    def handle_data(self, data: str) -> None:
        if not self._template_depth:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page(sandbox: Sandbox, path: str = "/") -> Reader:
    response = send(sandbox.url, "GET", path)
    assert response.status == HTTPStatus.OK
    return Reader(response.body.decode("utf-8"))


def test_page__has_a_strict_content_security_policy(sandbox: Sandbox) -> None:
    response = send(sandbox.url, "GET", "/")

    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self';")
    assert "unsafe" not in policy
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"


def test_page__has_no_inline_script_or_style_and_links_to_existing_files(shop: Shop, sandbox: Sandbox) -> None:
    shop.start(shop.add_user())
    sandbox.attach_device(PHONE)
    reader = page(sandbox)

    assert reader.inline == []
    assert {"/static/phone.css", "/static/phone.js", "/static/icon.svg"} <= set(reader.links)
    assert [send(sandbox.url, "GET", link).status for link in reader.links] == [HTTPStatus.OK] * len(reader.links)


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
    positions = [text.index(f"Your Verification PIN code is {pin}") for pin in pins]
    assert positions == sorted(positions)
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


def test_page__escapes_names(shop: Shop, sandbox: Sandbox) -> None:
    name = '<img src=x onerror="alert(1)"> $pin &amp;'
    shop.add_user(name)
    sandbox.attach_device(PHONE)

    reader = page(sandbox)

    assert "img" not in reader.tags
    assert name in reader.text


def test_page__for_an_invalid_number_shows_all_phones(shop: Shop, sandbox: Sandbox) -> None:
    shop.start(shop.add_user())

    assert sandbox.last_pin(PHONE) in page(sandbox, "/?to=%3Cscript%3E").text


@pytest.mark.parametrize(
    ("channel", "label"),
    [("sms", ""), ("whatsapp", "WhatsApp"), ("viber", "Viber"), ("rcs", "RCS"), ("call", "Voice call")],
)
def test_page__says_how_a_message_came(sandbox: Sandbox, channel: str, label: str) -> None:
    sandbox.phones.send(PHONE, "Code 4711 & more", pin="4711", user_id="", channel=channel)

    text = page(sandbox).text

    assert f"UTC {label} Code 4711 & more".replace("  ", " ") in text


def test_page__shows_a_message_without_a_pin(sandbox: Sandbox) -> None:
    sandbox.phones.send(PHONE, "Your code is 6 1 2 3", pin="", user_id="", channel="call")

    assert "Voice call Your code is 6 1 2 3" in page(sandbox).text
