"""What taking a protection away (tests/mutations) did not show elsewhere."""

from __future__ import annotations

import time
from http import HTTPStatus

import pytest
from asgiref.sync import async_to_sync, markcoroutinefunction
from django.contrib.auth import SESSION_KEY, alogin, login
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.functional import SimpleLazyObject
from django.views import View

from django_verigator.backends import Checked, backends, locmem
from django_verigator.decorators import verified_required
from django_verigator.digests import digest, digests
from django_verigator.flows.cookies import cookie_name
from django_verigator.flows.session import PROOF_KEY, new_proof
from django_verigator.mixins import VerifiedRequiredMixin
from django_verigator.models import Challenge, Counter, PhoneChange, VerigatorUser, new_trust_version
from django_verigator.testing import login_verified
from tests.site.models import User
from tests.site.urls import urlpatterns as site_urls

from .conftest import PASSWORD, PHONE, WRONG_PIN, give_password, sent_pin

pytestmark = pytest.mark.usefixtures("pins")
PIN_PAGE, RESEND, ENROL = "/accounts/verify/", "/accounts/verify/resend/", "/accounts/enrol/"
NEW = "+37255500099"
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"


@pytest.fixture
def use(settings):
    def change(**keys):
        settings.VERIGATOR = {**settings.VERIGATOR, **keys}

    return change


@pytest.mark.threat("M10")
@pytest.mark.parametrize(
    "verdict", [Checked(True, expired=True), Checked(True, throttled=True), Checked(True, method="totp")]
)
def test_verdict_that_is_right_but__is_no_proof(alice, browser, monkeypatch, verdict):
    give_password(browser)
    monkeypatch.setattr(backends.default, "check", lambda *args, **kwargs: verdict)
    assert browser.post(PIN_PAGE, {"pin": sent_pin()}).status_code == HTTPStatus.OK
    assert SESSION_KEY not in browser.session


@pytest.mark.threat("C14")
def test_wrong_pins__are_counted_by_the_day_too(alice, browser, use):
    use(LIMITS={"TRIES_PER_USER_DAY": 2, "TRIES_PER_USER_HOUR": 2})
    give_password(browser)
    for _ in range(2):
        browser.post(PIN_PAGE, {"pin": WRONG_PIN})
    Counter.objects.filter(scope="tries/user/hour").update(expires_at=timezone.now())
    browser.post(PIN_PAGE, {"pin": sent_pin()})
    assert SESSION_KEY not in browser.session


@pytest.mark.threat("E09")
def test_text_that_is_forbidden__is_not_asked_for(alice, browser, use, monkeypatch):
    use(WAYS=["totp"], METHOD="sms")
    asked, start = [], backends.default.start
    monkeypatch.setattr(backends.default, "start", lambda *args, **kwargs: asked.append(args) or start(*args, **kwargs))
    give_password(browser)
    browser.post(RESEND, {"method": "sms"})
    assert asked == []


@pytest.mark.threat("I01")
@pytest.mark.parametrize(
    "url", ["/accounts/login/", PIN_PAGE, RESEND, "/accounts/verify/cancel/", "/accounts/verify/recovery/"]
)
def test_token_of_the_form__is_asked_for_where_the_site_asks_for_none(alice, settings, url):
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if not name.endswith("CsrfViewMiddleware")]
    browser = Client()
    give_password(browser)
    sent = len(locmem.outbox)
    browser.handler.enforce_csrf_checks = True
    assert browser.post(url, {"pin": sent_pin()}).status_code == HTTPStatus.FORBIDDEN
    assert len(locmem.outbox) == sent
    assert Challenge.objects.get().consumed_at is None


@pytest.mark.threat("D04")
def test_pending_cookie__is_nothing_without_its_signature(alice, browser):
    give_password(browser)
    nonce, _, signature = browser.cookies[cookie_name()].value.partition(":")
    for value in (nonce, f"{nonce}:", f"{nonce}:{signature[:-2]}xx", f"x{nonce}:{signature}"):
        thief = Client()
        thief.cookies[cookie_name()] = value
        assert thief.get(PIN_PAGE)["Location"] == "/accounts/login/"
    assert browser.get(PIN_PAGE).status_code == HTTPStatus.OK


@pytest.mark.threat("D04")
def test_pending_login__is_that_of_its_own_browser(alice, browser):
    User.objects.create_user("bob", password=PASSWORD, phone_number=NEW)
    give_password(browser)
    pin = sent_pin()
    other = Client()
    give_password(other, "bob")
    assert browser.post(PIN_PAGE, {"pin": pin}).status_code == HTTPStatus.FOUND
    assert browser.session[SESSION_KEY] == str(alice.pk)
    assert SESSION_KEY not in other.session


