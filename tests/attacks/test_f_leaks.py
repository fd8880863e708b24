"""F. What leaks. The oracle looks for the canaries after every test here; these go where it has the most to see."""

from __future__ import annotations

import logging
import pickle
import re
from http import HTTPStatus

import django
import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core import mail
from django.core.management import CommandError
from django.utils.log import AdminEmailHandler
from django.views.debug import ExceptionReporter

from django_verigator import conf, events, exceptions, rate_limits
from django_verigator import phone as phone_numbers
from django_verigator.backends import backends, texts
from django_verigator.client import Api, http
from django_verigator.flows import acceptance, completion, enrolment, limits, phone_changes, recovery
from django_verigator.models import Challenge, PhoneChange, RecoveryCode, VerigatorUser
from django_verigator.records import links, site_phones

from .actors import CODES, CONFIRM, ENROL, HOME, LOGIN, PHONE, PIN, PIN_DIGITS, RECOVERY, RESEND, SECURITY
from .conftest import BOTH, each_store
from .oracle import plain

PROVIDERS = BOTH
NEW = "+37255510009"
VARIABLE_HEADERS = ("Set-Cookie", "Content-Length", "Date", "Expires")


@pytest.fixture
def hashings(monkeypatch):
    """Counts how often a password is hashed."""
    count = []
    real = MD5PasswordHasher.encode

    def encode(self, password, salt):
        count.append(1)
        return real(self, password, salt)

    monkeypatch.setattr(MD5PasswordHasher, "encode", encode)
    return count


def without_what_was_typed(response, name):
    text = re.sub(r'value="\w{64}"', "", response.content.decode())
    return text.replace(f'value="{name}"', "")


@pytest.mark.threat("F01", "F02")
@pytest.mark.parametrize("page", [LOGIN, "/json-login/", "/admin/login/"])
def test_unknown_inactive_and_wrong_are_one_answer(site, alice, mallory, hashings, page):
    """The same words, status, headers and length, after as many hashings. What they take in time: benchmarks."""
    inactive = site.user("alina", "+37255510005")
    inactive.is_active = False
    inactive.save()
    answers, counts = [], []
    for name, password in [("nobody", "guess"), ("alice", "guess"), ("alina", site.password(inactive)), ("alina", "x")]:
        del hashings[:]
        response = site.browser().post(page, {"username": name, "password": password})
        headers = {key: value for key, value in response.headers.items() if key not in VARIABLE_HEADERS}
        answers.append((response.status_code, without_what_was_typed(response, name), str(headers)))
        counts.append(len(hashings))
    assert answers[0][0] in (HTTPStatus.OK, HTTPStatus.BAD_REQUEST)
    assert len(set(answers)) == 1
    assert set(counts) == {1}


@pytest.mark.threat("F02")
def test_a_password_that_is_right_costs_one_hashing_too(site, alice, hashings):
    del hashings[:]
    site.pending(alice)
    assert len(hashings) == 1


@pytest.mark.threat("F03")
@pytest.mark.parametrize("state", ["up", "slow", "down"])
def test_a_wrong_password_never_reaches_the_provider(site, alice, mallory, state):
    if state == "slow":
        site.slow_down(2)
    if state == "down":
        site.break_down()
    site.sandbox.clear_calls()
    for name in ("alice", "nobody"):
        response = mallory.post(LOGIN, {"username": name, "password": "a guess"})
        assert response.status_code == HTTPStatus.OK
    assert site.calls == []
    assert max(seen.seconds for seen in site.oracle.answers) < 1.5


@pytest.mark.threat("F04")
@each_store
def test_the_pages_show_the_end_of_a_number_and_of_a_name(site, alice):
    browser = site.pending(alice)
    link = site.link(alice)
    challenge = Challenge.objects.get()
    for url in (PIN, RECOVERY):
        response = browser.get(url)
        text = response.content.decode() + str(response.headers)
        assert "a•••e" in text
        own = ("alice", link.verigator_id, link.id_in_service, str(challenge.pk), challenge.nonce_digest)
        for secret in filter(None, (*own, challenge.reference)):
            assert secret not in text
    assert "ending in <b>01</b>" in browser.page
    full = site.logged_in(alice)
    for url in (SECURITY, PHONE, CODES):
        text = full.get(url).content.decode()
        assert site.pins_are_ours or link.verigator_id not in text
        assert link.phone_number[1:] not in text


