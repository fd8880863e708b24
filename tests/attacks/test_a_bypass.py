"""A. Getting past the second step."""

from __future__ import annotations

import re
import uuid
from http import HTTPStatus

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.tokens import default_token_generator
from django.core import checks
from django.test import AsyncClient
from django.urls import URLPattern, get_resolver
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from django_verigator.checks import check_logins
from django_verigator.models import Challenge, PhoneChange, RecoveryCode, VerigatorUser

from .actors import ACCOUNT, BROWSERS, CODES, ENROL, HOME, LOGIN, MODEL_BACKEND, PENDING, PHONE, PIN, STEP_2
from .conftest import each_store
from .oracle import session_of

CLASSES = "DEFAULT_AUTHENTICATION_CLASSES"
OURS = "django_verigator.middleware.VerigatorMiddleware"


def every_url(user):
    """Each URL of the site, the admin's included, with arguments that lead to this user where they lead anywhere."""
    values = {"name": user.get_username(), "uidb64": "x", "token": "y", "object_id": str(user.pk)}

    def walk(patterns, before):
        for pattern in patterns:
            path = before + str(pattern.pattern).strip("^$")
            if isinstance(pattern, URLPattern):
                path = re.sub(r"<(?:\w+:)?(\w+)>", lambda match: values.get(match[1], "1"), path)
                # The admin's list of apps is the one regular expression.
                yield f"/{path}" if "(" not in path else f"/{before}site/"
            else:
                yield from walk(pattern.url_patterns, path)

    # One signs somebody else up, whose login takes the place of the one that waits; for the other there is no template.
    return sorted(set(walk(get_resolver().url_patterns, "")) - {"/sign-up/", "/plain/login/"})


@pytest.mark.threat("A01")
@each_store
def test_no_page_of_the_site_acts_for_a_pending_login(site, alice):
    browser = site.pending(alice)
    urls = every_url(alice)
    assert len(urls) > 60, "the admin and its pages are among them"
    for url in urls:
        response = browser.get(url)
        assert not response.wsgi_request.user.is_authenticated, url
        assert f"private of {alice.pk}" not in response.content.decode()
        assert response.status_code in (302, 200, 301, 400, 401, 403, 404, 405), url
    assert site.tries() == 0
    assert site.sends() == 1


@pytest.mark.threat("A01")
@each_store
def test_pages_that_need_a_login_send_a_pending_one_away(site, alice):
    browser = site.pending(alice)
    for url in (HOME, "/verified/", "/averified/", "/recent/", "/arecent/", "/admin/", "/back-office/", *ACCOUNT):
        response = browser.get(url)
        # The page that confirms a phone is the PIN page under another name.
        if url != "/accounts/security/phone/confirm/":
            assert "/login/" in response["Location"], url
    assert browser.get("/api/").json() == {"user": None, "name": ""}
    assert browser.is_nobody()


@pytest.mark.threat("A02")
@each_store
def test_step_two_without_step_one_is_the_login_page(site, mallory):
    for url in (*STEP_2, ENROL):
        assert mallory.get(url)["Location"] == LOGIN
        assert mallory.post(url, {"pin": site.wrong(), "code": "x", "phone": "+37255510009"})["Location"] == LOGIN
    assert site.calls == []


@pytest.mark.threat("A03", "A04")
@each_store
@pytest.mark.parametrize("admin", ["/admin/", "/back-office/"])
def test_password_in_an_admin_is_not_enough(site, staff, mallory, admin):
    """A04: the middleware stands before each AdminSite, so a second one needs nothing of its own."""
    credentials = {"username": "staff", "password": site.password(staff), "next": admin}
    assert mallory.post(f"{admin}login/?next={admin}", credentials)["Location"] == PIN
    assert mallory.is_nobody()
    assert mallory.get(admin)["Location"] == f"{admin}login/?next={admin}"
    assert site.sends() == 1
    assert mallory.give_pin(site.pin(staff))["Location"] == admin
    assert mallory.get(admin).status_code == HTTPStatus.OK


