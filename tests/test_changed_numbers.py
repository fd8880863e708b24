"""A number that the site has changed takes nobody's second step over: its user confirms it, or keeps the old one."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from django_verigator.backends import locmem
from django_verigator.flows.session import PROOF_KEY
from django_verigator.models import PhoneChange, VerigatorUser
from django_verigator.records import links, site_phones, sync
from django_verigator.testing import login_verified
from tests.site.models import User

from .conftest import PASSWORD, PHONE, give_password, sent_pin

SECURITY = "/accounts/security/"
PROPOSED = "/accounts/security/phone/?proposed=1"
CONFIRM = "/accounts/security/phone/confirm/"
PIN_PAGE = "/accounts/verify/"
NEW = "+37255500099"


@pytest.fixture
def confirmed(alice, browser):
    """Alice, who has confirmed her phone and is logged in."""
    give_password(browser)
    browser.post(PIN_PAGE, {"pin": sent_pin()})
    return alice


def change_on_the_site(user, number=NEW):
    user.phone_number = number
    user.save()


def phone_in_force(user):
    return VerigatorUser.objects.get(user=user).phone_number


def shows_a_proposal(browser):
    page = browser.get(SECURITY).content.decode()
    assert NEW not in page
    return "ending in <b>99</b>" in page


@pytest.mark.threat("J01")
def test_changed_number__is_in_force_only_after_the_old_phone_and_the_new_one_agreed(confirmed, browser, capsys):
    change_on_the_site(confirmed)
    assert phone_in_force(confirmed) == PHONE
    assert shows_a_proposal(browser)

    capsys.readouterr()
    call_command("verigator_status", "alice")
    assert "number on the site, not confirmed: ••• 99" in capsys.readouterr().out

    # Whoever has the password alone is sent to the phone in force, and cannot come to the new one.
    intruder = Client()
    give_password(intruder)
    assert locmem.outbox[-1].to == PHONE
    assert "was changed" in intruder.get(PIN_PAGE).content.decode()
    assert intruder.post(PROPOSED, {"password": PASSWORD})["Location"].startswith("/accounts/login/")
    assert not PhoneChange.objects.exists()

    page = browser.get(PROPOSED).content.decode()
    assert "ending in <b>99</b>" in page
    assert NEW not in page
    assert "not right" in browser.post(PROPOSED, {"password": "a guess"}).content.decode()
    assert browser.post(PROPOSED, {"password": PASSWORD})["Location"] == CONFIRM
    assert locmem.outbox[-1].to == NEW
    assert phone_in_force(confirmed) == PHONE
    assert browser.post(CONFIRM, {"pin": sent_pin()})["Location"] == SECURITY
    assert phone_in_force(confirmed) == NEW
    assert not shows_a_proposal(browser)


@pytest.mark.threat("J01")
def test_old_proof__must_be_given_again_before_a_proposal_is_taken(confirmed):
    change_on_the_site(confirmed)
    browser = Client()
    login_verified(browser, confirmed)
    session = browser.session
    session[PROOF_KEY] = {**session[PROOF_KEY], "at": 0}
    session.save()
    assert browser.post(PROPOSED, {"password": PASSWORD})["Location"] == PIN_PAGE
    assert not PhoneChange.objects.exists()


def test_proposal__is_told_to_who_is_signed_in_as_to_who_is_not(confirmed, browser):
    change_on_the_site(confirmed)
    waiting = Client()
    give_password(waiting)
    session = browser.session
    session[PROOF_KEY] = {**session[PROOF_KEY], "at": 0}
    session.save()
    browser.get("/recent/")
    for client, said in ((waiting, True), (browser, False)):
        page = client.get(PIN_PAGE).content.decode()
        assert "The number of your account was changed." in page
        assert ("once you are signed in" in page) is said


def test_proposal__can_be_declined_until_the_site_has_another_number(confirmed, browser):
    change_on_the_site(confirmed)
    assert browser.post(SECURITY)["Location"] == SECURITY
    assert not shows_a_proposal(browser)
    assert phone_in_force(confirmed) == PHONE
    change_on_the_site(confirmed, "+37255500011")
    change_on_the_site(confirmed)
    assert not shows_a_proposal(browser)
    change_on_the_site(confirmed, "+37255500012")
    assert "ending in <b>12</b>" in browser.get(SECURITY).content.decode()


def test_user_who_took_a_new_phone_here__is_not_offered_the_site_s_old_one(confirmed, browser):
    browser.post("/accounts/security/phone/", {"phone": NEW, "password": PASSWORD})
    browser.post(CONFIRM, {"pin": sent_pin()})
    assert phone_in_force(confirmed) == NEW
    assert User.objects.get().phone_number == PHONE
    page = browser.get(SECURITY).content.decode()
    assert "Keep the old number" not in page


@pytest.mark.parametrize("number", ["", "call me", PHONE, "00372 5550 0067"])
def test_what_is_no_other_number__is_no_proposal(confirmed, browser, number):
    change_on_the_site(confirmed, number)
    assert "Keep the old number" not in browser.get(SECURITY).content.decode()
    assert browser.get(PROPOSED).context_data["form"].fields.keys() == {"phone", "password"}


def test_rotated_SECRET_KEY__brings_no_declined_proposal_back(confirmed, settings):
    change_on_the_site(confirmed)
    site_phones.dismiss_change(confirmed)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another one"
    assert site_phones.changed_number(confirmed, links.find(confirmed)) == ""


@pytest.mark.threat("R22")
def test_changes_without_a_signal__are_noticed_by_sync(confirmed, carol, db, capsys):
    unconfirmed = User.objects.create_user("bob", phone_number="+37255500021")
    call_command("verigator_sync", verbosity=0)
    User.objects.filter(pk=confirmed.pk).update(phone_number=NEW)
    User.objects.filter(pk=unconfirmed.pk).update(phone_number="+37255500022")
    User.objects.filter(pk=carol.pk).update(phone_number="+37255500023")

    report = sync.sync_all()

    assert report.proposals == 1
    assert phone_in_force(confirmed) == PHONE
    links = {link.phone_number: link for link in VerigatorUser.objects.all()}
    assert links.keys() == {PHONE, "+37255500022", "+37255500023"}
    assert {link.state for link in links.values()} == {"registered"}
    assert sorted(locmem._memories["default"].phones.values()) == sorted(links)
    capsys.readouterr()
    call_command("verigator_sync")
    assert "changed on the site, not confirmed by their users: 1" in capsys.readouterr().out


def test_following__takes_no_statement_for_a_user_whose_number_is_the_same(confirmed, carol, settings):
    users = list(User.objects.select_related("verigator"))
    with CaptureQueriesContext(connection) as captured:
        assert links.follow_site_phones(users) == 0
    assert len(captured) == 0


@pytest.mark.parametrize(
    ("source", "relations"),
    [
        ("phone_number", []),
        ("courier.vehicle", ["courier"]),
        ("courier.user_ptr.phone_number", ["courier__user_ptr"]),
        ("groups.name", []),
        ("nothing.there", []),
        ("shop.phones:for_user", []),
        (len, []),
    ],
)
def test_PHONE__that_follows_relations_is_read_with_its_user(settings, source, relations):
    settings.VERIGATOR = {**settings.VERIGATOR, "PHONE": source}
    assert site_phones.phone_relations() == relations