@pytest.mark.threat("F07")
def test_nonce_of_a_pending_login__is_not_in_the_database(alice, browser):
    give_password(browser)
    nonce = browser.cookies[cookie_name()].value.partition(":")[0]
    assert nonce not in str(list(Challenge.objects.values()))


def begin_enrolment(carol, browser):
    browser.force_login(carol)
    browser.post(ENROL, {"phone": NEW, "password": PASSWORD})
    assert locmem.outbox[-1].to == NEW


@pytest.mark.threat("J01")
def test_new_phone_whose_pin_is_out__replaces_none_that_came_meanwhile(carol, browser):
    begin_enrolment(carol, browser)
    VerigatorUser.objects.filter(user=carol).update(phone_number=PHONE, state="pending")
    browser.post(PIN_PAGE, {"pin": sent_pin()})
    assert VerigatorUser.objects.get(user=carol).phone_number == PHONE


@pytest.mark.threat("G09")
def test_new_phone_whose_record_was_made_anew__is_not_confirmed_by_the_pin_of_the_old_one(carol, browser):
    begin_enrolment(carol, browser)
    PhoneChange.objects.update(verigator_id="another")
    browser.post(PIN_PAGE, {"pin": sent_pin()})
    assert VerigatorUser.objects.get(user=carol).phone_number == ""


# --- the guard --------------------------------------------------------------------------------------------------------

ran = []


def witness(request):
    ran.append(request.user.pk)
    return HttpResponse()


async def awitness(request):
    ran.append((await request.auser()).pk)
    return HttpResponse()


def logs_alice_in(view):
    """As a decorator for signed links does it."""

    def wrapper(request):
        login(request, User.objects.get(username="alice"), backend=MODEL_BACKEND)
        return view(request)

    return wrapper


class Witness(VerifiedRequiredMixin, View):
    def get(self, request):
        return witness(request)


urlpatterns = [
    path("witness/", witness),
    path("awitness/", awitness),
    path("verified-witness/", verified_required(witness)),
    path("verified-awitness/", verified_required(awitness)),
    path("link/", logs_alice_in(verified_required(witness))),
    path("link-to-class/", logs_alice_in(Witness.as_view())),
    *site_urls,
]


