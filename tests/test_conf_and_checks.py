"""Settings that are missing, misspelt or contradictory are told before the first login."""

from __future__ import annotations

from dataclasses import fields
from importlib import metadata

import pytest
from django.conf.urls.i18n import i18n_patterns
from django.core.checks import Error, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.urls import include, path, set_script_prefix

from django_verigator import checks, conf
from django_verigator.backends import backends
from django_verigator.checks import deploy
from django_verigator.checks import settings as settings_checks
from tests.site.models import User

LOCMEM = {"default": {"BACKEND": "django_verigator.backends.locmem.LocMemBackend"}}
VERIGATOR = "django_verigator.backends.verigator.VerigatorBackend"
GOOD = {"username": "u", "password": "p", "service_id": "s"}
MIDDLEWARE = "django_verigator.middleware.VerigatorMiddleware"

pytestmark = pytest.mark.django_db  # one check of a deployment counts rows


def ids() -> list[str]:
    return [message.id for message in run_checks(tags=[checks.TAG], include_deployment_checks=True)]


def texts(*, deploy: bool = False) -> str:
    found = run_checks(tags=[checks.TAG], include_deployment_checks=deploy)
    return " ".join(f"{message.msg} {message.hint}" for message in found)


def with_options(**options):
    backend = {"BACKEND": VERIGATOR, "OPTIONS": {**GOOD, **options}}
    return {"BACKENDS": {"default": backend}, "TRUSTED_PROXIES": ["127.0.0.1"]}


def test_good_settings__pass(settings):
    settings.VERIGATOR = with_options()
    assert ids() == []


def test_missing_setting__is_an_error(settings):
    del settings.VERIGATOR
    assert ids() == ["verigator.E001"]
    with pytest.raises(ImproperlyConfigured):
        conf.current()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"REQIRED": "all"}, 'has no key "REQIRED". Did you mean "REQUIRED"?'),
        ({"LIMITS": {"RESEND_PAUS": 3}}, 'Did you mean "RESEND_PAUSE"?'),
        ({"LIMITS": {"TRIES_PER_CHALLENGE": 11}}, "at most 10"),
        ({"LIMITS": {"TRIES_PER_CHALLENGE": 0}}, "positive integer"),
        ({"LIMITS": {"CHALLENGE_SECONDS": 601}}, "at most 600"),
        ({"LIMITS": {"RESEND_PAUSE": True}}, "positive integer"),
        ({"LIMITS": 5}, "must be a dict"),
        ({"REQUIRED": "al"}, "REQUIRED"),
        ({"REQUIRED": None}, "REQUIRED"),
        ({"METHOD": "mail"}, "METHOD"),
        ({"PIN_LENGTH": 3}, "from 4 to 16"),
        ({"PHONE": ""}, "PHONE"),
        ({"TRUSTED_PROXIES": "10.0.0.1"}, "list of IP addresses"),
        ({"TRUSTED_PROXIES": ["here"]}, "list of IP addresses"),
        ({"STAND_IN": "yes"}, "True or False"),
        ({"SYNC_WORKERS": 0}, "from 1 to 64"),
        ({"SYNC_WORKERS": 65}, "from 1 to 64"),
        ({"SYNC_CALLS_PER_SECOND": 0.01}, "from 0.1 to 10000"),
        ({"SYNC_CALLS_PER_SECOND": -1}, "from 0.1 to 10000"),
        ({"BACKENDS": {}}, "names no provider"),
        ({"BACKENDS": {"default": {"BACKND": "x"}}}, "BACKENDS"),
        (
            {"BACKENDS": {"default": {"BACKEND": "x", "OPTION": {}}}},
            '["default"] has no key "OPTION". Did you mean "OPTIONS"?',
        ),
    ],
)
def test_wrong_value__is_an_error_and_never_used(settings, change, text):
    settings.VERIGATOR = {"BACKENDS": LOCMEM, "STAND_IN": True, **change}
    assert set(ids()) <= {"verigator.E001", "verigator.E008", "verigator.W005"}
    assert text in texts()
    with pytest.raises(ImproperlyConfigured):
        conf.current()


@pytest.mark.parametrize("key", ["REQUIRED", "DISPATCHER", "ID_IN_SERVICE"])
def test_path_that_leads_nowhere__is_an_error(settings, key):
    settings.VERIGATOR = {**with_options(), key: "no.such.path"}
    assert ids() == ["verigator.E001"]


def test_phone_path_with_a_colon__is_resolved(settings):
    settings.VERIGATOR = {**with_options(), "PHONE": "no.such:path"}
    assert ids() == ["verigator.E001"]