def reset_link(browser, user, where):
    user.refresh_from_db()  # a token is worth nothing after the next login
    uid = urlsafe_base64_encode(force_bytes(user.pk))
    return browser.get(f"{where}{uid}/{default_token_generator.make_token(user)}/")["Location"]


@pytest.mark.threat("A05")
@each_store
def test_password_reset_that_logs_in_ends_at_step_two(site, alice, mallory):
    form = reset_link(mallory, alice, "/reset-and-in/")
    response = mallory.post(form, {"new_password1": "n3w horse!", "new_password2": "n3w horse!"})
    assert response["Location"] == PIN
    assert mallory.is_nobody()
    assert site.sends() == 1


@pytest.mark.threat("A06")
def test_password_reset_logs_nobody_in_and_ends_browsers_and_pending_logins(site, alice, mallory):
    site.configure(TRUSTED_BROWSER_DAYS=30)
    trusted = site.logged_in(alice, trust="on")
    trusted.post("/plain/logout/")
    waiting = site.pending(alice)
    pin = site.pin(alice)
    form = reset_link(mallory, alice, "/plain/reset/")
    assert mallory.post(form, {"new_password1": "n3w horse!", "new_password2": "n3w horse!"})["Location"] == (
        "/plain/reset/done/"
    )
    assert mallory.is_nobody()
    assert waiting.give_pin(pin)["Location"] == LOGIN
    assert waiting.is_nobody()
    assert trusted.give_password(alice, "n3w horse!")["Location"] == PIN
    assert trusted.is_nobody()


@pytest.mark.threat("A07")
@each_store
@pytest.mark.parametrize("way", ["/magic/alice/", "/sign-up/"])
def test_a_view_that_calls_login_ends_at_step_two(site, alice, mallory, way):
    if way == "/sign-up/":
        site.oracle.people["newcomer"] = site.oracle.people["alice"].__class__(
            "newcomer", str(alice.pk + 1), "not the password", {"+37255540004"}, True
        )
    assert mallory.get(way)["Location"] == PIN
    assert mallory.is_nobody()
    assert mallory.get(HOME)["Location"].startswith(LOGIN)
    assert site.sends() == 0


@pytest.mark.threat("A08")
@each_store
def test_a_login_over_json_ends_at_step_two(site, alice, mallory):
    data = {"username": "alice", "password": site.password(alice)}
    assert mallory.post("/json-login/", data)["Location"] == PIN
    assert mallory.is_nobody()


@pytest.mark.threat("A08")
@each_store
def test_remote_user_ends_at_step_two(site, alice, mallory, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE]
    settings.MIDDLEWARE.insert(settings.MIDDLEWARE.index(OURS), "django.contrib.auth.middleware.RemoteUserMiddleware")
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.RemoteUserBackend"]
    for url in (HOME, "/api/", "/verified/"):
        assert mallory.get(url, REMOTE_USER="alice")["Location"] == PIN
        assert mallory.session_user is None


@pytest.mark.threat("A08")
@each_store
def test_another_authentication_backend_ends_at_step_two(site, alice, mallory, settings):
    settings.AUTHENTICATION_BACKENDS = ["tests.attacks.backends.DirectoryBackend", MODEL_BACKEND]
    for way in (LOGIN, "/plain/login/", "/json-login/", "/admin/login/"):
        browser = site.browser()
        data = {"username": "alice", "password": "known to the directory", "next": HOME}
        alice.is_staff = True
        alice.save()
        assert browser.post(way, data)["Location"] == PIN, way
        assert browser.is_nobody()