class Behind:
    """A middleware that stands behind ours."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        return self.get_response(request)


class LogAliceInBeforeTheView(Behind):
    def process_view(self, request, *args):
        login(request, User.objects.get(username="alice"), backend=MODEL_BACKEND)


class PutAliceBeforeTheView(Behind):
    def process_view(self, request, *args):
        request.user = User.objects.get(username="alice")


def put_alice_as_auser(request):
    async def auser():
        return await User.objects.aget(username="alice")

    request.auser = auser


class PutAliceAsAuser(Behind):
    def __call__(self, request):
        put_alice_as_auser(request)
        return self.get_response(request)


class AsyncBehind(Behind):
    sync_capable, async_capable = False, True

    def __init__(self, get_response):
        super().__init__(get_response)
        markcoroutinefunction(self)


class PutAliceAsAuserAsync(AsyncBehind):
    async def __call__(self, request):
        put_alice_as_auser(request)
        return await self.get_response(request)


class PutALazyAliceAsync(AsyncBehind):
    """As middleware for tokens does it."""

    async def __call__(self, request):
        request.user = SimpleLazyObject(lambda: User.objects.get(username="alice"))
        return await self.get_response(request)


class LogAliceInAsync:
    sync_capable, async_capable = False, True

    def __init__(self, get_response):
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request):
        alice = await User.objects.aget(username="alice")
        await alogin(request, alice, backend=MODEL_BACKEND)
        return await self.get_response(request)


@pytest.mark.threat("A08")
def test_view_behind_a_middleware_that_logs_in__does_not_run(alice, browser, settings):
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.site.middleware.LogAliceIn"]
    ran.clear()
    assert browser.get("/witness/")["Location"] == PIN_PAGE
    assert ran == []


@pytest.mark.threat("A08")
def test_async_view_behind_a_middleware_that_logs_in__does_not_run(aalice, settings):
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.LogAliceInAsync"]
    ran.clear()
    assert async_to_sync(AsyncClient().get)("/awitness/")["Location"] == PIN_PAGE
    assert ran == []


@pytest.mark.threat("A07")
@pytest.mark.parametrize("url", ["/link/", "/link-to-class/"])
def test_verified_required__lets_nobody_through_who_was_logged_in_on_the_way(alice, browser, settings, url):
    settings.ROOT_URLCONF = __name__
    ran.clear()
    assert browser.get(url)["Location"] == PIN_PAGE
    assert ran == []
    assert SESSION_KEY not in browser.session


@pytest.mark.threat("A08")
@pytest.mark.parametrize("middleware", ["LogAliceInBeforeTheView", "PutAliceBeforeTheView"])
def test_verified_required__lets_nobody_through_whom_a_later_middleware_put_there(alice, browser, settings, middleware):
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.{middleware}"]
    ran.clear()
    assert browser.get("/verified-witness/")["Location"] == PIN_PAGE
    assert ran == []


@pytest.mark.threat("A08")
@pytest.mark.parametrize("url", ["/awitness/", "/verified-awitness/"])
@pytest.mark.parametrize("middleware", ["PutAliceAsAuser", "PutAliceAsAuserAsync", "PutALazyAliceAsync"])
def test_auser_of_a_middleware_behind_ours__is_looked_at(aalice, settings, middleware, url):
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.{middleware}"]
    ran.clear()
    assert async_to_sync(AsyncClient().get)(url)["Location"] == PIN_PAGE
    assert ran == []


def test_async_view__runs_as_the_lazy_user_of_a_middleware_behind_ours_who_owes_nothing(aalice, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "REQUIRED": "none"}
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.PutALazyAliceAsync"]
    assert async_to_sync(AsyncClient().get)("/private/").content.decode() == f"private of {aalice.pk}"


@pytest.mark.threat("G11")
def test_is_verified__is_not_true_for_the_proof_of_somebody_else(alice, carol, browser):
    browser.force_login(carol)
    session = browser.session
    session[PROOF_KEY] = new_proof(alice, VerigatorUser.objects.get(user=alice).trust_version, "sms")
    session.save()
    assert browser.get("/whoami/").content.decode() == f"user={carol.pk} verified=False"


@pytest.mark.threat("A20")
def test_proof_that_is_newer_than_the_cache__is_looked_up_and_not_thrown_away(alice, browser):
    login_verified(browser, alice)
    assert browser.get("/private/").status_code == HTTPStatus.OK
    VerigatorUser.objects.update(
        trust_version=new_trust_version()
    )  # as another process does, whose cache is another one
    session = browser.session
    session[PROOF_KEY] = {**session[PROOF_KEY], "trust_version": VerigatorUser.objects.get(user=alice).trust_version}
    session.save()
    assert browser.get("/private/").status_code == HTTPStatus.OK


@pytest.mark.threat("A20")
def test_what_was_read__is_not_believed_for_longer_by_being_used(alice, browser, monkeypatch):
    login_verified(browser, alice)
    began = time.time()
    assert browser.get("/private/").status_code == HTTPStatus.OK
    VerigatorUser.objects.update(trust_version=new_trust_version())
    for seconds, status in ((40, HTTPStatus.OK), (75, HTTPStatus.FOUND)):
        monkeypatch.setattr("django.core.cache.backends.locmem.time.time", lambda now=began + seconds: now)
        assert browser.get("/private/").status_code == status


# --- headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.threat("I04", "F13")
def test_pages__are_not_framed_or_referred_where_the_site_does_not_care(alice, browser, settings):
    others = ("XFrameOptionsMiddleware", "SecurityMiddleware")
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if not name.endswith(others)]
    pages = [browser.get("/accounts/login/")]
    give_password(browser)
    pages += [browser.get(PIN_PAGE), browser.get("/accounts/verify/recovery/")]
    browser.post(PIN_PAGE, {"pin": sent_pin()})
    pages += [browser.get(f"/accounts/security/{page}") for page in ("", "phone/", "recovery-codes/")]
    for page in pages:
        assert page.status_code == HTTPStatus.OK
        assert page["X-Frame-Options"] == "DENY"
        assert page["Referrer-Policy"] == "same-origin"


def test_digests__are_those_of_django_under_each_secret_key(settings):
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", [b"old"]
    of_django = [
        salted_hmac("django_verigator.phone", "+372", secret=key, algorithm="sha256").hexdigest()
        for key in ("new", b"old")
    ]
    assert digests("phone", "+372") == of_django
    assert digest("phone", "+372") == of_django[0]
    settings.SECRET_KEY = "newer"
    assert digest("phone", "+372") not in of_django