def whole_life(site, alice):
    """Every step that handles a secret, right and wrong."""
    site.configure(TRUSTED_BROWSER_DAYS=30)
    site.room()
    browser = site.logged_in(alice, trust="on")
    codes = site.codes(alice, browser)
    site.owns(alice, NEW)
    browser.post(PHONE, {"phone": NEW, "password": site.password(alice)})
    browser.post(CONFIRM, {"pin": site.wrong()})
    yield browser
    browser.post(CONFIRM, {"pin": site.pin_at(NEW)})
    pending = site.pending(alice)
    pending.give_code("0000-0000-0000-0000")
    pending.give_pin(site.wrong())
    yield pending
    assert pending.give_code(codes[0])["Location"] == HOME
    waiting = site.pending(alice)
    if site.pins_are_ours:  # Only a start asks anybody.
        waiting.give_pin(site.wrong())
        site.sandbox.behave = boom
        site.wait(61)
        waiting.resend()
        site.sandbox.behave = lambda text: None
    else:
        site.sandbox.add_fault("status", status=500, times=1)
        waiting.give_pin(site.pin_at(NEW))
        site.sandbox.add_fault("body", operation="auth.verify", body="<html>", times=1)
        waiting.give_pin(site.pin_at(NEW))
        site.sandbox.add_fault("reset", operation="auth.start", times=1)
        site.wait(61)
        waiting.resend()
    yield waiting
    site.wait(601)
    assert waiting.give_pin(site.pin_at(NEW))["Location"] == LOGIN


@pytest.mark.threat("F05", "F07")
@each_store
def test_no_secret_is_logged_stored_cached_or_shown_at_any_step(site, alice):
    """The log is at DEBUG, that of the client too; sessions, tables and cache are read after each step."""
    for _ in whole_life(site, alice):
        assert list(site.oracle._leaks()) == []
    if not site.pins_are_ours:
        assert any("django_verigator.client" in line for line in site.oracle.transcript.lines)
    assert any("django_verigator verified user=" in line for line in site.oracle.transcript.lines)
    assert len(site.oracle.canaries()) > 20


@pytest.mark.asks_provider("user records are made at the provider; a gateway of texts has none")
@pytest.mark.threat("F05")
def test_registration_and_sync_log_no_secret(site, alice, staff):
    site.sandbox.add_fault("status", operation="users.create", status=422, times=1, body={"error": "no such +37255"})
    site.user("dave", "+37255510077")
    site.sandbox.add_fault("status", operation="users.create", status=500, times=1)
    site.user("erin", "+37255510078")
    with pytest.raises(CommandError, match="1 users have a number that cannot be used"):
        site.sync()
    desk = site.logged_in(staff)
    desk.post("/admin/site/user/", {"action": "sync_with_verigator", "_selected_action": [alice.pk]})
    assert list(site.oracle._leaks()) == []
    assert any("registration_failed" in line for line in site.oracle.transcript.lines)


# --- reports of errors ------------------------------------------------------------------------------------------------


@pytest.fixture
def reports(site, settings):
    """The mails to the site's admins, with the whole page of each report."""
    settings.ADMINS = ["admin@example.com" if django.VERSION >= (6, 0) else ("Admin", "admin@example.com")]
    settings.DEBUG = False
    site.oracle.errors_expected = True
    handler = AdminEmailHandler(include_html=True)
    logging.getLogger("django.request").addHandler(handler)
    # A traceback in the log shows lines, not variables; a message that holds a secret would show it.
    yield mail.outbox
    logging.getLogger("django.request").removeHandler(handler)


def page_of(reports):
    """The newest report as HTML; the site has one handler that sends it as text alone, too."""
    return [message.alternatives[0][0] for message in reports if message.alternatives][-1]


def boom(*args, **kwargs):
    raise RuntimeError("boom")


def debug_page_of(error, settings):
    """What a site with DEBUG on shows of it: from the handler on, without the frames of the test and its client. Django
    itself hides nothing then."""
    settings.DEBUG = True
    traceback = error.__traceback__
    while not traceback.tb_frame.f_globals["__name__"].startswith("django.core.handlers"):
        traceback = traceback.tb_next
    page = ExceptionReporter(None, type(error), error, traceback).get_traceback_html()
    settings.DEBUG = False
    return page


def interrupt(*args, **kwargs):
    raise KeyboardInterrupt


def in_the_call(site, monkeypatch):
    """Where the frames hold the PIN or the number: at the provider's door, or where a PIN of our own is digested."""
    if site.pins_are_ours:
        monkeypatch.setattr(texts, "digest", boom)
        monkeypatch.setattr(texts, "digests", boom)
        return

    def hook(method, path):
        raise RuntimeError("boom")

    monkeypatch.setattr(http, "before_request", [*http.before_request, hook])