@pytest.mark.threat("A08")
def test_an_async_view_and_a_login_under_asgi_end_at_step_two(site, alice):
    client = AsyncClient()
    for url in ("/magic/alice/", "/json-login/"):
        data = {"username": "alice", "password": site.password(alice)}
        response = async_to_sync(client.post)(url, data)
        assert response["Location"] == PIN
        assert SESSION_KEY not in session_of(client)
    assert async_to_sync(client.get)("/aprivate/").content.decode() == "user=None"
    assert async_to_sync(client.get)("/averified/")["Location"].startswith(LOGIN)


@pytest.mark.threat("A09")
@pytest.mark.parametrize(
    "settings_with_a_way_around",
    [
        {"INSTALLED_APPS": [*django_settings.INSTALLED_APPS, "rest_framework.authtoken"]},
        {"INSTALLED_APPS": [*django_settings.INSTALLED_APPS, "rest_framework_simplejwt"]},
        {"REST_FRAMEWORK": {CLASSES: ["rest_framework.authentication.BasicAuthentication"]}},
        {"REST_FRAMEWORK": {CLASSES: ["rest_framework_simplejwt.authentication.JWTAuthentication"]}},
        {"REST_FRAMEWORK": {}},
    ],
)
def test_logins_that_have_no_session_are_warned_of(settings, monkeypatch, settings_with_a_way_around):
    for name, value in settings_with_a_way_around.items():
        # The app registry need not know them: the check reads the settings.
        monkeypatch.setattr(django_settings._wrapped, name, value, raising=False)
    # What was read before is kept on the outer object.
    django_settings.__dict__.pop("INSTALLED_APPS", None)
    assert [message.id for message in check_logins()] == ["verigator.W003"]


@pytest.mark.threat("A09")
def test_sessions_alone_are_not_warned_of(settings):
    settings.REST_FRAMEWORK = {
        "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"]
    }
    assert check_logins() == []


@pytest.mark.threat("A10")
@each_store
def test_django_s_own_login_page_elsewhere_ends_at_step_two(site, alice, mallory):
    response = mallory.post(f"/plain/login/?next={HOME}", {"username": "alice", "password": site.password(alice)})
    assert response["Location"] == PIN
    assert mallory.is_nobody()
    assert site.sends() == 1


@pytest.mark.threat("A10")
def test_a_login_page_without_step_two_is_warned_of(settings):
    settings.LOGIN_URL = "/plain/login/"
    assert "verigator.W002" in [message.id for message in checks.run_checks()]


@pytest.mark.threat("A11")
@each_store
def test_the_proof_of_one_user_is_none_for_another(site, alice, bob):
    browser = site.logged_in(bob)
    assert browser.give_password(alice)["Location"] == PIN
    assert browser.is_nobody()
    assert not any(bob_s in str(session_of(browser)) for bob_s in (f"'{bob.pk}'", "epoch"))
    assert browser.get("/verified/")["Location"].startswith(LOGIN)


@pytest.mark.threat("A11")
@each_store
def test_a_login_made_elsewhere_in_a_proved_session_inherits_nothing(site, alice, bob):
    browser = site.logged_in(bob)
    assert browser.get("/magic/alice/")["Location"] == PIN
    assert browser.is_nobody()


@pytest.mark.threat("A12")
@each_store
def test_fields_and_cookies_do_not_choose_who_is_logged_in(site, alice, bob):
    browser = site.pending(bob)
    for name in ("user", "username", "user_id", "verify", "id", "uid", "pending"):
        browser.cookies[name] = "alice"
    tampered = {"username": "alice", "user": alice.pk, "user_id": alice.pk, "verify": "alice", "next": "/admin/"}
    assert browser.post(f"{PIN}?user={alice.pk}&verify=alice", {"pin": site.pin(bob), **tampered})["Location"] == HOME
    assert browser.acts_as == str(bob.pk)
    assert site.tries(alice) == 0


