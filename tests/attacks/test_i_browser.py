"""I. Attacks that use the victim's browser."""

from __future__ import annotations

import re
from http import HTTPStatus
from urllib.parse import urlencode

import pytest

from django_verigator.models import Challenge, PhoneChange, RecoveryCode, TrustedBrowser

from .actors import ACCOUNT, BROWSERS, CANCEL, CODES, CONFIRM, ENROL, HOME, LOGIN, PENDING, PHONE, PIN, RECOVERY, RESEND
from .conftest import each_store

NEW = "+37255510009"


def strict(browser):
    """The same browser, at a site that insists on the token."""
    twin = browser.site.browser(csrf=True)
    twin.cookies = browser.cookies
    return twin


@pytest.mark.threat("I01")
def test_a_post_without_its_token_changes_nothing(site, alice, staff):
    site.configure(TRUSTED_BROWSER_DAYS=30)
    full = site.logged_in(alice, trust="on")
    waiting = site.pending(alice)
    before = Challenge.objects.count()
    data = {"pin": site.pin(alice), "code": "x", "phone": NEW, "password": site.password(alice), "username": "alice"}
    for url in (LOGIN, PIN, RESEND, CANCEL, RECOVERY, ENROL):
        assert strict(waiting).post(url, data).status_code == HTTPStatus.FORBIDDEN, url
        assert strict(waiting).post(url, {**data, "csrfmiddlewaretoken": "a" * 64}).status_code == HTTPStatus.FORBIDDEN
    for url in (PHONE, CODES, BROWSERS):
        assert strict(full).post(url, data).status_code == HTTPStatus.FORBIDDEN, url
    assert strict(full).post(CONFIRM, data)["Location"] == HOME, "nothing waits, and who is in goes on"
    desk = site.logged_in(staff)
    for action in ("reset_second_factor", "unlock", "issue_recovery_code", "sync_with_verigator"):
        url = "/admin/django_verigator/verigatoruser/"
        order = {"action": action, "_selected_action": [site.link(alice).pk], "post": "yes"}
        assert strict(desk).post(url, order).status_code == HTTPStatus.FORBIDDEN
    assert not PhoneChange.objects.exists()
    assert not RecoveryCode.objects.exists()
    assert TrustedBrowser.objects.count() == 1
    assert Challenge.objects.filter(user=alice).count() == before
    assert waiting.give_pin(site.pin(alice))["Location"] == HOME


@pytest.mark.threat("I02")
@each_store
def test_the_token_changes_at_both_steps_and_the_page_says_whose_login_it_is(site, alice):
    browser = site.browser(csrf=True)
    browser.get(LOGIN)

    def token():
        return browser.cookies["csrftoken"].value

    tokens = [token()]
    browser.post(LOGIN, {"username": "alice", "password": site.password(alice), "csrfmiddlewaretoken": token()})
    assert "Signing in as <b>a•••e</b>" in browser.page
    tokens.append(token())
    # The one from before is no good for the next step.
    assert browser.give_pin(site.pin(alice), csrfmiddlewaretoken=tokens[0]).status_code == HTTPStatus.FORBIDDEN
    assert browser.give_pin(site.pin(alice), csrfmiddlewaretoken=token())["Location"] == HOME
    tokens.append(token())
    assert len(set(tokens)) == 3


@pytest.mark.threat("I02")
@each_store
def test_a_planted_pending_login_leaves_the_victim_s_own_login_alone(site, alice, bob):
    planted = site.pending(bob)
    victim = site.logged_in(alice)
    victim.cookies[PENDING] = planted.cookies[PENDING].value
    assert victim.acts_as == str(alice.pk)
    for url in (HOME, *ACCOUNT[:2]):
        assert victim.get(url).wsgi_request.user.pk == alice.pk


ELSEWHERE = [
    "//evil.example", "https://evil.example", "http:evil.example", "https:evil.example", "\\\\evil.example",
    "/\\evil.example", "///evil.example", "javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x",
    "%0d%0aLocation:evil", "/ok\r\nSet-Cookie: a=b", "\x00//evil.example", " //evil.example", "ftp://testserver/",
    "https://testserver@evil.example/", "//testserver:80@evil.example", "http://testserver.evil.example/",
    "/%09/evil.example", "\t//evil.example",
]  # fmt: skip


def asked_in_the_query(site, alice, url):
    browser = site.browser()
    browser.post(f"{LOGIN}?{urlencode({'next': url})}", {"username": "alice", "password": site.password(alice)})
    return browser, site.pin(alice)


