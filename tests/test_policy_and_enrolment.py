"""Who owes the second step, and how a first phone comes in."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus

import pytest
from django.contrib.auth import SESSION_KEY
from django.core.cache import cache
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from django_verigator import checks
from django_verigator.backends import backends, locmem
from django_verigator.exceptions import InvalidDataError, RequestTimeoutError
from django_verigator.flows import policy, support
from django_verigator.flows.session import SIGNED_IN_KEY
from django_verigator.models import Challenge, PhoneChange, RemoteDeletion, VerigatorUser

from .conftest import PASSWORD, PHONE, give_password, sent_pin

pytestmark = pytest.mark.usefixtures("pins")
PIN_PAGE = "/accounts/verify/"
ENROL = "/accounts/enrol/"
NUMBER = "+37255500099"


def owes(client: Client, username: str) -> bool:
    give_password(client, username)
    return SESSION_KEY not in client.session


def is_called_alice(user) -> bool:
    return user.username == "alice"


@pytest.mark.parametrize(
    ("required", "alice_owes", "carol_owes"),
    [
        ("enrolled", True, False),
        ("staff", False, True),
        ("all", True, True),
        ("none", False, False),
        (is_called_alice, True, False),
        ("tests.test_policy_and_enrolment.is_called_alice", True, False),
        (lambda user: 1 / 0, True, True),
    ],
)
def test_REQUIRED__says_who_owes(alice, carol, settings, required, alice_owes, carol_owes):
    carol.is_staff = True
    carol.save()
    settings.VERIGATOR = {**settings.VERIGATOR, "REQUIRED": required}
    assert owes(Client(), "alice") is alice_owes
    assert owes(Client(), "carol") is carol_owes


def test_user_model_without_flags_and_groups__breaks_no_login_and_keeps_the_door_shut(plain_user, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "REQUIRED": "staff"}
    assert policy.is_second_factor_required(plain_user, None) is True
    plain_user.is_staff = False
    assert policy.is_second_factor_required(plain_user, None) is False
    settings.VERIGATOR = {**settings.VERIGATOR, "REQUIRED": "all", "EXEMPT_GROUPS": ["kiosks"]}
    assert policy.is_second_factor_required(plain_user, None) is True


@pytest.mark.fault("P03")
def test_number_that_the_provider_refused_from_the_first__is_no_way_past_the_step(alice, browser):
    VerigatorUser.objects.update(state="failed", registered_at=None)
    assert owes(browser, "alice")
    assert browser.get(PIN_PAGE)["Location"] == ENROL
    assert "No PIN can be sent to the number that we have of you." in browser.get(ENROL).content.decode()
    assert browser.post(ENROL, {"phone": NUMBER})["Location"] == PIN_PAGE
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"
    assert VerigatorUser.objects.get(user=alice).phone_number == NUMBER


def test_number_that_was_confirmed_and_refused_later__stays_in_force(alice, browser):
    VerigatorUser.objects.update(state="failed", registered_at=None, confirmed_at=timezone.now())
    assert owes(browser, "alice")
    assert browser.get(PIN_PAGE).status_code == HTTPStatus.OK


UNREADABLE = ["call me", "5550 0067", "-", "n/a", "+372", "+372 5550 0067 ext 5", "+37255500067,+37255500068"]


@pytest.mark.fault("P03")
@pytest.mark.parametrize("number", UNREADABLE)
def test_number_that_nobody_can_read__is_no_way_past_the_step(db, django_user_model, browser, caplog, number):
    user = django_user_model.objects.create_user("eve", password=PASSWORD, phone_number=number)
    assert [record.levelname for record in caplog.records if "phone_unreadable" in record.message] == ["WARNING"]
    assert number not in caplog.text
    assert owes(browser, "eve")
    assert browser.get(PIN_PAGE)["Location"] == ENROL
    browser.post(ENROL, {"phone": NUMBER})
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"
    assert VerigatorUser.objects.get(user=user).phone_number == NUMBER


@pytest.mark.fault("P03")
@pytest.mark.parametrize("number", ["", " ", "\n", "\u200b", "\u00a0"])
def test_user_for_whom_the_site_supplies_nothing__owes_nothing(db, django_user_model, browser, number):
    django_user_model.objects.create_user("eve", password=PASSWORD, phone_number=number)
    assert not owes(browser, "eve")


@pytest.mark.fault("P03")
def test_users_without_a_usable_number__are_counted_wherever_support_looks(alice, carol, django_user_model, capsys):
    django_user_model.objects.create_user("eve", password=PASSWORD, phone_number="call me")
    with pytest.raises(CommandError, match="1 users have a number that cannot be used") as ended:
        call_command("verigator_sync")
    assert ended.value.returncode == 4
    call_command("verigator_sync", due=True)
    call_command("verigator_status")
    assert "a number that cannot be used, asked for another one at login: 1" in capsys.readouterr().out
    messages = run_checks(tags=[checks.TAG], include_deployment_checks=True)
    assert [message.msg[:7] for message in messages if message.id == "verigator.W008"] == ["1 users"]


@pytest.mark.fault("P03")
def test_support_s_code_and_the_emergency_switch__let_in_who_has_no_usable_number(
    db, django_user_model, browser, settings
):
    user = django_user_model.objects.create_user("eve", password=PASSWORD, phone_number="call me")
    assert owes(browser, "eve")
    assert browser.post("/accounts/verify/recovery/", {"code": support.issue_code(user, by="test")}).status_code == 302
    assert browser.get("/verified/").status_code == HTTPStatus.OK
    settings.VERIGATOR = {**settings.VERIGATOR, "REQUIRED": "none"}
    assert not owes(Client(), "eve")


@pytest.fixture
def everybody(settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "REQUIRED": "all"}


@pytest.mark.threat("A17")
def test_user_who_owes_and_has_no_phone__enrols_one_first(everybody, carol, browser):
    give_password(browser, "carol", next="/verified/")
    assert browser.get(PIN_PAGE)["Location"] == ENROL
    assert browser.get("/private/").status_code == HTTPStatus.FOUND
    page = browser.get(ENROL).content.decode()
    assert 'name="password"' not in page, "it was given a moment ago"
    assert browser.post(ENROL, {"phone": "+372 5550 0099"})["Location"] == PIN_PAGE
    assert locmem.outbox[-1].to == NUMBER
    assert not VerigatorUser.objects.get(user=carol).phone_number, "it counts when its PIN comes back"
    assert "ending in <b>99</b>" in browser.get(PIN_PAGE).content.decode()
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/verified/"
    assert browser.get("/verified/").status_code == HTTPStatus.OK
    link = VerigatorUser.objects.get(user=carol)
    assert (link.phone_number, link.state) == (NUMBER, "registered")
    assert link.confirmed_at is not None
    assert not PhoneChange.objects.exists()
    assert not RemoteDeletion.objects.exists()
    # The next login goes to that phone.
    assert owes(Client(), "carol")
    assert locmem.outbox[-1].to == NUMBER


def test_enrolment__can_be_corrected_before_its_pin(everybody, carol, browser):
    give_password(browser, "carol")
    browser.post(ENROL, {"phone": "+37255500011"})
    wrong_number = sent_pin()
    assert "Use another number" in browser.get(PIN_PAGE).content.decode()
    browser.post(ENROL, {"phone": NUMBER})
    browser.post(PIN_PAGE, {"pin": sent_pin()})
    link = VerigatorUser.objects.get(user=carol)
    assert link.phone_number == NUMBER
    assert RemoteDeletion.objects.count() == 1, "the record of the wrong number goes"
    assert wrong_number


def test_enrolment__resend_goes_to_the_same_new_number(everybody, carol, browser):
    give_password(browser, "carol")
    browser.post(ENROL, {"phone": NUMBER})
    Challenge.objects.update(resend_at=timezone.now())
    assert browser.post("/accounts/verify/resend/")["Location"] == PIN_PAGE
    assert [message.to for message in locmem.outbox] == [NUMBER, NUMBER]
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


@pytest.mark.threat("A14")
def test_user_who_has_a_phone__cannot_enrol_another_one(alice, browser):
    give_password(browser)
    assert browser.get(ENROL)["Location"] == PIN_PAGE
    assert browser.post(ENROL, {"phone": NUMBER})["Location"] == PIN_PAGE
    assert [message.to for message in locmem.outbox] == [PHONE]


@pytest.mark.threat("A17")
def test_enrolment_of_a_login_that_was_caught__asks_for_the_password(everybody, carol, browser):
    browser.get("/magic/carol/")
    assert browser.get(PIN_PAGE)["Location"] == ENROL
    assert 'name="password"' in browser.get(ENROL).content.decode()
    for password in ("", "wrong"):
        assert browser.post(ENROL, {"phone": NUMBER, "password": password}).status_code == HTTPStatus.OK
    assert locmem.outbox == []
    assert browser.post(ENROL, {"phone": NUMBER, "password": PASSWORD})["Location"] == PIN_PAGE
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/magic/carol/"


def test_enrolment_of_a_user_without_a_password__asks_for_none(everybody, carol, browser):
    carol.set_unusable_password()
    carol.save()
    browser.get("/magic/carol/")
    assert browser.post(ENROL, {"phone": NUMBER})["Location"] == PIN_PAGE


def test_enrolment__needs_a_login(db, browser):
    assert browser.get(ENROL)["Location"] == "/accounts/login/"
    assert browser.post(ENROL, {"phone": NUMBER})["Location"] == "/accounts/login/"


@pytest.mark.threat("H03")
@pytest.mark.parametrize(
    "phone",
    ["", "55500099", "+0123456789", "+372 555", "+3725550009912345678", "+372 5550 ext 5", "+372\x0055500099",
     "+372'\"><svg>", "+³⁷²⁵⁵⁵⁰⁰⁰⁹⁹", "x" * 100_000],
)  # fmt: skip
def test_what_is_no_phone_number__is_refused_without_a_call(everybody, carol, browser, phone):
    give_password(browser, "carol")
    page = browser.post(ENROL, {"phone": phone})
    assert page.status_code == HTTPStatus.OK
    assert "vg-error" in page.content.decode()
    assert locmem.outbox == []
    assert not PhoneChange.objects.exists()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InvalidDataError(status=422), "No PIN can be sent to this number."),
        (RequestTimeoutError(), "We cannot send or check PINs at the moment."),
    ],
)
def test_enrolment_the_provider_refuses__is_a_field_error_and_can_be_tried_again(
    everybody, carol, browser, monkeypatch, error, text
):
    def fail(*args, **kwargs):
        raise error

    give_password(browser, "carol")
    with monkeypatch.context() as patch:
        patch.setattr(backends.default, "register", fail)
        assert text in browser.post(ENROL, {"phone": NUMBER}).content.decode()
    assert browser.post(ENROL, {"phone": NUMBER})["Location"] == PIN_PAGE
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


def test_enrolment_proposal__ends_after_an_hour(everybody, carol, browser):
    give_password(browser, "carol")
    browser.post(ENROL, {"phone": NUMBER})
    PhoneChange.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    browser.post(PIN_PAGE, {"pin": sent_pin()})
    assert SESSION_KEY not in browser.session
    assert not VerigatorUser.objects.get(user=carol).phone_number


@pytest.mark.threat("F11", "J04")
def test_number_of_somebody_else__is_taken_without_a_word_and_changes_nothing_there(everybody, alice, carol, browser):
    give_password(browser, "carol")
    assert browser.post(ENROL, {"phone": PHONE})["Location"] == PIN_PAGE
    assert VerigatorUser.objects.get(user=alice).phone_number == PHONE
    browser.post(PIN_PAGE, {"pin": sent_pin()})
    assert VerigatorUser.objects.get(user=carol).phone_number == PHONE
    assert owes(Client(), "alice")


def test_deleted_user__takes_a_phone_on_its_way_along(everybody, carol, browser):
    give_password(browser, "carol")
    browser.post(ENROL, {"phone": NUMBER})
    record = PhoneChange.objects.get().verigator_id
    carol.delete()
    assert record in [row.verigator_id for row in RemoteDeletion.objects.all()]


def test_next_with_a_nul__is_dropped_where_a_phone_is_enrolled(carol, browser):
    browser.force_login(carol)
    page = browser.get("/accounts/enrol/?next=/a%00b")
    assert page.status_code == HTTPStatus.OK
    assert page.context["next"] == ""


# --- a first phone of a user who has no password to be asked for ------------------------------------------------------


@pytest.fixture
def sso_user(db, django_user_model):
    user = django_user_model.objects.create_user("sso", email="sso@example.com")
    assert not user.has_usable_password()
    return user


def some_time_later(client):
    session = client.session
    user, at = session[SIGNED_IN_KEY]
    session[SIGNED_IN_KEY] = [user, at - 301]
    session.save()


@pytest.fixture
def only_who_has_just_signed_in(settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "ENROL_SECONDS": 300}


@pytest.mark.fault("T06")
@pytest.mark.parametrize("required", ["enrolled", "all"])
def test_session_alone__enrols_no_phone_where_the_site_wants_a_new_sign_in(
    only_who_has_just_signed_in, sso_user, browser, settings, required
):
    browser.get("/magic/sso/")  # signs in without a password
    settings.VERIGATOR = {**settings.VERIGATOR, "REQUIRED": required}
    cache.clear()
    some_time_later(browser)
    browser.get("/private/")
    for answer in (browser.get(ENROL), browser.post(ENROL, {"phone": NUMBER})):
        assert answer["Location"].startswith("/accounts/login/")
    assert SESSION_KEY not in browser.session, "a login page that sends on who is in must not send back"
    assert locmem.outbox == []
    assert not PhoneChange.objects.exists()


@pytest.mark.fault("T06")
def test_session_of_another_user__is_no_sign_in_of_this_one(only_who_has_just_signed_in, sso_user, carol, browser):
    browser.get("/magic/carol/")
    session = browser.session
    signed_in = session[SIGNED_IN_KEY]
    browser.force_login(sso_user)
    session = browser.session
    session[SIGNED_IN_KEY] = signed_in
    session.save()
    assert browser.post(ENROL, {"phone": NUMBER})["Location"].startswith("/accounts/login/")


@pytest.mark.fault("T06")
@pytest.mark.parametrize("required", ["enrolled", "all"])
def test_user_who_has_just_signed_in__enrols_a_phone_and_is_told_by_mail(
    only_who_has_just_signed_in, sso_user, browser, settings, mailoutbox, required, django_capture_on_commit_callbacks
):
    settings.VERIGATOR = {**settings.VERIGATOR, "REQUIRED": required}
    browser.get("/magic/sso/")
    with django_capture_on_commit_callbacks(execute=True):
        browser.post(ENROL, {"phone": NUMBER})
        browser.post(PIN_PAGE, {"pin": sent_pin()})
    assert VerigatorUser.objects.get(user=sso_user).phone_number == NUMBER
    assert [mail.to for mail in mailoutbox] == [["sso@example.com"]]


@pytest.mark.fault("T06")
def test_user_with_a_password__is_asked_for_that_instead(only_who_has_just_signed_in, carol, browser):
    browser.get("/magic/carol/")
    some_time_later(browser)
    assert 'name="password"' in browser.get(ENROL).content.decode()
    assert browser.post(ENROL, {"phone": NUMBER, "password": PASSWORD})["Location"] == PIN_PAGE