@pytest.mark.threat("A12")
@each_store
def test_a_pending_cookie_with_another_user_or_challenge_in_it_is_none(site, alice, bob):
    victim = site.pending(alice)
    challenge = Challenge.objects.get(user=alice)
    for forged in (str(challenge.pk), challenge.nonce_digest, str(alice.pk), "alice", uuid.uuid4().hex):
        browser = site.pending(bob)
        signed = browser.cookies[PENDING].value
        for value in (forged, f"{forged}:{signed.partition(':')[2]}"):
            browser.cookies[PENDING] = value
            assert browser.give_pin(site.pin(alice))["Location"] == LOGIN
        Challenge.objects.filter(user=bob).update(resend_at=None)
        site.wait(121)
    assert site.tries() == 0
    assert victim.is_nobody()


@pytest.mark.threat("A14")
@each_store
def test_a_pending_login_changes_nothing_of_the_account(site, alice):
    browser = site.pending(alice)
    data = {"phone": "+37255599999", "password": site.password(alice), "browser": "1"}
    for url in (PHONE, CODES, BROWSERS, "/accounts/security/"):
        assert browser.post(url, data)["Location"].startswith(LOGIN)
    assert browser.post(ENROL, data)["Location"] == PIN
    assert not PhoneChange.objects.exists()
    assert not RecoveryCode.objects.exists()
    assert site.link(alice).phone_number == site.phone(alice)
    assert site.sends() == 1


@pytest.mark.threat("A15")
def test_what_is_no_pin_costs_no_call(site, alice):
    site.lie()
    browser = site.pending(alice)
    for pin in (None, "", " ", "\t", "null", "true", "[]", "{}", "0", "000", "None", "undefined"):
        response = browser.post(PIN, {} if pin is None else {"pin": pin})
        assert response.status_code == HTTPStatus.OK
    assert browser.is_nobody()
    assert site.tries() == 0


@pytest.mark.threat("A15")
def test_zeros_are_a_pin_like_any_other(site, alice):
    browser = site.pending(alice)
    for pin in ("0000", "000000", "0" * 12):
        assert "The PIN is not right" in browser.give_pin(pin).content.decode()
    assert browser.is_nobody()
    assert site.tries() == 3


@pytest.mark.threat("A16")
@each_store
def test_fields_that_claim_success_are_ignored(site, alice):
    browser = site.pending(alice)
    claims = {
        "verified": "true",
        "status": "ok",
        "step": "done",
        "wizard_goto_step": "done",
        "trust": "on",
        "method": "sms",
    }
    for pin in (site.wrong(), ""):
        browser.post(f"{PIN}?verified=true&step=done", {"pin": pin, **claims})
    browser.get(f"{PIN}?verified=true&step=done&code=ok")
    assert browser.is_nobody()
    assert site.tries() == 1


@pytest.mark.threat("A17")
@each_store
def test_who_owes_and_has_no_phone_reaches_the_enrolment_alone(site):
    site.configure(REQUIRED="all")
    dave = site.user("dave", owes=True)
    browser = site.pending(dave)
    assert browser.get(PIN)["Location"] == ENROL
    for url in every_url(dave):
        assert not browser.get(url).wsgi_request.user.is_authenticated, url
    assert browser.is_nobody()
    assert browser.get(ENROL).status_code == HTTPStatus.OK
    site.owns(dave, "+37255560006")
    browser.post(ENROL, {"phone": "+37255560006"})
    assert browser.is_nobody()
    assert browser.give_pin(site.pin(dave))["Location"] == HOME
    assert browser.acts_as == str(dave.pk)


@pytest.mark.threat("A17")
@each_store
def test_enrolment_without_a_fresh_password_is_refused(site, mallory):
    site.configure(REQUIRED="all")
    dave = site.user("dave", owes=True)
    site.old_session(dave)
    for browser in (site.old_session(dave), mallory):
        browser.get("/magic/dave/")
        page = browser.post(ENROL, {"phone": "+37255560006", "password": "a guess"}).content.decode()
        assert "The password is not right." in page
        assert "password" in browser.post(ENROL, {"phone": "+37255560006"}).context["form"].errors
    site.person(dave).excused = 1
    assert site.sends() == 0


