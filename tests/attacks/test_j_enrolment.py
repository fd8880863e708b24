"""J. Enrolling a phone, and changing it. (J07, many at once: tests/races.)"""

from __future__ import annotations

from http import HTTPStatus
from types import SimpleNamespace

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core import mail

from django_verigator.flows import registration, support
from django_verigator.models import PhoneChange, RecoveryCode, RemoteDeletion, TrustedBrowser, VerigatorUser

from .actors import BROWSERS, CODES, CONFIRM, ENROL, HOME, LOGIN, PHONE, PIN, SECURITY
from .conftest import each_store

OLD, NEW = "+37255510001", "+37255510009"


def propose(site, user, browser, number=NEW):
    return browser.post(PHONE, {"phone": number, "password": site.password(user)})


@pytest.mark.threat("J01")
@each_store
def test_a_stolen_session_changes_no_phone(site, alice):
    """It has the session, and reads along: what it lacks is the password, or the phone."""
    site.configure(TRUSTED_BROWSER_DAYS=30)
    thief = site.logged_in(alice, trust="on").copy()
    before = site.sends()
    for url in (PHONE, CODES):
        for password in ("", "a guess"):
            response = thief.post(url, {"phone": NEW, "password": password})
            assert response.status_code == HTTPStatus.OK
            assert response.context["form"].errors["password"]
    # The password, but no new PIN to the old phone.
    site.wait(301)
    for url in (PHONE, CODES):
        assert thief.post(url, {"phone": NEW, "password": site.password(alice)})["Location"] == PIN
    assert thief.give_pin(site.wrong()).status_code == HTTPStatus.OK
    assert site.sends() == before
    assert not PhoneChange.objects.exists()
    assert not RecoveryCode.objects.exists()
    # A trusted browser is no proof, however recent.
    thief.post("/plain/logout/")
    thief.give_password(alice)
    assert thief.acts_as == str(alice.pk)
    assert propose(site, alice, thief)["Location"] == PIN
    assert site.link(alice).phone_number == OLD


@pytest.mark.threat("J01")
def test_the_password_is_not_guessed_in_a_stolen_session_either(site, alice):
    thief = site.logged_in(alice)
    for number in range(30):
        response = thief.post(PHONE, {"phone": NEW, "password": f"guess {number}"})
    assert "Too many wrong passwords" in response.content.decode()
    assert "Too many wrong passwords" in propose(site, alice, thief).content.decode()
    assert not PhoneChange.objects.exists()


@pytest.mark.threat("J02")
@each_store
def test_a_phone_that_is_not_confirmed_is_not_in_force(site, alice):
    browser = site.logged_in(alice)
    assert propose(site, alice, browser)["Location"] == CONFIRM
    assert browser.post(CONFIRM, {"pin": site.wrong()}).status_code == HTTPStatus.OK
    sent = len(site.sandbox.messages(NEW))
    other = site.pending(alice)
    assert len(site.sandbox.messages(NEW)) == sent
    assert site.link(alice).phone_number == OLD
    assert other.give_pin(site.sandbox.last_pin(OLD))["Location"] == HOME
    # An hour later the number can not be confirmed any more.
    site.wait(3601)
    assert browser.post(CONFIRM, {"pin": site.pin_at(NEW)})["Location"] == HOME
    assert site.link(alice).phone_number == OLD


@pytest.mark.threat("J03")
def test_somebody_else_s_phone_browsers_and_codes_are_out_of_reach(site, alice, bob):
    site.configure(TRUSTED_BROWSER_DAYS=30)
    victim = site.logged_in(alice, trust="on")
    site.codes(alice, victim)
    thief = site.logged_in(bob)
    link, row = site.link(alice), TrustedBrowser.objects.get()
    named = {"user": alice.pk, "id": link.pk, "pk": link.pk, "link": link.pk, "user_id": alice.pk, "username": "alice"}
    thief.post(BROWSERS, {"browser": str(row.pk), **named})
    thief.post(f"{BROWSERS}?user={alice.pk}&id={row.pk}", named)
    site.owns(bob, NEW)
    thief.post(f"{PHONE}?user={alice.pk}", {"phone": NEW, "password": site.password(bob), **named})
    thief.post(CONFIRM, {"pin": site.pin_at(NEW), **named})
    assert TrustedBrowser.objects.filter(pk=row.pk).exists()
    assert site.link(alice).phone_number == OLD
    assert site.link(bob).phone_number == NEW
    assert RecoveryCode.objects.filter(user=alice).count() == 10
    # There is no page of anybody by number.
    for url in (SECURITY, PHONE, CODES, ENROL):
        assert thief.get(f"{url}{alice.pk}/").status_code == HTTPStatus.NOT_FOUND


