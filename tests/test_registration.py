"""The link is written with the user, the provider is asked after commit, and nothing of it can break a save."""

from __future__ import annotations

import contextlib
import json
import re
from datetime import timedelta

import phonenumbers
import pytest
from django.apps import apps
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models.signals import post_save, pre_delete
from django.test import Client
from django.utils import timezone

from django_verigator import signals
from django_verigator.backends import backends, locmem
from django_verigator.exceptions import InternalError, InvalidDataError, RequestTimeoutError, ResourceAlreadyExistsError
from django_verigator.flows import policy, support
from django_verigator.models import RemoteDeletion, VerigatorUser
from django_verigator.records import backoff, registration, site_phones
from django_verigator.records.registration import RegistrationResult
from tests.site.models import Courier, Member, User

from .conftest import PASSWORD, PHONE, give_password, sent_pin

State = VerigatorUser.State


@pytest.fixture
def on_commit(django_capture_on_commit_callbacks):
    return lambda: django_capture_on_commit_callbacks(execute=True)


@pytest.fixture
def provider():
    return backends.default


def remote_phones() -> dict[str, str]:
    memory = locmem._memories.get("default")
    return dict(memory.phones) if memory else {}


def test_new_user__gets_a_link_and_is_registered_after_commit(db, on_commit):
    with on_commit():
        user = User.objects.create_user("bob", phone_number="00372 5550 0067")
        assert user.verigator.state == State.PENDING
        assert remote_phones() == {}
    link = VerigatorUser.objects.get(user=user)
    assert (link.state, link.phone_number) == (State.REGISTERED, PHONE)
    assert remote_phones() == {link.verigator_id: PHONE}


@pytest.mark.parametrize("model", [Member, Courier])
def test_proxy_and_child_of_the_user_model__get_a_link_too(db, on_commit, model):
    with on_commit():
        user = model.objects.create_user("bob", phone_number=PHONE)
    assert VerigatorUser.objects.get(user_id=user.pk).state == State.REGISTERED


@pytest.mark.threat("R17")
def test_rolled_back_save__calls_nobody(transactional_db):
    with pytest.raises(RuntimeError), transaction.atomic():
        User.objects.create_user("bob", phone_number=PHONE)
        raise RuntimeError
    assert remote_phones() == {}
    assert not VerigatorUser.objects.exists()


def test_save_in_autocommit__registers_at_once(transactional_db):
    user = User.objects.create_user("bob", phone_number=PHONE)
    assert VerigatorUser.objects.get(user=user).state == State.REGISTERED


def test_provider_call__has_no_transaction_open(transactional_db, provider, monkeypatch):
    seen = []
    real = provider.register
    monkeypatch.setattr(
        provider, "register", lambda *args, **kwargs: seen.append(connection.in_atomic_block) or real(*args, **kwargs)
    )
    with transaction.atomic():
        User.objects.create_user("bob", phone_number=PHONE)
    assert seen == [False]


@pytest.mark.threat("R22")
def test_fixtures_and_bulk_create__are_left_to_sync(db, tmp_path, on_commit):
    fixture = tmp_path / "users.json"
    fields = {"username": "raw", "phone_number": "+37255500011"}
    fixture.write_text(json.dumps([{"model": "site.user", "pk": 7, "fields": fields}]))
    with on_commit():
        call_command("loaddata", str(fixture), verbosity=0)
        User.objects.bulk_create([User(username="bulk", phone_number="+37255500012")])
    assert not VerigatorUser.objects.exists()
    call_command("verigator_sync", verbosity=0)
    assert sorted(remote_phones().values()) == ["+37255500011", "+37255500012"]


def test_missing_link__is_made_at_the_next_login(db, browser, on_commit):
    user = User(username="alice", phone_number=PHONE)
    user.set_password(PASSWORD)
    User.objects.bulk_create([user])
    assert give_password(browser)["Location"] == "/accounts/verify/"
    assert browser.post("/accounts/verify/", {"pin": sent_pin()})["Location"] == "/private/"


