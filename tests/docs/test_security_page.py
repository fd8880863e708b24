"""The page on security says what is so: the numbers, what is stored, what a new SECRET_KEY does."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.test import Client

from django_verigator import conf, testing
from django_verigator.flows import recovery
from django_verigator.models import VerigatorUser

from ..conftest import WRONG_PIN, give_password
from .markdown import DOCS, code, first_column, rows, section

PAGE = DOCS / "security.md"
KEY_TABLE = rows(section(PAGE, "A new `SECRET_KEY`"))


def _number(text: str) -> int:
    return int(text.split()[0].replace(",", ""))


def test_chances__are_pins_by_tries(settings) -> None:
    for length, pins, stop, chance in rows(section(PAGE, "PIN length and limits")):
        limits = {"CONSECUTIVE_FAILURES": _number(stop)}
        settings.VERIGATOR = {**settings.VERIGATOR, "PIN_LENGTH": int(length), "LIMITS": limits}
        assert _number(pins) == 10 ** int(length)
        assert chance == f"1 in {_number(pins) // conf.consecutive_failures():,}"


def test_four_digits__are_never_tried_more_often_in_a_row(settings) -> None:
    settings.VERIGATOR = {**settings.VERIGATOR, "PIN_LENGTH": 4, "LIMITS": {"CONSECUTIVE_FAILURES": 100}}
    first = rows(section(PAGE, "PIN length and limits"))[0]
    assert first[2] == f"{conf.consecutive_failures()} (never more)"


def test_patient_guesser__has_the_chance_that_the_page_names() -> None:
    four = 1 - (1 - 1 / 10**4) ** (365 * (conf.SHORT_PIN_FAILURES - 1))
    six = 1 - (1 - 1 / 10**6) ** (365 * conf.Limits().TRIES_PER_USER_DAY)
    assert 0.22 < four < 0.3
    assert six < 0.01


def test_tables__are_all_listed() -> None:
    listed = first_column(section(DOCS / "how-it-works.md", "What is stored"))
    assert set(listed) == {model.__name__ for model in apps.get_app_config("django_verigator").get_models()}


def test_cookies__are_the_two_of_the_page(client, alice, settings) -> None:
    settings.VERIGATOR = {**settings.VERIGATOR, "TRUSTED_BROWSER_DAYS": 30}
    before = set(client.cookies)
    give_password(client)
    client.post("/accounts/verify/", {"pin": testing.last_pin(), "trust": "on"})
    ours = sorted(name for name in set(client.cookies) - before if name.startswith("verigator"))
    named = sorted(word for word in code(section(PAGE, "What is stored, and for how long")) if word.endswith("…"))
    assert [name.startswith(start.rstrip("…")) for name, start in zip(ours, named, strict=True)] == [True, True]


def _change_key(settings: Any) -> None:
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another" * 9


def _session(client: Client, user: Any, settings: Any) -> bool:
    testing.login_verified(client, user)
    _change_key(settings)
    return client.get("/private/").status_code == 200


def _recovery_code(client: Client, user: Any, settings: Any) -> bool:
    recovery_code = recovery.renew(user)[0]
    _change_key(settings)
    give_password(client)
    client.post("/accounts/verify/recovery/", {"code": recovery_code})
    return client.get("/private/").status_code == 200


def _pending_login(client: Client, user: Any, settings: Any) -> bool:
    give_password(client)
    _change_key(settings)
    client.post("/accounts/verify/", {"pin": testing.last_pin()})
    return client.get("/private/").status_code == 200


def _trusted_browser(client: Client, user: Any, settings: Any) -> bool:
    settings.VERIGATOR = {**settings.VERIGATOR, "TRUSTED_BROWSER_DAYS": 30}
    give_password(client)
    client.post("/accounts/verify/", {"pin": testing.last_pin(), "trust": "on"})
    del client.cookies[settings.SESSION_COOKIE_NAME]
    _change_key(settings)
    give_password(client)
    return client.get("/private/").status_code == 200


def _counter(client: Client, user: Any, settings: Any) -> bool:
    settings.VERIGATOR = {**settings.VERIGATOR, "LIMITS": {"SENDS_PER_USER_HOUR": 1}}
    give_password(client)
    _change_key(settings)
    sent = len(testing.outbox)
    give_password(Client())
    return len(testing.outbox) == sent


def _hard_stop(client: Client, user: Any, settings: Any) -> bool:
    give_password(client)
    client.post("/accounts/verify/", {"pin": WRONG_PIN})
    VerigatorUser.objects.filter(user=user).update(consecutive_failures=conf.consecutive_failures())
    give_password(Client())
    assert VerigatorUser.objects.get(user=user).consecutive_failures == conf.consecutive_failures()
    _change_key(settings)
    give_password(Client())
    return VerigatorUser.objects.get(user=user).consecutive_failures == conf.consecutive_failures()


OUTLIVES = {
    "sessions": _session,
    "recovery codes": _recovery_code,
    "pending logins": _pending_login,
    "trusted browsers": _trusted_browser,
    "counters of tries and texts": _counter,
    "the hard stop": _hard_stop,
}


@pytest.mark.parametrize(("what", "said"), KEY_TABLE, ids=[row[0] for row in KEY_TABLE])
def test_new_secret_key__does_what_the_page_says(what: str, said: str, client, alice, settings) -> None:
    assert OUTLIVES[what](client, alice, settings) == said.startswith(("go on", "stay"))


def test_new_secret_key__is_described_in_full() -> None:
    assert [row[0] for row in KEY_TABLE] == list(OUTLIVES)