@pytest.mark.threat("J04")
def test_somebody_else_s_number_needs_the_pin_on_it(site, alice, bob):
    alice_s = site.logged_in(alice)
    attacker = site.logged_in(bob)
    before = site.link(alice)
    assert propose(site, bob, attacker, OLD)["Location"] == CONFIRM
    for number in range(7):
        attacker.post(CONFIRM, {"pin": site.wrong(number)})
    assert site.link(bob).phone_number == "+37255520002"
    assert site.link(alice).epoch == before.epoch
    assert site.link(alice).verigator_id == before.verigator_id
    assert alice_s.get(SECURITY).status_code == HTTPStatus.OK
    assert site.pending(alice).give_pin(site.pin(alice))["Location"] == HOME


def choose(monkeypatch, *ends):
    """The next ids that the site chooses have these random ends; nobody guesses them in time, so this is generous."""
    random = iter(ends)
    monkeypatch.setattr(registration, "secrets", SimpleNamespace(token_hex=lambda size: next(random)))


@pytest.mark.threat("J05")
def test_a_record_that_a_stranger_made_is_never_taken_over(site, bob, monkeypatch):
    """Its name is the one that Alice would get, its phone is Bob's."""
    choose(monkeypatch, "0123456789abcdef", "fedcba9876543210")
    planted = site.api.users.create(site.service_id, site.phone(bob), "alice-0123456789abcdef")
    alice = site.user("alice", OLD)
    link = site.link(alice)
    assert link.verigator_id != planted.id
    assert link.id_in_service != "alice-0123456789abcdef"
    # The record is left alone, and noted for sync by the id that this site had chosen.
    assert [(row.verigator_id, row.id_in_service) for row in RemoteDeletion.objects.all()] == [
        ("", "alice-0123456789abcdef")
    ]
    browser = site.pending(alice)
    assert [message["to"] for message in site.sandbox.messages()] == [OLD]
    assert browser.give_pin(site.pin(alice))["Location"] == HOME
    assert site.tries(bob) == 0


@pytest.mark.threat("J05")
def test_a_record_planted_for_a_new_phone_is_never_taken_over(site, alice, bob, monkeypatch):
    browser = site.logged_in(alice)
    choose(monkeypatch, "0123456789abcdef", "fedcba9876543210")
    planted = site.api.users.create(site.service_id, site.phone(bob), "alice-0123456789abcdef")
    propose(site, alice, browser)
    assert PhoneChange.objects.get().verigator_id not in (None, planted.id)
    assert {message["to"] for message in site.sandbox.messages()} == {OLD, NEW}


@pytest.mark.threat("J08")
@each_store
def test_a_change_ends_what_was_trusted_before_and_tells_the_owner(site, alice):
    site.configure(TRUSTED_BROWSER_DAYS=30)
    elsewhere = site.logged_in(alice, trust="on")
    forgotten = site.logged_in(alice, trust="on")
    forgotten.post("/plain/logout/")
    browser = site.logged_in(alice)
    site.owns(alice, NEW)
    propose(site, alice, browser)
    old = site.link(alice)
    assert browser.post(CONFIRM, {"pin": site.pin_at(NEW)})["Location"] == SECURITY
    assert browser.get(SECURITY).status_code == HTTPStatus.OK
    assert [message.to for message in mail.outbox] == [["alice@example.com"]]
    assert "phone" in mail.outbox[0].subject.lower()
    site.wait(61)
    assert elsewhere.get(HOME)["Location"].startswith(LOGIN)
    assert elsewhere.is_nobody()
    site.person(alice).browsers.clear()
    assert forgotten.give_password(alice)["Location"] == PIN
    assert forgotten.is_nobody()
    assert site.link(alice).epoch != old.epoch
    assert [row.verigator_id for row in RemoteDeletion.objects.all()] == [old.verigator_id]


ACTIONS = ("reset_second_factor", "unlock", "issue_recovery_code", "sync_with_verigator")