@pytest.mark.threat("A18")
@pytest.mark.parametrize("url", [*STEP_2, ENROL])
def test_other_methods_change_nothing(site, alice, url):
    browser = site.pending(alice)
    site.lie()
    pin = site.wrong()
    Challenge.objects.update(resend_at=None)
    before = Challenge.objects.values().get()
    for method in ("HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "BREW"):
        body = f"pin={pin}&method=sms"
        response = browser.generic(method, f"{url}?pin={pin}", body, "application/x-www-form-urlencoded")
        assert response.status_code in (200, 302, 405)
        assert method in ("HEAD", "OPTIONS") or response.status_code == 405 or response["Location"] == PIN
    assert Challenge.objects.values().get() == before
    assert browser.is_nobody()
    assert (site.sends(), site.tries()) == (1, 0)


@pytest.mark.threat("A18")
@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"])
def test_a_header_does_not_make_a_get_a_post(site, alice, header):
    browser = site.pending(alice)
    site.lie()
    Challenge.objects.update(resend_at=None)
    for url in STEP_2:
        browser.get(f"{url}?pin={site.wrong()}&_method=POST", headers={header: "POST"})
    assert browser.is_nobody()
    assert (site.sends(), site.tries()) == (1, 0)
    assert browser.give_pin(site.pin(alice))["Location"] == HOME, "the header was all that was missing"


SPOOFED = [
    {"X-Forwarded-For": "127.0.0.1"},
    {"X-Real-IP": "127.0.0.1", "Client-IP": "127.0.0.1", "True-Client-IP": "127.0.0.1"},
    {"X-Original-URL": HOME, "X-Rewrite-URL": HOME},
    {"X-Debug": "1", "X-Verified": "true", "X-Internal": "1"},
    {"X-Remote-User": "alice", "Remote-User": "alice"},
    {"Forwarded": "for=127.0.0.1;host=localhost", "X-Forwarded-Host": "localhost"},
]


@pytest.mark.threat("A19")
@each_store
def test_headers_do_not_skip_the_second_step(site, alice):
    for headers in SPOOFED:
        browser = site.browser(headers=headers)
        assert browser.give_password(alice)["Location"] == PIN
        assert browser.get(HOME)["Location"].startswith(LOGIN)
        assert browser.is_nobody()


@pytest.mark.threat("A20")
@each_store
def test_a_session_from_before_meets_the_pin_page(site, alice):
    for url in (HOME, "/verified/", "/averified/", "/api/", "/back-office/"):
        browser = site.old_session(alice)
        assert browser.get(url)["Location"] == PIN, url
        assert browser.session_user is None


@pytest.mark.threat("A20")
@each_store
def test_a_policy_switched_on_reaches_sessions_within_a_minute(site, carol):
    browser = site.browser()
    browser.give_password(carol)
    assert browser.get(HOME).status_code == HTTPStatus.OK
    site.configure(REQUIRED="all")
    site.wait(61)
    assert browser.get(HOME)["Location"] == PIN
    assert browser.is_nobody()


@pytest.mark.threat("A21")
@each_store
def test_a_reset_by_support_ends_the_session(site, alice, staff):
    browser = site.logged_in(alice)
    desk = site.logged_in(staff)
    link = site.link(alice)
    data = {"action": "reset_second_factor", "_selected_action": [link.pk], "post": "yes"}
    assert desk.post("/admin/django_verigator/verigatoruser/", data).status_code == HTTPStatus.FOUND
    site.wait(61)
    assert browser.get(HOME)["Location"].startswith(LOGIN)
    assert browser.is_nobody()
    assert VerigatorUser.objects.get(user=alice).epoch != link.epoch