@pytest.mark.threat("L03")
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"username": ""}, "credentials are missing"),
        ({"password": ""}, "credentials are missing"),
        ({"service_id": ""}, "verigator_service"),
        ({"endpoint": "http://api.verigator.com"}, "loopback"),
        ({"endpoint": "ftp://api.verigator.com"}, ""),
        ({"usernam": "u"}, 'has no key "usernam". Did you mean "username"?'),
        ({"total_timeout": -1}, "total_timeout"),
    ],
)
def test_backend_that_cannot_be_built__is_an_error(settings, options, text):
    settings.VERIGATOR = with_options(**options)
    assert ids() == ["verigator.E002"]
    assert text in texts()


@pytest.mark.parametrize("path", ["django_verigator.constants.METHOD_SMS", "builtins.print", "builtins.type"])
def test_path_of_no_backend__is_an_error(settings, path):
    settings.VERIGATOR = {"BACKENDS": {"default": {"BACKEND": path, "OPTIONS": {"a": 1}}}}
    assert ids() == ["verigator.E002", "verigator.W005"]


@pytest.mark.threat("L03")
@pytest.mark.parametrize("endpoint", ["https://10.0.0.1", "https://192.168.1.7:8443/", "https://[fd00::1]"])
def test_private_address_of_a_provider__is_an_error(settings, endpoint):
    settings.VERIGATOR = with_options(endpoint=endpoint)
    assert ids() == ["verigator.E023"]


def test_app_alone_that_is_never_asked__is_an_error(settings):
    settings.VERIGATOR = {**with_options(), "WAYS": ["totp"]}
    assert ids() == ["verigator.E021"]
    settings.VERIGATOR = {**with_options(), "WAYS": ["totp"], "METHOD": "totp"}
    assert ids() == []


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        *(({f.name: 10**8}, f.name) for f in fields(conf.Limits) if f.name.startswith(("TRIES_PER_USER", "SENDS"))),
        ({"CONSECUTIVE_FAILURES": 10**6}, "CONSECUTIVE_FAILURES is 1000000, which holds nobody back"),
        ({"RESEND_PAUSE": 1}, "RESEND_PAUSE is 1"),
        ({"TRIES_PER_USER_HOUR": 50, "TRIES_PER_USER_DAY": 5}, "TRIES_PER_USER_DAY is less"),
        ({"CHALLENGE_SECONDS": 600, "PENDING_SECONDS": 60}, "PENDING_SECONDS is less"),
    ],
)
def test_limits_that_hold_nobody_back__are_warned_of(settings, limits, text):
    settings.VERIGATOR = {**with_options(), "LIMITS": limits}
    assert set(ids()) == {"verigator.W007"}
    assert text in texts()


def test_credential__is_in_no_message(settings):
    settings.VERIGATOR = with_options(password="hun\nter2")
    assert ids() == ["verigator.E002"]
    assert "hun" not in texts()


@pytest.mark.threat("L01")
@pytest.mark.parametrize(
    "backend",
    [
        {"BACKEND": "django_verigator.backends.locmem.LocMemBackend"},
        {"BACKEND": "django_verigator.backends.console.ConsoleBackend"},
        {"BACKEND": VERIGATOR, "OPTIONS": {**GOOD, "endpoint": "http://127.0.0.1:8750"}},
        {"BACKEND": VERIGATOR, "OPTIONS": {**GOOD, "endpoint": "https://localhost:8750"}},
    ],
)
def test_stand_in_with_debug_off__is_an_error_and_refused_at_run_time(settings, backend):
    proxies = {"TRUSTED_PROXIES": ["127.0.0.1"]}
    settings.VERIGATOR = {"BACKENDS": {"default": backend}, **proxies}
    assert ids() == ["verigator.E003"]
    with pytest.raises(ImproperlyConfigured, match="stand-in"):
        _ = backends.default
    settings.DEBUG = True
    assert ids() == []
    assert backends.default.alias == "default"
    settings.DEBUG = False
    settings.VERIGATOR = {"BACKENDS": {"default": backend}, "STAND_IN": True, **proxies}
    assert ids() == ["verigator.E008"]
    assert backends.default.alias == "default"


def test_two_backends_with_user_records__are_an_error(settings):
    settings.VERIGATOR = {"BACKENDS": {**LOCMEM, "other": LOCMEM["default"]}, "STAND_IN": True}
    assert "verigator.E007" in ids()


def test_required_none__is_a_warning(settings):
    settings.VERIGATOR = {**with_options(), "REQUIRED": "none"}
    assert ids() == ["verigator.W001"]