def patched(module, name):
    return lambda site, monkeypatch: monkeypatch.setattr(module, name, boom)


def logged_in_and_ready(site, alice):
    return site.logged_in(alice)


def waiting(site, alice):
    browser = site.pending(alice)
    site.wait(31)
    return browser


def nothing(site, alice):
    return site.browser()


def enrolling(site, alice):
    site.configure(REQUIRED="all")
    dave = site.user("dave", owes=True)
    return site.pending(dave)


def confirming(site, alice):
    browser = site.logged_in(alice)
    browser.post(PHONE, {"phone": NEW, "password": site.password(alice)})
    return browser


FORMS = {
    "password": (nothing, in_the_call, LOGIN, lambda site, alice: {"username": "alice"}),
    "password, counting": (
        nothing,
        patched(rate_limits, "raise_counters"),
        LOGIN,
        lambda site, alice: {"username": "alice"},
    ),
    "password, link": (
        nothing,
        patched(links, "find"),
        LOGIN,
        lambda site, alice: {"username": "alice"},
    ),
    "PIN": (waiting, in_the_call, PIN, lambda site, alice: {"pin": site.pin(alice)}),
    "PIN, accepted": (waiting, patched(acceptance, "_prove"), PIN, lambda site, alice: {"pin": site.pin(alice)}),
    "PIN, digest": (waiting, patched(acceptance, "digest"), PIN, lambda site, alice: {"pin": site.pin(alice)}),
    "PIN, finished": (waiting, patched(completion, "_complete"), PIN, lambda site, alice: {"pin": site.pin(alice)}),
    "resend": (waiting, in_the_call, RESEND, lambda site, alice: {}),
    "resend, limits": (waiting, patched(rate_limits, "raise_counters"), RESEND, lambda site, alice: {}),
    "recovery code": (waiting, patched(recovery, "consume"), RECOVERY, lambda site, alice: {"code": "CODE"}),
    "recovery code, digest": (waiting, patched(recovery, "digests"), RECOVERY, lambda site, alice: {"code": "CODE"}),
    "first phone": (enrolling, in_the_call, ENROL, lambda site, alice: {"phone": NEW}),
    "first phone, number": (
        enrolling,
        patched(site_phones, "require_allowed"),
        ENROL,
        lambda site, alice: {"phone": NEW},
    ),
    "new phone": (logged_in_and_ready, in_the_call, PHONE, lambda site, alice: {"phone": NEW}),
    "new phone, confirmed": (
        confirming,
        patched(phone_changes, "swap"),
        CONFIRM,
        lambda site, alice: {"pin": site.pin_at(NEW)},
    ),
    "new codes": (logged_in_and_ready, patched(events, "record"), CODES, lambda site, alice: {}),
    "new codes, stored": (
        logged_in_and_ready,
        lambda site, monkeypatch: monkeypatch.setattr(RecoveryCode.objects, "bulk_create", boom),
        CODES,
        lambda site, alice: {},
    ),
    "overview": (logged_in_and_ready, patched(recovery, "count_unused"), SECURITY, None),
    "PIN page": (waiting, patched(enrolment, "needs_phone"), PIN, None),
    "guard": (logged_in_and_ready, patched(phone_numbers, "normalise"), "/recent/", None),
}


@pytest.mark.threat("F06")
@pytest.mark.parametrize("form", FORMS)
def test_reports_of_errors_show_no_secret(site, alice, reports, monkeypatch, form):
    prepare, fail, url, data = FORMS[form]
    codes = site.codes(alice, site.logged_in(alice))
    browser = prepare(site, alice)
    site.owns(alice, NEW)
    if form == "guard":
        # A number that nobody has confirmed follows the site's, so the guard reads both.
        VerigatorUser.objects.filter(user=alice).update(confirmed_at=None)
    posted = data(site, alice) if data else None
    if posted is not None:
        posted |= {"password": site.password(alice)}
        posted |= {"code": codes[0]} if "code" in posted else {}
    with monkeypatch.context() as patch:
        fail(site, patch)
        response = browser.get(url) if posted is None else browser.post(url, posted)
    assert response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR
    html = page_of(reports)
    assert "boom" in html
    assert "Traceback" in html
    # The oracle reads these mails too; here the numbers without their country as well.
    pins = [message["pin"] for message in site.sandbox.messages()]
    for secret in (*pins, *codes, *map(plain, codes), site.password(alice), "55510001", "55510009"):
        assert secret not in html
        assert secret not in "".join(message.body for message in reports)