@pytest.mark.parametrize(
    ("setting", "phone"),
    [
        ("phone_number", PHONE),
        ("first_name", PHONE),
        ("profile.phone", None),
        (lambda user: user.phone_number, PHONE),
        ("tests.test_registration:phone_from_a_function", "+37255500099"),
        (lambda user: 1 / 0, None),
        (lambda user: "no number", None),
    ],
)
def test_PHONE__is_a_path_or_a_callable_and_never_breaks_a_save(db, settings, setting, phone, caplog):
    settings.VERIGATOR = {**settings.VERIGATOR, "PHONE": setting}
    user = User.objects.create_user("bob", phone_number=PHONE, first_name=PHONE)
    assert VerigatorUser.objects.get(user=user).phone_number == (phone or "")
    assert PHONE not in caplog.text


def phone_from_a_function(user):
    return "+37255500099"


def test_PHONE__that_raises_is_logged(db, settings, caplog):
    settings.VERIGATOR = {**settings.VERIGATOR, "PHONE": lambda user: user.phone_number / 0}
    user = User.objects.create_user("bob", phone_number=PHONE)
    assert f"phone_failed user={user.pk} error=TypeError" in caplog.text


def look_up(user):
    raise LookupError(f"nothing about {user.phone_number}")


@pytest.mark.fault("N09")
@pytest.mark.parametrize("setting", ["PHONE", "REQUIRED"])
def test_traceback_goes_to_the_log__of_the_site_s_phone_and_rule(alice, settings, caplog, setting):
    settings.VERIGATOR = {**settings.VERIGATOR, setting: look_up}
    site_phones.phone_of(alice)
    policy.is_second_factor_required(alice, alice.verigator)
    assert f"{setting.lower()}_failed user={alice.pk} error=LookupError at " in caplog.text
    assert "in look_up\n" in caplog.text
    assert 'raise LookupError(f"nothing about {user.phone_number}")' in caplog.text
    assert PHONE[1:] not in caplog.text


@pytest.mark.fault("N09")
def test_traceback_goes_to_the_log__of_the_site_s_ids(db, settings, on_commit, caplog):
    settings.VERIGATOR = {**settings.VERIGATOR, "ID_IN_SERVICE": "tests.test_registration:look_up"}
    with on_commit():
        User.objects.create_user("bob", phone_number=PHONE)
    assert "id_failed" in caplog.text
    assert "in look_up\n" in caplog.text
    assert PHONE[1:] not in caplog.text


@pytest.mark.fault("N08")
def test_link_that_the_database_refuses__is_logged_with_its_reason(db, lose_table, caplog):
    lose_table(VerigatorUser)
    User.objects.create_user("bob", phone_number=PHONE)
    reason = {"sqlite": "no such table: not_migrated", "postgresql": " 42P01 at ", "mysql": " 1146 at "}
    assert reason[connection.vendor] in caplog.text


