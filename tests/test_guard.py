"""Every other way in ends at the PIN page; the guard costs nothing where nobody asks."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.tokens import default_token_generator
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test import AsyncClient, Client, RequestFactory
from django.utils import timezone
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

import django_verigator
from django_verigator.backends import locmem
from django_verigator.decorators import verified_required
from django_verigator.flows import policy
from django_verigator.flows.session import PROOF_KEY, SessionGuard
from django_verigator.models import Challenge, VerigatorUser, new_trust_version
from django_verigator.testing import login_verified

from .conftest import PASSWORD, deadlock, give_password, sent_pin

OURS = "django_verigator.middleware.VerigatorMiddleware"
PIN_PAGE = "/accounts/verify/"


def finish(client: Client) -> str:
    """Type the PIN, after asking for one where none was sent, and return where that leads."""
    if "Send me a PIN" in client.get(PIN_PAGE).content.decode():
        assert client.post("/accounts/verify/resend/")["Location"] == PIN_PAGE
    return client.post(PIN_PAGE, {"pin": sent_pin()})["Location"]


def is_nobody(client: Client) -> bool:
    return SESSION_KEY not in client.session and client.get("/whoami/").content.decode() == "user=None verified=False"


@pytest.mark.threat("A03")
@pytest.mark.fault("X08")
def test_admin_login__is_caught_and_sends_the_pin_at_once(alice, browser):
    alice.is_staff = alice.is_superuser = True
    alice.save()
    response = browser.post(
        "/admin/login/?next=/admin/", {"username": "alice", "password": PASSWORD, "next": "/admin/"}
    )
    assert response["Location"] == PIN_PAGE
    assert is_nobody(browser)
    assert "ending in <b>67</b>" in browser.get(PIN_PAGE).content.decode()
    assert len(locmem.outbox) == 1
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/admin/"
    assert browser.get("/admin/").status_code == HTTPStatus.OK


@pytest.mark.threat("A10")
def test_plain_login_view__is_caught(alice, browser):
    response = browser.post("/plain/login/?next=/cart/", {"username": "alice", "password": PASSWORD})
    assert response["Location"] == PIN_PAGE
    assert is_nobody(browser)
    assert finish(browser) == "/cart/"


@pytest.mark.threat("A05")
def test_password_reset_that_logs_in__is_caught(alice, browser, settings):
    settings.ROOT_URLCONF = "tests.site.urls_reset"
    uid = urlsafe_base64_encode(force_bytes(alice.pk))
    start = browser.get(f"/reset/{uid}/{default_token_generator.make_token(alice)}/")
    response = browser.post(start["Location"], {"new_password1": "n3w horse!", "new_password2": "n3w horse!"})
    assert response["Location"] == PIN_PAGE
    assert is_nobody(browser)


@pytest.mark.threat("A07")
def test_magic_link__is_caught(alice, browser):
    response = browser.get("/magic/alice/")
    assert response["Location"] == PIN_PAGE
    assert is_nobody(browser)


@pytest.mark.threat("A08")
def test_remote_user__is_caught(alice, browser, settings):
    middleware = list(settings.MIDDLEWARE)
    middleware.insert(middleware.index(OURS), "django.contrib.auth.middleware.RemoteUserMiddleware")
    settings.MIDDLEWARE = middleware
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.RemoteUserBackend"]
    response = browser.get("/private/", REMOTE_USER="alice")
    assert response["Location"] == PIN_PAGE
    assert finish(browser) == "/private/"
    assert browser.get("/private/", REMOTE_USER="alice").content.decode() == f"private of {alice.pk}"


@pytest.mark.threat("A08")
def test_login_in_a_middleware_behind_ours__is_seen_before_the_view_runs(alice, browser, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.site.middleware.LogAliceIn"]
    response = browser.get("/whoami/")
    assert response["Location"] == PIN_PAGE
    assert SESSION_KEY not in browser.session


@pytest.mark.threat("A20")
@pytest.mark.parametrize("url", ["/private/", "/verified/", "/averified/", "/aprivate/", "/whoami/"])
def test_older_session__meets_the_pin_page_when_it_is_first_asked_for(alice, browser, url):
    browser.force_login(alice)
    response = browser.get(url)
    assert response["Location"] == PIN_PAGE
    assert SESSION_KEY not in browser.session
    assert finish(browser) == url
    assert str(alice.pk) in browser.get(url).content.decode()


@pytest.mark.threat("A20")
@pytest.mark.parametrize("url", ["/averified/", "/aprivate/", "/private/"])
def test_older_session__is_caught_under_asgi_too(aalice, url):
    client = AsyncClient()
    client.force_login(aalice)
    response = async_to_sync(client.get)(url)
    assert response["Location"] == PIN_PAGE
    assert SESSION_KEY not in client.session


def test_verified_session__passes_under_asgi(aalice):
    client = AsyncClient()
    login_verified(client, aalice)
    assert async_to_sync(client.get)("/averified/").content.decode() == f"verified {aalice.pk} True"
    assert async_to_sync(client.get)("/arecent/").content.decode() == "recent"


def test_public_page__asks_nothing_of_an_older_session(alice, browser, django_assert_num_queries):
    browser.force_login(alice)
    with django_assert_num_queries(0):
        response = browser.get("/public/")
    assert response.content == b"public"
    assert "Cookie" not in response.get("Vary", "")


def test_page_that_only_uses_the_session__keeps_the_cart_through_both_steps(alice, browser):
    browser.get("/cart/")
    anonymous_key = browser.session.session_key
    give_password(browser)
    assert browser.session.session_key != anonymous_key
    browser.post(PIN_PAGE, {"pin": sent_pin()})
    assert browser.get("/cart/").content == b"2"


@pytest.mark.threat("A11")
def test_second_user_in_the_same_session__inherits_nothing(alice, carol, browser):
    browser.force_login(carol)
    browser.get("/cart/")
    give_password(browser)
    assert is_nobody(browser)
    assert "cart" not in browser.session


@pytest.mark.threat("G01")
def test_session_key__changes_at_both_steps(alice, browser):
    browser.get("/cart/")
    keys = [browser.session.session_key]
    give_password(browser)
    keys.append(browser.session.session_key)
    browser.post(PIN_PAGE, {"pin": sent_pin()})
    keys.append(browser.session.session_key)
    assert len(set(keys)) == 3


@pytest.mark.threat("G05")
def test_logout_while_pending__ends_the_pending_login(alice, browser):
    give_password(browser)
    browser.post("/plain/logout/")
    response = browser.post(PIN_PAGE, {"pin": sent_pin()})
    assert response["Location"] == "/accounts/login/"
    assert SESSION_KEY not in browser.session


@pytest.mark.threat("G05")
def test_logout__takes_the_proof_along(alice, browser):
    login_verified(browser, alice)
    browser.post("/plain/logout/")
    assert PROOF_KEY not in browser.session
    browser.force_login(alice)
    assert browser.get("/private/")["Location"] == PIN_PAGE


@pytest.mark.threat("A21")
def test_trust_that_ended__ends_the_session(alice, browser):
    login_verified(browser, alice)
    VerigatorUser.objects.update(
        trust_version=new_trust_version(), phone_number="", state="no_phone", verigator_id=None
    )
    cache.clear()  # or a minute later
    response = browser.get("/private/")
    assert response["Location"] == "/accounts/login/?next=/private/"
    assert SESSION_KEY not in browser.session


def test_trust_that_ended__reaches_a_session_within_a_minute_although_the_cache_is_another_process_s(
    alice, browser, settings, monkeypatch
):
    login_verified(browser, alice)
    browser.get("/private/")
    VerigatorUser.objects.update(trust_version=new_trust_version())
    assert browser.get("/private/").status_code == HTTPStatus.OK
    import time

    later = time.time() + 61
    monkeypatch.setattr("django.core.cache.backends.locmem.time.time", lambda: later)
    assert browser.get("/private/").status_code == HTTPStatus.FOUND


@pytest.mark.threat("R26")
def test_cache_that_fails__lets_nobody_in_and_breaks_nothing(alice, browser, settings):
    settings.CACHES = {"default": {"BACKEND": "tests.site.caches.BrokenCache"}}
    give_password(browser)
    browser.post(PIN_PAGE, {"pin": sent_pin()})
    assert browser.get("/private/").status_code == HTTPStatus.OK
    other = Client()
    other.force_login(alice)
    assert other.get("/private/")["Location"] == PIN_PAGE


def test_login_required_middleware__lets_the_pages_of_the_second_step_through(alice, browser, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    assert browser.get("/accounts/login/").status_code == HTTPStatus.OK
    give_password(browser)
    assert browser.get(PIN_PAGE).status_code == HTTPStatus.OK
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"
    assert browser.get("/private/").status_code == HTTPStatus.OK


def test_request_user__wraps_the_user_directly_as_djangos_does(alice, browser):
    login_verified(browser, alice)
    user = browser.get("/verified/").wsgi_request.user
    assert type(user._wrapped) is type(alice)  # another wrapper would slow down each attribute


@pytest.mark.parametrize("outer", ["lazy", "real"])
def test_request_user_that_was_read_before__is_nobody_once_the_trust_has_ended(alice, browser, settings, outer):
    if outer == "real":
        middleware = list(settings.MIDDLEWARE)
        middleware.insert(middleware.index(OURS), "tests.site.middleware.ReadsTheUser")
        settings.MIDDLEWARE = middleware
    login_verified(browser, alice)
    request = browser.get("/private/").wsgi_request
    user = request.user
    assert user.is_authenticated
    VerigatorUser.objects.filter(user=alice).update(trust_version=new_trust_version())
    assert not request.verigator.revalidate(user).is_authenticated
    assert not user.is_authenticated
    assert request.verigator.intercepted is None


def test_is_verified__in_code_and_in_templates(alice, carol, browser):
    assert browser.get("/in-template/").content == b"False"
    login_verified(browser, alice)
    assert browser.get("/in-template/").content == b"True"
    assert browser.get("/whoami/").content.decode() == f"user={alice.pk} verified=True"
    other = Client()
    other.force_login(carol)
    assert other.get("/in-template/").content == b"False"


def test_is_verified__is_false_without_the_middleware():
    assert django_verigator.is_verified(RequestFactory().get("/")) is False


def test_verified_required__without_the_middleware_is_a_configuration_error(alice):
    request = RequestFactory().get("/")
    request.user = alice
    with pytest.raises(ImproperlyConfigured, match="VerigatorMiddleware is missing"):
        verified_required(lambda request: None)(request)


def test_verified_required__sends_anonymous_users_to_the_login_page(db, browser):
    assert browser.get("/verified/")["Location"] == "/accounts/login/?next=/verified/"
    assert browser.get("/recent/")["Location"] == "/accounts/login/?next=/recent/"


@pytest.mark.parametrize("url", ["/recent/", "/arecent/"])
def test_max_age__asks_again_when_the_proof_is_too_old(alice, browser, url):
    login_verified(browser, alice)
    assert browser.get(url).status_code == HTTPStatus.OK
    session = browser.session
    session[PROOF_KEY] = {**session[PROOF_KEY], "at": session[PROOF_KEY]["at"] - 301}
    session.save()
    assert browser.get("/private/").status_code == HTTPStatus.OK
    assert browser.get(url)["Location"] == PIN_PAGE
    assert browser.get("/private/").status_code == HTTPStatus.OK, "still logged in while the proof is asked for"
    key = browser.session.session_key
    assert finish(browser) == url
    assert browser.session.session_key != key
    assert browser.get(url).status_code == HTTPStatus.OK


def test_max_age__a_posted_form_is_not_posted_again(alice, browser):
    login_verified(browser, alice)
    session = browser.session
    session[PROOF_KEY] = {**session[PROOF_KEY], "at": 0}
    session.save()
    assert browser.post("/recent/", {}, headers={"referer": "http://testserver/cart/"})["Location"] == PIN_PAGE
    assert finish(browser) == "http://testserver/cart/"


def test_max_age__step_up_of_a_session_that_has_ended_logs_nobody_in(alice, browser):
    login_verified(browser, alice)
    session = browser.session
    session[PROOF_KEY] = {**session[PROOF_KEY], "at": 0}
    session.save()
    browser.get("/recent/")
    browser.post("/accounts/verify/resend/")
    del browser.cookies["sessionid"]
    response = browser.post(PIN_PAGE, {"pin": sent_pin()})
    assert response["Location"] == "/accounts/login/"
    assert SESSION_KEY not in browser.session


def test_max_age__has_a_user_without_a_phone_enrol_one(carol, browser):
    browser.force_login(carol)
    response = browser.get("/recent/")
    assert response["Location"] == "/accounts/enrol/?next=%2Frecent%2F"
    page = browser.post(response["Location"], {"phone": "+372 5550 0099", "password": "no", "next": "/recent/"})
    assert "The password is not right." in page.content.decode()
    assert locmem.outbox == []
    response = browser.post("/accounts/enrol/", {"phone": "+372 5550 0099", "password": PASSWORD, "next": "/recent/"})
    assert response["Location"] == PIN_PAGE
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/recent/"
    assert browser.get("/recent/").status_code == HTTPStatus.OK
    carol.refresh_from_db()
    assert carol.verigator.phone_number == "+37255500099"
    assert carol.verigator.confirmed_at is not None


def test_max_age__always_reads_the_row(alice, browser):
    login_verified(browser, alice)
    assert browser.get("/recent/").status_code == HTTPStatus.OK
    VerigatorUser.objects.update(trust_version=new_trust_version())
    assert browser.get("/recent/").status_code == HTTPStatus.FOUND


@pytest.mark.threat("G04")
def test_pending_login__ends_after_its_time(alice, browser):
    give_password(browser)
    Challenge.objects.update(started_at=timezone.now() - timedelta(seconds=601))
    assert browser.get(PIN_PAGE)["Location"] == "/accounts/login/"
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/accounts/login/"


def activate(user, active: bool) -> None:
    user.is_active = active
    user.save()
    cache.clear()  # or a minute later


@pytest.mark.fault("T15")
def test_deactivated_user__comes_back_without_the_proofs_and_trusted_browsers_of_before(alice, browser, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "TRUSTED_BROWSER_DAYS": 30}
    give_password(browser)
    browser.post(PIN_PAGE, {"pin": sent_pin(), "trust": "on"})
    activate(alice, False)
    assert browser.get("/whoami/").content == b"user=None verified=False"
    activate(alice, True)
    assert browser.get("/private/")["Location"] == "/accounts/login/?next=/private/"
    assert SESSION_KEY not in browser.session
    assert give_password(browser)["Location"] == PIN_PAGE


@pytest.mark.fault("T15")
def test_inactive_user__whom_the_site_lets_in_stays_in_when_saved(alice, browser, settings):
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.AllowAllUsersModelBackend"]
    activate(alice, False)
    login_verified(browser, alice)
    activate(alice, False)
    assert browser.get("/private/").status_code == HTTPStatus.OK


# --- logins that the request's session does not show ------------------------------------------------------------------

CREDENTIALS = {"username": "alice", "password": PASSWORD}


@pytest.mark.fault("X01")
def test_login_to_a_session_of_its_own__hands_out_nothing_that_works(alice, browser):
    response = browser.post("/session-of-its-own/", CREDENTIALS)
    assert response["Location"] == PIN_PAGE
    assert b"token" not in response.content
    for session in Session.objects.all():
        told = Client().get("/by-session-token/", headers={"X-Session-Token": session.session_key})
        assert told.content == b"user=None"


@pytest.mark.fault("X01")
def test_login_to_a_session_of_its_own__of_a_user_who_owes_nothing_works(carol, browser):
    token = browser.post("/session-of-its-own/", {**CREDENTIALS, "username": "carol"}).json()["token"]
    told = browser.get("/by-session-token/", headers={"X-Session-Token": token})
    assert told.content.decode() == f"user={carol.pk}"


@pytest.mark.fault("X01")
def test_login_to_no_session__hands_out_nothing(alice, browser):
    response = browser.post("/token-alone/", CREDENTIALS)
    assert response["Location"] == PIN_PAGE
    assert b"token" not in response.content


@pytest.mark.fault("X01")
def test_login_to_no_session__by_who_has_the_proof_passes(alice, browser):
    login_verified(browser, alice)
    assert browser.get("/token-for-me/").content == b"token"
    assert browser.get("/verified/").status_code == HTTPStatus.OK


ENGINES = ["db", "cache", "cached_db", "file", "signed_cookies"]


@pytest.mark.fault("T02")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("url", ["/magic/alice/", "/admin/login/"])
def test_proof__ends_with_the_login_it_was_given_in(alice, browser, settings, tmp_path, engine, url):
    settings.SESSION_FILE_PATH = tmp_path
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    alice.is_staff = True
    alice.save()
    give_password(browser)
    browser.post(PIN_PAGE, {"pin": sent_pin()})
    assert browser.get("/verified/").status_code == HTTPStatus.OK
    browser.get("/cart/")
    browser.post("/logout-keeping-the-cart/")
    assert browser.get("/cart/").content == b"2"
    response = browser.get(url) if url.startswith("/magic") else browser.post(url, CREDENTIALS)
    assert response["Location"] == PIN_PAGE
    assert is_nobody(browser)


@pytest.mark.fault("X03")
def test_cached_standing__is_of_one_user_and_no_namesake_of_another_tenant(alice, carol, browser, settings):
    """Two databases behind one cache have users with the same keys."""
    login_verified(browser, carol)
    browser.get("/private/")
    namesake = type(alice).objects.get(pk=alice.pk)
    namesake.pk = carol.pk
    assert policy.recent_requirement(carol) is not None
    assert policy.recent_requirement(namesake) is None


# --- a login that is not ours is asked for as little as one that is ---------------------------------------------------


def log_in_at_the_plain_page(client: Client):
    return client.post("/plain/login/?next=/private/", CREDENTIALS)


@pytest.mark.fault("X08")
def test_caught_login__a_get_and_an_older_session_send_nothing(alice, browser):
    browser.get("/magic/alice/")
    other = Client()
    other.force_login(alice)
    assert other.post("/cart/")["Location"] == PIN_PAGE
    assert locmem.outbox == []
    assert "Send me a PIN" in other.get(PIN_PAGE).content.decode()


@pytest.mark.fault("X08")
def test_caught_login__another_right_password_goes_on_with_the_pin_that_is_on_its_way(alice, browser):
    for _ in range(2):
        assert log_in_at_the_plain_page(browser)["Location"] == PIN_PAGE
    assert len(locmem.outbox) == 1
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"


@pytest.mark.fault("X08")
def test_caught_login__sends_after_a_password_although_an_older_session_waits_already(alice, browser):
    browser.force_login(alice)
    browser.get("/private/")
    assert locmem.outbox == []
    log_in_at_the_plain_page(browser)
    assert browser.post(PIN_PAGE, {"pin": sent_pin()})["Location"] == "/private/"
    assert len(locmem.outbox) == 1


@pytest.mark.fault("X08")
def test_caught_login__keeps_to_the_limits(alice, browser, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "LIMITS": {"SENDS_PER_USER_HOUR": 2}}
    for _ in range(4):
        assert log_in_at_the_plain_page(Client())["Location"] == PIN_PAGE
    assert len(locmem.outbox) == 2


@pytest.mark.fault("X08")
def test_caught_login__of_a_middleware_or_to_a_session_of_its_own_sends_nothing(alice, browser, settings):
    browser.post("/session-of-its-own/", CREDENTIALS)
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.site.middleware.LogAliceIn"]
    assert Client().post("/cart/")["Location"] == PIN_PAGE
    assert locmem.outbox == []


@pytest.mark.fault("X08")
@pytest.mark.django_db(transaction=True)
def test_caught_login__sends_when_the_transaction_of_the_view_is_over(aalice, browser, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    log_in_at_the_plain_page(browser)  # a send within a transaction would be an error
    assert len(locmem.outbox) == 1


@pytest.mark.fault("X08")
@pytest.mark.parametrize("log_in", [log_in_at_the_plain_page, lambda client: client.get("/magic/alice/")])
def test_caught_login__that_the_database_gives_up_twice_is_told_in_words(aalice, browser, monkeypatch, log_in):
    def give_up(self, *args, **kwargs):
        raise deadlock()

    for store in ("save", "insert"):
        monkeypatch.setattr(Challenge, store, give_up)
    response = log_in(browser)
    assert response.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert SESSION_KEY not in browser.session


def trust(client: Client) -> None:
    give_password(client)
    client.post(PIN_PAGE, {"pin": sent_pin(), "trust": "on"})
    client.post("/plain/logout/")


@pytest.mark.fault("X04")
def test_trusted_browser__is_not_asked_again_wherever_its_user_logs_in(alice, browser, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "TRUSTED_BROWSER_DAYS": 30}
    trust(browser)
    assert log_in_at_the_plain_page(browser)["Location"] == "/private/"
    assert browser.get("/private/").status_code == HTTPStatus.OK
    browser.post("/plain/logout/")
    assert browser.get("/magic/alice/").content == b"welcome"
    assert len(locmem.outbox) == 1
    assert browser.get("/recent/")["Location"] == PIN_PAGE, "a browser is no proof"


@pytest.mark.fault("X04")
def test_trusted_browser__with_an_older_session_goes_on_under_a_new_key(alice, browser, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "TRUSTED_BROWSER_DAYS": 30}
    trust(browser)
    browser.force_login(alice)
    planted = browser.session.session_key
    assert browser.get("/verified/").status_code == HTTPStatus.OK
    thief = Client()
    thief.cookies["sessionid"] = planted
    assert thief.get("/whoami/").content == b"user=None verified=False"


@pytest.mark.fault("X04")
@pytest.mark.parametrize("end", ["reset", "new password"])
def test_trusted_browser__whose_trust_has_ended_is_asked_everywhere(alice, browser, settings, end):
    settings.VERIGATOR = {**settings.VERIGATOR, "TRUSTED_BROWSER_DAYS": 30}
    trust(browser)
    if end == "reset":
        VerigatorUser.objects.update(trust_version=new_trust_version())
    else:
        alice.set_password(PASSWORD)
        alice.save()
    assert log_in_at_the_plain_page(browser)["Location"] == PIN_PAGE


@pytest.mark.fault("X07")
@pytest.mark.parametrize("storage", ["cookie", "session", "fallback"])
def test_caught_login__keeps_the_messages_of_the_view(alice, browser, settings, storage):
    name = {"cookie": "Cookie", "session": "Session", "fallback": "Fallback"}[storage]
    settings.MESSAGE_STORAGE = f"django.contrib.messages.storage.{storage}.{name}Storage"
    assert browser.post("/login-with-a-message/alice/")["Location"] == PIN_PAGE
    assert finish(browser) == "/messages/"
    assert browser.get("/messages/").content == b"Welcome back"


@pytest.mark.fault("X07")
def test_caught_login__keeps_no_cookie_but_those_that_are_known_to_be_worth_no_login(alice, browser, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "KEPT_COOKIES": ["theme"]}
    browser.post("/login-with-a-message/alice/")
    assert browser.cookies["theme"].value == "dark"
    assert browser.cookies["django_language"].value == "et"
    assert "jwt" not in browser.cookies


@pytest.mark.fault("T12")
@pytest.mark.parametrize("offset", [0, 1], ids=["before ours", "behind ours"])
def test_middleware_that_logs_in_whoever_is_not__leads_to_the_pin_page_and_through_it(alice, browser, settings, offset):
    place = settings.MIDDLEWARE.index(OURS) + offset
    logs_in = "tests.site.middleware.LogAliceInOnce"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE[:place], logs_in, *settings.MIDDLEWARE[place:]]
    assert browser.get("/private/")["Location"] == PIN_PAGE
    assert browser.get(PIN_PAGE).status_code == HTTPStatus.OK
    assert finish(browser) == "/private/"
    assert browser.get("/private/").status_code == HTTPStatus.OK
    assert browser.post("/cart/").status_code == HTTPStatus.OK


@pytest.mark.fault("T12")
def test_middleware_that_logs_in_each_time__lets_nobody_in_and_does_not_lead_in_a_circle(alice, browser, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.site.middleware.LogAliceIn"]
    assert browser.get(PIN_PAGE, follow=True).redirect_chain == [(PIN_PAGE, HTTPStatus.FOUND)]
    browser.post("/accounts/verify/resend/")
    browser.post(PIN_PAGE, {"pin": sent_pin()})
    assert browser.get("/private/")["Location"] == PIN_PAGE


# --- the mark ---------------------------------------------------------------------------------------------------------


@pytest.mark.fault("X19")
@pytest.mark.parametrize(
    "broken",
    [{"trust_version": None}, {"trust_version": 7}, {"at": "x"}, {"at": None}, {"method": None}, {"user": None}],
)
def test_mark_that_site_code_has_written__is_none(alice, browser, broken):
    login_verified(browser, alice)
    session = browser.session
    changed = {**session[PROOF_KEY], **broken}
    session[PROOF_KEY] = {key: value for key, value in changed.items() if value is not None}
    session.save()
    for url in ("/verified/", "/recent/"):
        assert browser.get(url).status_code == HTTPStatus.FOUND
    assert SESSION_KEY not in browser.session


@pytest.mark.fault("T02")
def test_mark__is_not_among_the_keys_that_sites_keep_and_put_back(alice, browser):
    login_verified(browser, alice)
    assert not [key for key, _ in browser.session.items() if not key.startswith("_auth")]


def test_proof_of_an_older_version__verifies_nobody(carol, client, rf):
    client.force_login(carol)
    session = client.session
    session[PROOF_KEY] = {"user": str(carol.pk), "epoch": "ended by a reset", "at": 1, "method": "sms"}
    session.save()
    request = rf.get("/")
    request.session, request.user = client.session, carol
    request.verigator = guard = SessionGuard(request)
    assert guard.resolve_user(carol) == carol
    assert not guard.is_verified()