@pytest.mark.asks_provider("the parameters of one provider's calls")
@pytest.mark.threat("F05", "F06")
@pytest.mark.asks_provider("it is asked at the sandbox; a gateway of texts has no address")
@pytest.mark.parametrize("parameters_in", ["query", "body"])
@pytest.mark.parametrize("form", ["start", "pin"])
def test_reports_and_logs_show_no_parameter_of_a_number_verification(
    site, alice, reports, monkeypatch, settings, form, parameters_in
):
    """Its requests have credentials, number and PIN in the query."""
    options = {**site.account, "endpoint": site.sandbox.url, "parameters_in": parameters_in}
    options["pin_length"] = PIN_DIGITS
    backend = "django_verigator.backends.number_verification.NumberVerificationBackend"
    site.configure(BACKENDS={"default": {"BACKEND": backend, "OPTIONS": options}})
    browser = site.pending(alice) if form == "pin" else site.browser()
    posted = {"pin": site.wrong()} if form == "pin" else {"username": "alice", "password": site.password(alice)}
    with monkeypatch.context() as patch:
        # Deeper than any hook of ours: where the bytes are, and no handler of ours is between it and the site's.
        patch.setattr("django_verigator.client.deadline.DeadlineSocket._send", interrupt)
        with pytest.raises(KeyboardInterrupt) as caught:
            browser.post(PIN if form == "pin" else LOGIN, posted)
        debug_page = debug_page_of(caught.value, settings)
        in_the_call(site, patch)
        assert browser.post(PIN if form == "pin" else LOGIN, posted).status_code == HTTPStatus.INTERNAL_SERVER_ERROR
    assert "_parameters" in debug_page
    assert "sendall" in debug_page
    pins = [posted["pin"], *(message["pin"] for message in site.sandbox.messages())] if form == "pin" else []
    for secret in (*pins, site.account["password"], "55510001"):
        for text in (debug_page, page_of(reports), "".join(site.oracle.transcript.lines)):
            assert secret not in text


@pytest.mark.threat("F06")
def test_the_report_itself_can_show_what_is_not_hidden(site, alice, reports, monkeypatch):
    """The control: a view of the site's own, whose variables Django does not know to hide, is reported with them."""
    monkeypatch.setattr("tests.site.urls.auth_login", boom)
    site.browser().get("/magic/alice/")
    assert "&#x27;alice&#x27;" in page_of(reports)


# --- the provider's words ---------------------------------------------------------------------------------------------

NOISE = "<script>CANARY</script>\r\n2026-01-01 forged line \x1b[31m"


@pytest.mark.asks_provider("its answers are read by a gateway's own code; test_m_gateways.py has what that code may do")
@pytest.mark.threat("F08")
@pytest.mark.parametrize("operation", ["auth.start", "auth.verify", "users.create"])
@pytest.mark.parametrize("status", [200, 400, 422, 500])
def test_the_provider_s_text_goes_nowhere(site, alice, operation, status):
    body = {
        "error": NOISE,
        "message": NOISE,
        "method": NOISE,
        "verified": False,
        "status": {"result": NOISE},
        "id": NOISE,
    }
    site.sandbox.add_fault("body", operation=operation, status=status, body=body, headers={"X-Note": "CANARY"})
    browser = site.browser()
    if operation == "users.create":
        # A number that the provider refuses from the first can receive nothing, so nothing is owed for it.
        browser.give_password(site.user("dave", "+37255510077", owes=status != 422))
    else:
        browser.give_password(alice)
    browser.give_pin(site.wrong())
    page = browser.page
    assert "CANARY" not in page + "".join(seen.text for seen in site.oracle.answers)
    assert "CANARY" not in "".join(site.oracle.transcript.lines)
    assert not VerigatorUser.objects.filter(last_error__contains="CANARY").exists()
    assert (operation, status) == ("users.create", 422) or browser.is_nobody()


# --- repr and pickle --------------------------------------------------------------------------------------------------


def shapes(value):
    return f"{value!r} {value!s} {value.__dict__ if hasattr(value, '__dict__') else ''}"


@pytest.mark.asks_provider("a gateway's credentials are its own code's")
@pytest.mark.threat("F09")
def test_client_and_backend_show_no_credential_and_are_not_pickled(site):
    backend = backends.default
    api = Api(**site.account, endpoint=site.sandbox.url)
    for value in (api, backend, api.auth, api.users, api._transport):
        assert site.account["password"] not in shapes(value)
        with pytest.raises(TypeError):
            pickle.dumps(value)
    api.close()


@pytest.mark.asks_provider("a gateway's credentials are its own code's")
@pytest.mark.threat("F09")
def test_settings_show_no_credential(site):
    config = conf.current()
    assert site.account["password"] not in f"{config!r} {config!s} {config.LIMITS!r}"
    with pytest.raises(TypeError):
        pickle.dumps(config)


