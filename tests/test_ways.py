"""A code comes as the user asks for it: by text, call or WhatsApp, of which the site allows some."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.core.checks import run_checks
from django.test import Client

from django_verigator import checks
from django_verigator.backends import Circuit, CircuitState, Started, backends, locmem
from django_verigator.exceptions import InvalidDataError, RequestTimeoutError
from django_verigator.models import Challenge, Counter
from tests.site.models import User

from .conftest import PHONE, give_password, sent_pin

pytestmark = pytest.mark.usefixtures("pins")
PIN_PAGE, RESEND = "/accounts/verify/", "/accounts/verify/resend/"
LOCMEM = "django_verigator.backends.locmem.LocMemBackend"
ALL_WAYS = ["sms", "totp", "call", "whatsapp"]
TEXTS = {"BACKEND": LOCMEM, "OPTIONS": {"keeps_users": False}}
ALL = {"BACKEND": LOCMEM, "OPTIONS": {"keeps_users": False, "methods": ["sms", "call", "whatsapp"]}}
CALLS = {"BACKEND": LOCMEM, "OPTIONS": {"keeps_users": False, "methods": ["call"]}}
BUTTONS = {
    "sms": "Send me an SMS instead",
    "call": "Call me instead",
    "whatsapp": "Use WhatsApp instead",
}
NO_PAUSE = {"RESEND_PAUSE": 1}


@pytest.fixture
def use(settings: Any) -> Any:
    def use(*entries: dict[str, Any], ways: list[str] = ALL_WAYS, **more: Any) -> None:
        named = {f"provider-{place}": entry for place, entry in enumerate(entries)}
        settings.VERIGATOR = {**settings.VERIGATOR, "BACKENDS": named, "WAYS": ways, **more}

    use(ALL)
    return use


@pytest.fixture
def alice(use: Any, alice: User) -> User:
    return alice


def page(browser: Client) -> str:
    return browser.get(PIN_PAGE).content.decode()


def offered(browser: Client) -> set[str]:
    text = page(browser)
    return {method for method, button in BUTTONS.items() if button in text}


def send_by(browser: Client, method: str) -> Any:
    Challenge.objects.update(resend_at=None)
    return browser.post(RESEND, {"method": method})


def sent() -> list[str]:
    return [message.method for message in locmem.outbox]


def ids() -> list[str | None]:
    return [message.id for message in run_checks(tags=[checks.TAG])]


@pytest.mark.parametrize(
    ("entries", "ways", "expected"),
    [
        ([ALL], ALL_WAYS, {"call", "whatsapp"}),
        ([ALL], ["sms", "call"], {"call"}),
        ([ALL], ["sms"], set()),
        ([TEXTS], ALL_WAYS, set()),
        ([TEXTS, CALLS], ALL_WAYS, {"call"}),
        ([TEXTS, CALLS], ["whatsapp", "sms"], set()),
    ],
)
def test_page__offers_what_a_backend_can_and_the_site_allows(
    alice: User, browser: Client, use: Any, entries: list[dict[str, Any]], ways: list[str], expected: set[str]
) -> None:
    use(*entries, ways=ways)
    give_password(browser)
    assert offered(browser) == expected
    assert sent() == ["sms"]


def test_default__is_text_and_app_alone(alice: User, browser: Client, settings: Any) -> None:
    del settings.VERIGATOR["WAYS"]
    settings.VERIGATOR = dict(settings.VERIGATOR)
    give_password(browser)
    assert offered(browser) == set()
    assert "not sent this way here" in send_by(browser, "call").content.decode()
    assert sent() == ["sms"]


@pytest.mark.parametrize(
    ("method", "text"),
    [("call", "We are calling the number ending in <b>67</b>. Answer, and type"), ("whatsapp", "a PIN by WhatsApp")],
)
def test_code_by_another_way__is_said_and_lets_in(
    alice: User, browser: Client, use: Any, method: str, text: str
) -> None:
    give_password(browser)
    assert send_by(browser, method)["Location"] == PIN_PAGE
    assert sent() == ["sms", method]
    assert text in page(browser)
    assert offered(browser) == {"sms", "call", "whatsapp"} - {method}
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"
    assert Challenge.objects.get(outcome=Challenge.Outcome.VERIFIED).method == method


def test_method__may_be_a_call_from_the_first_code_on(alice: User, browser: Client, use: Any) -> None:
    use(ALL, METHOD="call")
    assert ids() == ["verigator.W023"]
    give_password(browser)
    assert sent() == ["call"]
    assert "Call me again" in page(browser)
    send_by(browser, "")
    assert sent() == ["call", "call"]
    assert "SMS" in page(browser)
    send_by(browser, "sms")
    assert sent()[-1] == "sms"


def test_another_way__is_another_provider_although_that_one_only_texts(alice: User, browser: Client, use: Any) -> None:
    use(ALL, TEXTS, METHOD="call")
    give_password(browser)
    assert "Send it another way" in page(browser)
    Challenge.objects.update(resend_at=None)
    browser.post(RESEND, {"way": "other"})
    sent_by = Challenge.objects.order_by("step").values_list("backend", "method")
    assert list(sent_by) == [("provider-0", "call"), ("provider-1", "sms")]


@pytest.mark.parametrize(("way", "used"), [("sms", "whatsapp"), ("call", "sms")])
def test_provider_that_takes_a_forbidden_way__ends_the_login_without_a_word_of_the_app(
    alice: User, browser: Client, use: Any, monkeypatch: Any, way: str, used: str
) -> None:
    use(ALL, ways=[way], METHOD=way)
    monkeypatch.setattr(backends["provider-0"], "start", lambda *args, **kwargs: Started(used, "reference"))
    give_password(browser)
    assert "PINs are not sent this way here." in page(browser)
    assert Challenge.objects.get().refusal == "way_forbidden"


def test_key_press__is_said_where_the_call_asks_for_one(
    alice: User, browser: Client, use: Any, monkeypatch: Any
) -> None:
    use(ALL, METHOD="call")
    monkeypatch.setattr(backends.default, "call_needs_key_press", True)
    give_password(browser)
    assert "press a key when you are asked to" in page(browser)


@pytest.mark.parametrize(
    ("method", "text"), [("call", "We cannot call at the moment, so"), ("whatsapp", "We cannot use WhatsApp at the")]
)
def test_way_that_fails__falls_back_to_a_text_of_another_provider(
    alice: User, browser: Client, use: Any, method: str, text: str
) -> None:
    use(ALL, TEXTS)
    give_password(browser)
    locmem.fail_next(alias="provider-0")
    send_by(browser, method)
    assert sent() == ["sms", "sms"]
    assert text in page(browser)
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


def test_way_of_a_later_provider__is_asked_of_that_one_first(alice: User, browser: Client, use: Any) -> None:
    use(TEXTS, CALLS)
    give_password(browser)
    send_by(browser, "call")
    assert sent() == ["sms", "call"]
    assert Challenge.objects.order_by("step").last().backend == "provider-1"  # type: ignore[union-attr]


def test_text_that_is_not_allowed__is_no_way_out(alice: User, browser: Client, use: Any) -> None:
    use(TEXTS, ALL, ways=["call", "whatsapp"], METHOD="call")
    give_password(browser)
    assert sent() == ["call"]
    assert offered(browser) == {"whatsapp"}
    locmem.fail_next(alias="provider-1", times=None)
    send_by(browser, "call")
    assert "Signing in needs the Verigator app" in send_by(browser, "sms").content.decode()
    assert sent() == ["call"]


@pytest.mark.threat("E01")
@pytest.mark.parametrize("method", ["call", "whatsapp"])
def test_way__is_under_the_send_limits(alice: User, browser: Client, use: Any, method: str) -> None:
    use(ALL, LIMITS={**NO_PAUSE, "SENDS_PER_USER_HOUR": 2})
    give_password(browser)
    send_by(browser, method)
    assert "Too many PINs were asked for" in send_by(browser, method).content.decode()
    assert sent() == ["sms", method]
    assert set(Counter.objects.filter(scope="sends/user/hour").values_list("count", flat=True)) == {2}


@pytest.mark.threat("E03")
def test_another_way__waits_for_the_pause_too(alice: User, browser: Client) -> None:
    give_password(browser)
    assert "A PIN was sent a moment ago" in browser.post(RESEND, {"method": "call"}).content.decode()
    assert sent() == ["sms"]


@pytest.mark.parametrize("method", ["pigeon", "totp ", "SMS", "", "\x00", "x" * 10_000])
def test_unknown_way__is_the_same_way_again(alice: User, browser: Client, method: str) -> None:
    give_password(browser)
    send_by(browser, method)
    assert sent() == ["sms", "sms"]


def test_refused_number__is_not_carried_to_the_next_provider(alice: User, browser: Client, use: Any) -> None:
    """Whatever the status: a provider that blocks a number, for fraud, must not be got round."""
    use(ALL, TEXTS)
    locmem.fail_next(InvalidDataError(status=403), alias="provider-0")
    give_password(browser)
    assert sent() == []


def test_call_whose_answer_was_lost__is_told_as_a_call(alice: User, browser: Client, use: Any) -> None:
    give_password(browser)
    locmem.fail_next(RequestTimeoutError(), after=True)
    send_by(browser, "call")
    assert Challenge.objects.order_by("step").last().method == "call"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("entries", "ways", "method", "found"),
    [
        ([TEXTS], ["sms"], "sms", []),
        ([TEXTS], ["sms", "call"], "call", []),  # a text is sent in its place
        ([TEXTS], ["call"], "call", ["verigator.E021"]),
        ([TEXTS], ["call"], "sms", ["verigator.E021"]),
        ([ALL], ["sms", "call"], "sms", ["verigator.W023"]),
        ([ALL], ["sms", "whatsapp"], "whatsapp", []),
        ([TEXTS], [], "sms", ["verigator.E001"]),
        ([TEXTS], ["pigeon"], "sms", ["verigator.E001"]),
    ],
)
def test_checks__say_what_cannot_work(
    use: Any, entries: list[dict[str, Any]], ways: list[str], method: str, found: list[str]
) -> None:
    use(*entries, ways=ways, METHOD=method)
    assert ids() == found


def test_enrolment__sends_to_the_first_phone_by_method(carol: User, browser: Client, use: Any) -> None:
    use(ALL, METHOD="whatsapp", REQUIRED="all")
    give_password(browser, "carol")
    browser.post("/accounts/enrol/", {"phone_number": PHONE, "phone": PHONE})
    assert sent() == ["whatsapp"]
    assert browser.post(PIN_PAGE, {"pin": sent_pin()}).status_code == 302
    assert browser.session[SESSION_KEY] == str(carol.pk)
    assert Circuit("provider-0").state == CircuitState.CLOSED