def asked_in_the_form(site, alice, url):
    browser = site.browser()
    browser.give_password(alice, next=url)
    return browser, site.pin(alice)


def asked_of_a_page_that_is_not_ours(site, alice, url):
    browser = site.browser()
    address = f"/plain/login/?{urlencode({'next': url})}"
    browser.post(address, {"username": "alice", "password": site.password(alice)})
    browser.resend()
    return browser, site.pin(alice)


def asked_at_the_enrolment(site, alice, url):
    site.configure(REQUIRED="all")
    number = f"+3725557{len(site.oracle.people):04}"
    dave = site.user(f"dave{len(site.oracle.people)}", owes=True)
    site.owns(dave, number)
    browser = site.pending(dave)
    browser.post(ENROL, {"phone": number, "next": url})
    return browser, site.pin(dave)


def sent_as_referer_of_a_form_that_needs_a_new_proof(site, alice, url):
    browser = site.logged_in(alice)
    site.wait(601)
    assert browser.post("/recent/", {}, headers={"referer": url.replace("\r\n", "")})["Location"] == PIN
    browser.resend()
    return browser, site.pin(alice)


@pytest.mark.threat("I03")
@pytest.mark.parametrize(
    "where",
    [
        asked_in_the_query,
        asked_in_the_form,
        asked_of_a_page_that_is_not_ours,
        asked_at_the_enrolment,
        sent_as_referer_of_a_form_that_needs_a_new_proof,
    ],
)
def test_next_leads_to_this_site_alone(site, alice, where):
    site.room()
    # Each is cleaned by the same function; the longer ways are walked with some of them.
    for url in ELSEWHERE if where is asked_in_the_query else ELSEWHERE[::3]:
        browser, pin = where(site, alice, url)
        location = browser.give_pin(pin)["Location"]
        assert re.match(r"(/|http://testserver/)(?![/\\])", location), (url, location)
        assert "evil" not in location.partition("?")[0], (url, location)


@pytest.mark.threat("I03")
def test_a_next_that_is_changed_in_the_database_is_looked_at_again(site, alice):
    browser = site.pending(alice)
    Challenge.objects.update(next_url="//evil.example")
    assert browser.give_pin(site.pin(alice))["Location"] == HOME


@pytest.mark.threat("I04", "I05")
def test_pages_are_not_framed_and_not_kept(site, alice):
    site.configure(TRUSTED_BROWSER_DAYS=30)
    full = site.logged_in(alice)
    answers = [full.get(url) for url in (*ACCOUNT[:2], CODES)]
    answers.append(full.post(CODES, {"password": site.password(alice)}))
    codes = re.findall(r"<code>([0-9A-Z-]+)</code>", answers[-1].content.decode())
    site.person(alice).codes |= set(codes)
    site.oracle.excuse(answers[-1], *codes)
    waiting = site.pending(alice)
    answers += [waiting.get(PIN), waiting.give_pin(site.wrong()), waiting.get(RECOVERY), site.browser().get(LOGIN)]
    site.configure(REQUIRED="all")
    answers.append(site.pending(site.user("dave", owes=True)).get(ENROL))
    for response in answers:
        assert response.status_code == HTTPStatus.OK
        assert response["X-Frame-Options"] == "DENY"
        assert "no-store" in response["Cache-Control"]
        assert "private" in response["Cache-Control"]


@pytest.mark.threat("I06")
def test_the_pages_work_under_a_strict_policy(site, alice):
    full, waiting = site.logged_in(alice), site.pending(alice)
    for response in (waiting.get(PIN), waiting.get(RECOVERY), full.get(ACCOUNT[0]), full.get(PHONE), full.get(CODES)):
        text = response.content.decode()
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]*\ssrc=)", text)
    assert 'autocomplete="one-time-code"' in waiting.page
    assert 'inputmode="numeric"' in waiting.page


@pytest.mark.threat("I07")
def test_a_get_ends_and_sends_nothing(site, alice):
    site.configure(TRUSTED_BROWSER_DAYS=30)
    full = site.logged_in(alice, trust="on")
    waiting = site.pending(alice)
    site.wait(61)
    for browser, urls in ((waiting, (CANCEL, RESEND, "/plain/logout/")), (full, (BROWSERS, CODES, "/plain/logout/"))):
        for url in urls:
            browser.get(url)
            browser.head(url, headers={"Purpose": "prefetch"})
    assert site.sends() == 2
    assert TrustedBrowser.objects.count() == 1
    assert not RecoveryCode.objects.exists()
    assert full.acts_as == str(alice.pk)
    assert waiting.give_pin(site.pin(alice))["Location"] == HOME