@pytest.mark.threat("J09")
@pytest.mark.parametrize("permissions", [["view_verigatoruser"], ["view_verigatoruser", "view_user", "change_user"]])
def test_staff_without_the_permission_do_nothing(site, alice, permissions):
    helper = site.user("helper", "+37255530004", is_staff=True)
    helper.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    desk = site.logged_in(helper)  # verified: else the missing proof would be refused, not the missing permission
    before, calls = site.link(alice), len(site.calls)
    for action in ACTIONS:
        for url, pk in (("/admin/django_verigator/verigatoruser/", before.pk), ("/admin/site/user/", alice.pk)):
            response = desk.post(url, {"action": action, "_selected_action": [pk], "post": "yes"})
            assert response.status_code in (HTTPStatus.FORBIDDEN, HTTPStatus.FOUND)
    for url in ("verigatoruser/add/", f"verigatoruser/{before.pk}/delete/", "challenge/add/"):
        assert desk.post(f"/admin/django_verigator/{url}", {"post": "yes"}).status_code == HTTPStatus.FORBIDDEN
    after = site.link(alice)
    assert (after.phone_number, after.epoch, after.state) == (before.phone_number, before.epoch, before.state)
    assert not RecoveryCode.objects.exists()
    assert len(site.calls) == calls


@pytest.mark.threat("J09")
def test_what_support_does_is_written_down(site, alice, staff):
    desk = site.logged_in(staff)
    url = "/admin/django_verigator/verigatoruser/"
    for action in ("unlock", "issue_recovery_code", "reset_second_factor"):
        response = desk.post(url, {"action": action, "_selected_action": [site.link(alice).pk], "post": "yes"})
        if action == "issue_recovery_code":
            code = response.context["code"]
            site.person(alice).codes.add(code)
            site.oracle.excuse(response, code)
    entries = LogEntry.objects.filter(object_id=str(alice.pk), user=staff).values_list("change_message", flat=True)
    assert sorted(entries) == ["Recovery code issued.", "Second factor reset.", "Second factor unlocked."]
    lines = "\n".join(site.oracle.transcript.lines)
    for event in ("reset", "unlocked", "recovery_code_issued"):
        assert f"django_verigator {event} user={alice.pk} by=staff" in lines


@pytest.mark.threat("J10")
@pytest.mark.parametrize("confirmed", [True, False])
def test_a_phone_that_staff_write_into_a_form_is_not_a_confirmed_one(site, alice, staff, confirmed):
    if confirmed:
        site.logged_in(alice)
    desk = site.logged_in(staff)
    page = f"/back-office/site/user/{alice.pk}/change/"
    response = desk.get(page)
    site.oracle.excuse(response, OLD[1:])  # a form of the site's, on the site's own table
    form = response.context["adminform"].form
    data = {name: value for name, value in form.initial.items() if value not in (None, False) and name != "password"}
    data |= {"phone_number": NEW, "groups": [], "user_permissions": []}
    for name in ("last_login", "date_joined"):
        moment = data.pop(name, None)
        if moment:
            data |= {f"{name}_0": f"{moment:%Y-%m-%d}", f"{name}_1": f"{moment:%H:%M:%S}"}
    response = desk.post(page, data)
    assert response.status_code == HTTPStatus.FOUND, response.context["errors"]
    assert LogEntry.objects.filter(object_id=str(alice.pk), user=staff).exists()
    link = VerigatorUser.objects.get(user=alice)
    if confirmed:
        # The phone in force stays, until Alice herself confirms another.
        assert link.phone_number == OLD
        site.pending(alice)
        assert site.sandbox.messages(NEW) == []
    else:
        assert (link.phone_number, link.confirmed_at) == (NEW, None)


@pytest.mark.threat("J01")
def test_a_session_whose_trust_has_ended_enrols_no_phone(site, alice):
    """A guarded page may believe it for another minute; a first phone may not, not even with the password."""
    thief = site.logged_in(alice)
    assert thief.get("/verified/").status_code == HTTPStatus.OK
    type(alice).objects.filter(pk=alice.pk).update(phone_number="")
    support.reset(alice, by="support")
    sent = site.sends()
    response = thief.post(ENROL, {"phone": NEW, "password": site.password(alice)})
    assert response["Location"].startswith(LOGIN)
    assert site.sends() == sent
    assert not PhoneChange.objects.exists()
    assert thief.is_nobody()