@pytest.mark.threat("L04")
@pytest.mark.parametrize(
    ("path", "missing"),
    [
        ("phone_nubmer", 'User has no "phone_nubmer"'),
        ("profile.phone", 'User has no "profile"'),
        ("shop.phones.for_user", 'User has no "shop"'),
        ("courier.fone", 'Courier has no "fone"'),
        ("courier.user_ptr.fone", 'User has no "fone"'),
        ("logentry.object_repr", 'User has no "logentry"'),  # for queries; the attribute is logentry_set
        ("groups.name", 'ManyRelatedManager has no "name"'),
        pytest.param("groups.first.name", "ManyRelatedManager.first is a method", marks=pytest.mark.fault("X13")),
        pytest.param(
            "logentry_set.first.object_id", "RelatedManager.first is a method", marks=pytest.mark.fault("X13")
        ),
        pytest.param("get_full_name", "User.get_full_name is a method", marks=pytest.mark.fault("X13")),
    ],
)
def test_PHONE_that_leads_nowhere__is_an_error(settings, path, missing):
    settings.VERIGATOR = {**with_options(), "PHONE": path}
    assert ids() == ["verigator.E009"]
    assert missing in texts()


@pytest.mark.parametrize(
    "path",
    [
        "courier.vehicle",
        "courier.user_ptr.phone_number",
        "courier.is_anonymous",
        "username.as_e164",
        "pk",
    ],
)
def test_PHONE_whose_path_leads_somewhere_or_cannot_be_followed__passes(settings, path):
    settings.VERIGATOR = {**with_options(), "PHONE": path}
    assert ids() == []


@pytest.mark.fault("X13")
@pytest.mark.parametrize(
    ("numbers", "phone", "found"),
    [
        ([], "phone_number", []),
        (["", ""], "phone_number", ["verigator.W011"]),
        (["+37255500067", ""], "phone_number", []),
        (["call me", ""], "phone_number", []),  # a number that cannot be used is W008's to tell
        (["+37255500067", "+37255500068"], "courier.phone_number", ["verigator.W011"]),
        (["+37255500067"], "tests.test_conf_and_checks:no_number", ["verigator.W011"]),
        (["+37255500067"], "tests.test_conf_and_checks:broken", []),  # is logged, and means nothing of the others
        ([""], None, []),
    ],
)
def test_PHONE__is_tried_on_real_users_before_a_deployment(settings, numbers, phone, found):
    settings.VERIGATOR = {**with_options(), "PHONE": phone}
    User.objects.bulk_create([User(username=f"u{n}", phone_number=number) for n, number in enumerate(numbers)])
    assert ids() == found
    assert "W011" not in str(run_checks(tags=[checks.TAG]))
    if found:
        assert f"no number at the {len(numbers)} newest users" in texts(deploy=True)


def no_number(user):
    return ""


def broken(user):
    raise LookupError(user.phone_number)


@pytest.mark.fault("X13")
def test_PHONE__is_tried_on_so_many_users_and_no_more(settings, django_assert_max_num_queries):
    settings.VERIGATOR = {**with_options(), "PHONE": "courier.phone_number"}
    User.objects.bulk_create([User(username=f"u{n}") for n in range(120)])
    with django_assert_max_num_queries(2):
        assert ids() == ["verigator.W011"]
    assert "the 100 newest users" in texts(deploy=True)


@pytest.mark.fault("X12")
@pytest.mark.parametrize(
    ("installed", "found"),
    [
        ({"phonenumberslite": "9.0.1"}, []),
        ({"phonenumbers": "9.0.1"}, []),
        ({}, []),
        ({"phonenumbers": "9.0.1", "phonenumberslite": "9.0.1"}, []),
        ({"phonenumbers": "8.13.0", "phonenumberslite": "9.0.1"}, ["verigator.W012"]),
    ],
)
def test_both_builds_of_phonenumbers__are_a_warning_in_different_versions(settings, monkeypatch, installed, found):
    def version(name):
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(deploy.metadata, "version", version)
    settings.VERIGATOR = with_options()
    assert ids() == found
    if found:
        assert "phonenumbers 8.13.0 and phonenumberslite 9.0.1 are both installed" in texts()


class Bare:
    """A user model that has next to nothing."""


def test_no_PHONE_and_no_number_on_the_user_model__is_a_warning_until_the_site_says_so(settings, monkeypatch):
    settings.VERIGATOR = with_options()
    monkeypatch.setattr(settings_checks, "get_user_model", lambda: Bare)
    assert ids() == ["verigator.W006"]
    settings.VERIGATOR = {**with_options(), "PHONE": None}
    assert ids() == []
    settings.VERIGATOR = {**with_options(), "REQUIRED": "none"}
    assert ids() == ["verigator.W001"]
    settings.VERIGATOR = {**with_options(), "PHONE": "phone_number"}
    assert ids() == ["verigator.E009"]