@pytest.mark.asks_provider("its errors are raised by a gateway's own code; test_m_gateways.py has what that may raise")
@pytest.mark.threat("F09")
def test_exceptions_show_no_secret_and_survive_a_pickle(site, alice):
    caught = []
    api = backends.default.api
    for fault in ({"fault": "status", "status": 422}, {"fault": "reset"}, {"fault": "body", "body": "no"}):
        site.sandbox.add_fault(times=1, **fault)
        with pytest.raises(exceptions.VerigatorError) as error:
            api.users.create(site.service_id, NEW, "name")
        caught.append(error.value)
    for error in caught:
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        for each in (error, again):
            assert str(each) == str(error)
            text = f"{shapes(each)} {each.__context__} {each.__cause__} {each.args}"
            assert NEW[1:] not in text
            assert site.account["password"] not in text


@pytest.mark.threat("F09")
def test_models_and_limits_show_no_number(site, alice):
    browser = site.logged_in(alice)
    browser.post(PHONE, {"phone": NEW, "password": site.password(alice)})
    rows = [site.link(alice), PhoneChange.objects.get(), *Challenge.objects.all(), *RecoveryCode.objects.all()]
    caps = limits.send_limits(alice.pk, NEW, "9.9.9.9", confirmed=False)
    for value in (*rows, *caps, caps):
        text = f"{value!r} {value!s}"
        assert NEW[-8:] not in text
        assert site.phone(alice)[-8:] not in text


@pytest.mark.threat("F10")
def test_the_admin_shows_masked_numbers_and_no_secret(site, alice, staff):
    """Lists, pages, history, search and the list of what would be deleted, of each of our models and of its user."""
    whole = whole_life(site, alice)
    next(whole)
    desk = site.logged_in(staff)
    link, challenge = site.link(alice), Challenge.objects.filter(user=alice).first()
    pages = [
        "/admin/",
        "/admin/django_verigator/verigatoruser/",
        "/admin/django_verigator/verigatoruser/?q=alice",
        f"/admin/django_verigator/verigatoruser/{link.pk}/change/",
        "/admin/django_verigator/challenge/",
        "/admin/django_verigator/challenge/?q=alice",
        f"/admin/django_verigator/challenge/{challenge.pk}/change/",
        f"/admin/site/user/{alice.pk}/delete/",
        f"/admin/site/user/{alice.pk}/history/",
    ]
    for url in pages:
        response = desk.get(url)
        assert response.status_code == HTTPStatus.OK, url
        assert site.phone(alice)[1:] not in response.content.decode()
    assert "••• 01" in desk.get(pages[1]).content.decode()
    # The oracle has looked for PINs, codes, passwords and the credential in each of them.
    field = "app_label=django_verigator&model_name=challenge&field_name=user"
    assert desk.get(f"/admin/autocomplete/?term=alice&{field}").json()["results"] == [
        {"id": str(alice.pk), "text": "alice"}
    ]
    for digits in ("3725551", "5551000"):
        assert "0 phone links" in desk.get(f"/admin/django_verigator/verigatoruser/?q={digits}").content.decode()


@pytest.mark.threat("F11")
def test_a_number_that_somebody_else_has_is_no_news(site, alice):
    site.configure(REQUIRED="all")
    answers = []
    for name, number in (("dave", site.phone(alice)), ("erin", "+37255510044")):
        user = site.user(name, owes=True)
        site.owns(user, number)
        browser = site.pending(user)
        response = browser.post(ENROL, {"phone": number})
        answers.append((response.status_code, response["Location"], browser.page.count("Type the PIN")))
    assert answers[0] == answers[1]


@pytest.mark.threat("F13")
def test_no_secret_stands_in_an_address(site, alice):
    for browser in whole_life(site, alice):
        for url in (PIN, SECURITY):
            response = browser.get(url)
            assert response.get("Referrer-Policy") in ("same-origin", None) if response.status_code == 302 else True
            if response.status_code == HTTPStatus.OK:
                assert response["Referrer-Policy"] == "same-origin"
    secrets = {**site.oracle.canaries(), **site.oracle.phones()}
    places = [line for seen in site.oracle.answers for line in seen.text.splitlines() if line.startswith("Location")]
    assert len(places) > 5
    for challenge in Challenge.objects.all():
        secrets[f"challenge {challenge.pk}"] = str(challenge.pk)
    assert [name for name, secret in secrets.items() if secret in "\n".join(places)] == []
