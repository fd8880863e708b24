"""A site whose provider is the sandbox's Omnichannel: reports arrive by callback, or are asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.test import Client
from django.utils import timezone

from django_verigator.models import Challenge
from django_verigator.sandbox import Sandbox
from tests.site.models import User

from .conftest import PASSWORD, PHONE, give_password

BACKEND = "django_verigator.backends.omnichannel.OmnichannelBackend"
PIN_PAGE, RESEND = "/accounts/verify/", "/accounts/verify/resend/"
ACCOUNT = {"username": "api", "password": "secret"}
Use = Callable[..., None]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(**ACCOUNT) as sandbox:
        yield sandbox


@pytest.fixture
def use(settings: Any, sandbox: Sandbox) -> Use:
    """``use(METHOD=..., **options)`` makes Omnichannel the site's provider."""

    def use(METHOD: str = "sms", **options: Any) -> None:  # noqa: N803
        entry = {"BACKEND": BACKEND, "OPTIONS": {**ACCOUNT, "endpoint": sandbox.url, **options}}
        more = {"BACKENDS": {"default": entry}, "WAYS": ["sms", "whatsapp"], "METHOD": METHOD}
        settings.VERIGATOR = {**settings.VERIGATOR, **more}

    return use


@pytest.fixture
def alice(use: Use, transactional_db: None) -> User:
    use()
    return User.objects.create_user("alice", password=PASSWORD, phone_number=PHONE)


def delivery(wanted: str) -> Challenge:
    """The code, as soon as a report on it has come; fails after 10 seconds."""
    deadline = time.monotonic() + 10
    while (challenge := Challenge.objects.get()).delivery != wanted:
        assert time.monotonic() < deadline, challenge.delivery
        time.sleep(0.05)
    return challenge


def test_callback__tells_the_page_that_the_text_arrived(
    alice: User, browser: Client, sandbox: Sandbox, use: Use, live_server: Any
) -> None:
    use(report_base=live_server.url)
    assert give_password(browser)["Location"] == PIN_PAGE
    challenge = delivery("delivered")
    assert (challenge.delivery_channel, challenge.price) == ("sms", Decimal("0.07"))
    assert challenge.report_asked_at is None  # It was told, and has not asked.
    assert "It has arrived on your phone by SMS." in browser.get(PIN_PAGE).content.decode()
    assert browser.post(PIN_PAGE, {"pin": sandbox.last_pin(PHONE)})["Location"] == "/private/"
    assert browser.session[SESSION_KEY] == str(alice.pk)


def test_callback__tells_the_page_that_the_text_was_not_taken(
    alice: User, browser: Client, sandbox: Sandbox, use: Use, live_server: Any
) -> None:
    use(report_base=live_server.url)
    sandbox.order_delivery(PHONE, "UNDELIV")
    give_password(browser)
    assert delivery("undelivered").delivery_error == "UNDELIV 1"
    assert "has not taken the text" in browser.get(PIN_PAGE).content.decode().replace("&#x27;", "'")


@pytest.mark.parametrize(
    ("status", "known"), [("DELIVRD", "delivered"), ("UNDELIV", "undelivered"), ("EXPIRED", "expired")]
)
def test_page__asks_where_nobody_may_post(
    alice: User, browser: Client, sandbox: Sandbox, status: str, known: str
) -> None:
    sandbox.order_delivery(PHONE, status)
    give_password(browser)
    assert Challenge.objects.get().delivery == ""
    Challenge.objects.update(sent_at=timezone.now() - timedelta(seconds=11))
    browser.get(PIN_PAGE)
    assert Challenge.objects.get().delivery == known


@pytest.mark.parametrize(
    ("channels", "named"), [(["viber", "sms"], "Viber"), (["rcs", "sms"], "RCS"), (["sms", "viber"], "SMS")]
)
def test_page__names_the_first_channel(
    alice: User, browser: Client, sandbox: Sandbox, use: Use, channels: list[str], named: str
) -> None:
    use(channels=channels, sender="Shop")
    give_password(browser)
    assert f"We sent a PIN by {named} to" in browser.get(PIN_PAGE).content.decode()
    assert [message["channel"] for message in sandbox.messages(PHONE)] == channels[:1]


def test_page__names_the_channel_on_which_it_has_arrived(
    alice: User, browser: Client, sandbox: Sandbox, use: Use
) -> None:
    use(channels=["viber", "sms"])
    sandbox.order_delivery(PHONE, "UNDELIV", times=1)
    give_password(browser)
    Challenge.objects.update(sent_at=timezone.now() - timedelta(seconds=11))
    page = browser.get(PIN_PAGE).content.decode()
    assert "We sent a PIN by SMS to" in page
    assert "It has arrived on your phone by SMS." in page


def test_page__names_the_channel_that_took_the_place_of_the_app_s(
    alice: User, browser: Client, sandbox: Sandbox, use: Use
) -> None:
    use(channels=["viber", "sms"], METHOD="whatsapp")
    give_password(browser)
    assert "so we sent a PIN by Viber to" in browser.get(PIN_PAGE).content.decode()


def test_button__sends_a_text_and_no_whatsapp(alice: User, browser: Client, sandbox: Sandbox, use: Use) -> None:
    use(channels=["whatsapp", "sms"], METHOD="whatsapp")
    give_password(browser)
    Challenge.objects.update(resend_at=None)
    browser.post(RESEND, {"method": "sms"})
    assert [message["channel"] for message in sandbox.messages(PHONE)] == ["whatsapp", "sms"]