@pytest.mark.parametrize(
    ("change", "missing"),
    [({"REQUIRED": "staff"}, "is_staff, is_superuser"), ({"EXEMPT_GROUPS": ["robots"]}, "groups")],
)
def test_setting_that_the_user_model_cannot_serve__is_an_error(settings, monkeypatch, change, missing):
    settings.VERIGATOR = {**with_options(), "PHONE": None, **change}
    assert ids() == []
    monkeypatch.setattr(settings_checks, "get_user_model", lambda: Bare)
    assert ids() == ["verigator.E010"]
    assert f"the user model has no {missing}" in texts()


def test_naive_local_times__are_a_warning(settings):
    settings.VERIGATOR = with_options()
    settings.USE_TZ = False
    settings.TIME_ZONE = "Europe/Tallinn"
    assert ids() == ["verigator.W004"]


def test_no_trusted_proxies__is_a_warning_for_a_deployment(settings):
    settings.VERIGATOR = {**with_options(), "TRUSTED_PROXIES": []}
    assert ids() == ["verigator.W005"]
    assert [message.id for message in run_checks(tags=[checks.TAG])] == []


def test_middleware__must_be_there_and_in_its_place(settings):
    settings.VERIGATOR = with_options()
    full = list(settings.MIDDLEWARE)
    settings.MIDDLEWARE = [path for path in full if path != MIDDLEWARE]
    assert ids() == ["verigator.E004"]
    settings.MIDDLEWARE = [MIDDLEWARE, *settings.MIDDLEWARE]
    assert ids() == ["verigator.E005"]
    settings.MIDDLEWARE = [*full, "django.contrib.auth.middleware.RemoteUserMiddleware"]
    assert ids() == ["verigator.E005"]
    login_required = "django.contrib.auth.middleware.LoginRequiredMiddleware"
    place = full.index(MIDDLEWARE)
    settings.MIDDLEWARE = [*full[:place], login_required, *full[place:]]
    assert ids() == ["verigator.E005"]
    settings.MIDDLEWARE = [*full, login_required]
    assert ids() == []


def test_urls__must_be_included_and_login_url_lead_there(settings):
    settings.VERIGATOR = with_options()
    settings.LOGIN_URL = "/plain/login/"
    assert ids() == ["verigator.W002"]
    settings.ROOT_URLCONF = "tests.site.urls_without_ours"
    assert ids() == ["verigator.E006"]


def test_bad_settings__do_not_keep_the_admin_from_loading(settings):
    from django_verigator.admin import add_action_to_user_admin

    settings.VERIGATOR = {"BACKENDS": LOCMEM, "ADMIN_ACTON": False}
    add_action_to_user_admin()
    assert "verigator.E001" in ids()


def test_messages__are_errors_with_hints(settings):
    settings.VERIGATOR = {}
    for message in run_checks(tags=[checks.TAG]):
        assert isinstance(message, Error)
        assert message.hint


def test_migrations__are_complete(db):
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


class LanguageUrls:
    urlpatterns = i18n_patterns(path("accounts/", include("django_verigator.urls")))


@pytest.mark.fault("X11")
@pytest.mark.parametrize(
    ("urls", "login_url", "prefix", "expected"),
    [
        ("tests.site.urls", "verigator:login", "/shop/", False),
        ("tests.site.urls", "/shop/accounts/login/", "/shop/", False),
        ("tests.site.urls", "/plain/login/", "/", True),
        (LanguageUrls, "verigator:login", "/", False),
        (LanguageUrls, "/accounts/login/", "/", False),
        (LanguageUrls, "/nowhere/", "/", True),
    ],
)
def test_login_url__is_resolved_as_a_request_is(settings, urls, login_url, prefix, expected):
    settings.ROOT_URLCONF, settings.LOGIN_URL = urls, login_url
    set_script_prefix(prefix)
    try:
        assert ("verigator.W002" in ids()) is expected
    finally:
        set_script_prefix("/")


@pytest.mark.fault("X11")
def test_login_page_that_another_url_shadows__is_told(settings):
    class Shadowed:
        urlpatterns = (
            path("accounts/login/", lambda request: None),
            path("accounts/", include("django_verigator.urls")),
        )

    settings.ROOT_URLCONF, settings.LOGIN_URL = Shadowed, "verigator:login"
    assert "verigator.W002" in ids()