@pytest.mark.threat("R23")
def test_link_that_cannot_be_written__does_not_break_the_save(db, monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise RuntimeError("no")

    monkeypatch.setattr(VerigatorUser, "save", fail)
    user = User.objects.create_user("bob", phone_number=PHONE)
    assert User.objects.filter(pk=user.pk).exists()
    assert "link_failed" in caplog.text


def failing(error):
    def fail(*args, **kwargs):
        raise error

    return fail


@pytest.mark.threat("R08")
def test_provider_down__keeps_the_registration_for_sync(db, on_commit, provider, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(provider, "register", failing(RequestTimeoutError()))
        with on_commit():
            user = User.objects.create_user("bob", phone_number=PHONE)
    link = VerigatorUser.objects.get(user=user)
    assert (link.state, link.last_error, link.attempts) == (State.PENDING, "timeout", 1)
    assert timezone.now() < link.next_attempt_at < timezone.now() + timedelta(seconds=73)
    call_command("verigator_sync", "--due", verbosity=0)
    assert VerigatorUser.objects.get(user=user).state == State.PENDING, "not due yet"
    call_command("verigator_sync", verbosity=0)
    link.refresh_from_db()
    assert (link.state, link.last_error, link.attempts) == (State.REGISTERED, "", 0)


@pytest.mark.threat("R08")
def test_back_off__grows_and_honours_retry_after():
    first = backoff.delay(0, InternalError())
    later = backoff.delay(4, InternalError())
    assert timedelta(seconds=48) <= first <= timedelta(seconds=72)
    assert timedelta(seconds=768) <= later <= timedelta(seconds=1152)
    asked_to_wait = backoff.delay(0, InternalError(retry_after=3000))
    assert timedelta(seconds=3000) <= asked_to_wait <= timedelta(seconds=3600)
    assert backoff.delay(60, InternalError()) <= timedelta(hours=7.2)


@pytest.mark.threat("R15")
def test_refused_number__is_not_tried_again(db, on_commit, provider, monkeypatch):
    monkeypatch.setattr(provider, "register", failing(InvalidDataError(status=422)))
    with on_commit():
        user = User.objects.create_user("bob", phone_number=PHONE)
    link = VerigatorUser.objects.get(user=user)
    assert (link.state, link.last_error) == (State.FAILED, "invalid_data")
    monkeypatch.setattr(provider, "register", failing(AssertionError("called again")))
    assert registration.register(link) == RegistrationResult.REFUSED
    # The site mends the number: nobody has confirmed the old one, so it is replaced at once.
    monkeypatch.undo()
    user.phone_number = "+37255500099"
    with on_commit():
        user.save()
    link.refresh_from_db()
    assert (link.state, link.phone_number) == (State.REGISTERED, "+37255500099")


@pytest.mark.threat("J05", "R14")
def test_id_that_is_taken__is_answered_by_a_fresh_one_and_never_adopted(db, on_commit, provider, monkeypatch):
    real, ids = provider.register, []

    def register(phone_number, id_in_service, **kwargs):
        ids.append(id_in_service)
        if len(ids) == 1:
            raise ResourceAlreadyExistsError(status=409)
        return real(phone_number, id_in_service, **kwargs)

    monkeypatch.setattr(provider, "register", register)
    with on_commit():
        user = User.objects.create_user("bob", phone_number=PHONE)
    link = VerigatorUser.objects.get(user=user)
    assert link.state == State.REGISTERED
    assert link.id_in_service == ids[1] != ids[0]
    assert [row.id_in_service for row in RemoteDeletion.objects.all()] == [ids[0]]


@pytest.mark.threat("R18")
def test_lost_reply__is_adopted_by_sync_under_the_id_we_chose(db, on_commit, provider, monkeypatch):
    real = provider.register

    def lose_the_reply(*args, **kwargs):
        real(*args, **kwargs)
        raise RequestTimeoutError

    monkeypatch.setattr(provider, "register", lose_the_reply)
    with on_commit():
        user = User.objects.create_user("bob", phone_number=PHONE)
    monkeypatch.undo()
    link = VerigatorUser.objects.get(user=user)
    assert link.verigator_id is None
    call_command("verigator_sync", verbosity=0)
    link.refresh_from_db()
    assert remote_phones() == {link.verigator_id: PHONE}


@pytest.mark.threat("R39")
def test_record_that_is_gone__is_made_again_by_sync_and_strangers_are_left_alone(alice, provider, capsys):
    locmem.reset()
    stranger = provider.register("+37255500011", "somebody-else")
    call_command("verigator_sync")
    link = VerigatorUser.objects.get(user=alice)
    assert link.state == State.REGISTERED
    assert remote_phones() == {link.verigator_id: PHONE, stranger: "+37255500011"}
    assert "repaired: 1" in capsys.readouterr().out


def test_half_a_list__makes_nobody_lost(alice, provider, monkeypatch):
    def cut(*args):
        yield from ()
        raise RequestTimeoutError

    monkeypatch.setattr(provider, "users", cut)
    with pytest.raises(Exception, match="Something is left to do"):
        call_command("verigator_sync", verbosity=0)
    assert VerigatorUser.objects.get(user=alice).state == State.REGISTERED


@pytest.mark.threat("R12")
def test_record_that_is_gone__is_made_again_at_the_next_login(alice, browser):
    locmem.reset()
    before = VerigatorUser.objects.get(user=alice)
    give_password(browser)
    link = VerigatorUser.objects.get(user=alice)
    assert link.verigator_id != before.verigator_id
    assert link.id_in_service != before.id_in_service
    assert browser.post("/accounts/verify/", {"pin": sent_pin()})["Location"] == "/private/"


@pytest.mark.threat("R37")
def test_deleted_user__is_deleted_at_the_provider_by_sync(alice):
    user_id = alice.verigator.verigator_id
    alice.delete()
    assert [row.verigator_id for row in RemoteDeletion.objects.all()] == [user_id]
    assert user_id in remote_phones()
    call_command("verigator_sync", verbosity=0)
    assert remote_phones() == {}
    assert not RemoteDeletion.objects.exists()


@pytest.mark.threat("R38")
def test_deletion_that_is_rolled_back__keeps_the_record(alice):
    with pytest.raises(RuntimeError), transaction.atomic():
        alice.delete()
        raise RuntimeError
    assert not RemoteDeletion.objects.exists()


def test_rows_of_another_database__change_nothing_here(alice, on_commit):
    """An archive or another tenant's database, with the same primary keys."""
    link = VerigatorUser.objects.get()
    namesake = User(pk=alice.pk, username="namesake", phone_number="+37255500099")
    with on_commit():
        post_save.send(User, instance=namesake, created=True, raw=False, using="archive", update_fields=None)
        pre_delete.send(VerigatorUser, instance=VerigatorUser(pk=link.pk, user_id=alice.pk), using="archive")
    assert VerigatorUser.objects.get().phone_number == PHONE
    assert not RemoteDeletion.objects.exists()


@pytest.mark.threat("R37")
def test_deletion_while_the_provider_is_down__stays_noted(alice, provider, monkeypatch):
    alice.delete()
    monkeypatch.setattr(provider, "unregister", failing(RequestTimeoutError()))
    with pytest.raises(Exception, match="Something is left to do"):
        call_command("verigator_sync", verbosity=0)
    assert RemoteDeletion.objects.get().last_error == "timeout"


@pytest.mark.threat("R21")
def test_registration_in_other_hands__is_left_alone(db, provider, monkeypatch):
    user = User.objects.create_user("bob", phone_number=PHONE)
    link = VerigatorUser.objects.select_related("user").get(user=user)
    VerigatorUser.objects.update(leased_until=timezone.now() + timedelta(seconds=30))
    monkeypatch.setattr(provider, "register", failing(AssertionError("called")))
    assert registration.register(link) == RegistrationResult.BUSY


@pytest.mark.parametrize("follow", ["save", "login", "sync", "due"])
def test_national_number_that_comes_after_the_link__is_refused_until_it_is_mended(carol, browser, on_commit, follow):
    def set_number(number):
        User.objects.filter(pk=carol.pk).update(phone_number=number)
        if follow == "save":
            User.objects.get(pk=carol.pk).save()
        elif follow == "login":
            give_password(browser, "carol")
        else:
            with contextlib.suppress(CommandError):  # it counts the numbers that cannot be used
                call_command("verigator_sync", due=follow == "due", verbosity=0)
        link = VerigatorUser.objects.get(user=carol)
        return link.state, link.last_error, link.phone_number

    with on_commit():
        assert set_number("5550 0067") == (State.FAILED, "invalid_phone", "")
        assert VerigatorUser.objects.get(user=carol).last_error_at is not None
        assert set_number("5550 0068") == (State.FAILED, "invalid_phone", "")
        assert set_number("") == (State.NO_PHONE, "", "")
        assert set_number("call me") == (State.FAILED, "invalid_phone", "")
        set_number(PHONE)
    link = VerigatorUser.objects.get(user=carol)
    assert (link.state, link.last_error, link.phone_number) == (State.REGISTERED, "", PHONE)


class NationalNumber(phonenumbers.PhoneNumber):
    """As django-phonenumber-field has them, with PHONENUMBER_DEFAULT_FORMAT = "NATIONAL"."""

    def __str__(self):
        return "5550 0067"


class ForeignNumber:
    """Of a package that we do not know."""

    as_e164 = PHONE

    def __str__(self):
        return "5550 0067"


@pytest.mark.fault("P01")
@pytest.mark.parametrize("number", [NationalNumber(country_code=372, national_number=55500067), ForeignNumber()])
def test_number_that_knows_its_own_international_form__is_read_by_it(carol, browser, settings, number):
    settings.VERIGATOR = {**settings.VERIGATOR, "PHONE": lambda user: number}
    give_password(browser, "carol")
    assert VerigatorUser.objects.get(user=carol).phone_number == PHONE
    assert locmem.outbox[-1].to == PHONE


@pytest.mark.fault("P01", "P03")
def test_number_of_the_library_that_is_none__is_no_way_past_the_step(carol, browser, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "PHONE": lambda user: NationalNumber(raw_input="5550 0067")}
    assert give_password(browser, "carol")["Location"] == "/accounts/verify/"


@pytest.mark.fault("P02")
@pytest.mark.parametrize(
    "number", [f"{PHONE}\n", "\u202a+372 5550 0067\u202c", "+372 5550\u20110067", "tel:+37255500067"]
)
def test_number_with_marks_that_nobody_sees__is_read(db, browser, number):
    User.objects.create_user("eve", password=PASSWORD, phone_number=number)
    give_password(browser, "eve")
    assert locmem.outbox[-1].to == PHONE


def test_national_number_of_a_user_with_a_phone__changes_nothing(alice, on_commit):
    alice.phone_number = "5550 0067"
    with on_commit():
        alice.save()
    link = VerigatorUser.objects.get(user=alice)
    assert (link.state, link.last_error, link.phone_number) == (State.REGISTERED, "", PHONE)


def test_PHONE__that_raises_leaves_a_refused_number_refused(carol, settings):
    carol.phone_number = "5550 0067"
    carol.save()
    settings.VERIGATOR = {**settings.VERIGATOR, "PHONE": lambda user: 1 / 0}
    carol.save()
    assert VerigatorUser.objects.get(user=carol).last_error == "invalid_phone"


def test_changed_phone__replaces_only_one_that_nobody_confirmed(alice, on_commit):
    alice.phone_number = "+37255500011"
    with on_commit():
        alice.save()
    link = VerigatorUser.objects.get(user=alice)
    assert (link.phone_number, link.state) == ("+37255500011", State.REGISTERED)
    assert RemoteDeletion.objects.count() == 1

    VerigatorUser.objects.update(confirmed_at=timezone.now())
    alice.phone_number = "+37255500012"
    with on_commit():
        alice.save()
    link.refresh_from_db()
    assert link.phone_number == "+37255500011"


def test_rename__registers_nothing_again(alice, on_commit):
    before = VerigatorUser.objects.get(user=alice)
    alice.username = "alicia"
    with on_commit():
        alice.save()
    after = VerigatorUser.objects.get(user=alice)
    assert (after.verigator_id, after.id_in_service) == (before.verigator_id, before.id_in_service)


def test_save_of_last_login__costs_no_statement_of_ours(alice, django_assert_num_queries):
    with django_assert_num_queries(1):
        alice.save(update_fields=["last_login"])


@pytest.mark.threat("H05")
def test_username__is_cleaned_to_a_short_id_with_a_random_end(db):
    user = User(username="Ä/..\r\n<b>Boris %00 " + "x" * 200)
    first, second = registration.new_id_in_service(user), registration.new_id_in_service(user)
    assert first != second
    readable, _, suffix = first.rpartition("-")
    assert readable == "..bboris00" + "x" * 30
    assert len(suffix) == 16


def test_ID_IN_SERVICE__changes_the_readable_part(db, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "ID_IN_SERVICE": lambda user: f"shop.{user.pk}"}
    assert registration.new_id_in_service(User(pk=7)).startswith("shop.7-")


def test_ID_IN_SERVICE__that_raises_keeps_nobody_from_logging_in_or_enrolling(carol, browser, settings, caplog):
    def broken(user):
        raise LookupError(user.username)

    settings.VERIGATOR = {**settings.VERIGATOR, "ID_IN_SERVICE": broken, "REQUIRED": "all"}
    user = User(username="alice", phone_number=PHONE)
    user.set_password(PASSWORD)
    User.objects.bulk_create([user])
    give_password(browser)
    assert browser.post("/accounts/verify/", {"pin": sent_pin()})["Location"] == "/private/"
    assert f"id_failed user={user.pk} error=LookupError" in caplog.text
    assert "alice" not in caplog.text

    other = Client()
    give_password(other, "carol")
    other.post("/accounts/enrol/", {"phone": "+37255500099", "password": PASSWORD})
    assert other.post("/accounts/verify/", {"pin": sent_pin()})["Location"] == "/private/"
    ids = VerigatorUser.objects.values_list("id_in_service", flat=True)
    assert [bool(re.fullmatch("user-[0-9a-f]{16}", name)) for name in ids] == [True, True]


def test_registered_signal__names_the_user_and_the_link(db, on_commit):
    seen = []

    def listen(sender, user, link, **kwargs):
        seen.append((sender, user.pk, link.state))

    signals.registered.connect(listen)
    try:
        with on_commit():
            user = User.objects.create_user("bob", phone_number=PHONE)
    finally:
        signals.registered.disconnect(listen)
    assert seen == [(User, user.pk, State.REGISTERED)]


def test_DISPATCHER__takes_over_from_the_default(db, settings, on_commit):
    settings.VERIGATOR = {**settings.VERIGATOR, "DISPATCHER": "tests.test_registration.dispatcher"}
    dispatched.clear()
    with on_commit():
        user = User.objects.create_user("bob", phone_number=PHONE)
    link = VerigatorUser.objects.get(user=user)
    assert dispatched == [link.pk]
    assert link.state == State.PENDING


dispatched: list[int] = []


def dispatcher(link_pk: int) -> None:
    dispatched.append(link_pk)


@pytest.mark.fault("X19")
def test_save_of_another_model__does_not_ask_for_a_user_model_that_is_not_installed(db):
    apps.set_available_apps(["django.contrib.sessions", "django_verigator"])
    try:
        assert not apps.is_installed("tests.site"), "as in Django's own tests, where each names the apps it needs"
        Session.objects.create(session_key="x", expire_date=timezone.now())
    finally:
        apps.unset_available_apps()


@pytest.mark.fault("T03", "T04")
def test_number_that_the_site_changes_at_will__is_registered_so_often_a_day_and_left_to_sync_then(
    db, django_capture_on_commit_callbacks, monkeypatch
):
    asked = []
    real = backends.default.register
    monkeypatch.setattr(
        backends.default,
        "register",
        lambda number, *args, **kwargs: asked.append(number) or real(number, *args, **kwargs),
    )
    with django_capture_on_commit_callbacks(execute=True):
        user = User.objects.create_user("alice", phone_number="+37255500100")
    for number in range(101, 121):
        user.phone_number = f"+37255500{number}"
        with django_capture_on_commit_callbacks(execute=True):
            user.save()
    assert len(asked) == 1 + 3
    call_command("verigator_sync", verbosity=0)
    assert asked[4:] == ["+37255500120"]


@pytest.mark.fault("N05")
def test_saves_that_time_out__do_not_open_the_circuit_of_a_login(
    db, browser, django_capture_on_commit_callbacks, monkeypatch
):
    def too_slow(*args, timeout, **kwargs):
        raise RequestTimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(backends.default, "register", too_slow)
        for number in range(6):
            with django_capture_on_commit_callbacks(execute=True):
                User.objects.create_user(f"user{number}", password=PASSWORD, phone_number=f"+3725550020{number}")
    assert give_password(browser, "user0")["Location"] == "/accounts/verify/"
    assert browser.post("/accounts/verify/", {"pin": sent_pin()})["Location"] == "/private/"


def reset(user):
    support.reset(user, by="somebody")


def new_number(user):
    user.phone_number = "+37255500091"
    user.save()


@pytest.mark.parametrize("change", [reset, new_number])
def test_registration_that_is_given_up__leaves_nothing_of_its_record(alice, change):
    now = timezone.now()
    traces = {"seen_at": now, "last_error": "timeout", "last_error_at": now, "attempts": 3, "next_attempt_at": now}
    VerigatorUser.objects.update(leased_until=now, **traces)
    assert VerigatorUser.objects.get().verigator_id
    change(alice)
    link, blank = VerigatorUser.objects.get(), VerigatorUser()
    for name in (*traces, "leased_until", "verigator_id", "registered_at"):
        assert getattr(link, name) == getattr(blank, name), name
    assert RemoteDeletion.objects.count() == 1
