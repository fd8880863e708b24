"""L. Stand-ins, settings, the environment.

L04: nothing that the limits or the proofs rest on is kept in a session or a cache (C12, C13, G01), so there is no check
that warns of signed cookies or of a cache of one process. L06, ``check --deploy``: tests/example.
"""

from __future__ import annotations

import os
import subprocess
import sys
from http import HTTPStatus

import pytest
import requests
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.test import AsyncClient

from django_verigator.backends import backends
from django_verigator.client import Api
from tests.docs.marked import TESTS

from .actors import HOME, PIN

VERIGATOR = "django_verigator.backends.verigator.VerigatorBackend"
GOOD = {"username": "u", "password": "p", "service_id": "s", "endpoint": "https://api.example"}


def ids(**kwargs):
    return [message.id for message in run_checks(**kwargs) if message.id.startswith("verigator.")]


@pytest.fixture
def only_checks(site):
    """Changes VERIGATOR for the checks alone."""

    def use(**keys):
        site.settings.VERIGATOR = {**site.settings.VERIGATOR, **keys}

    return use


STAND_INS = {
    "sandbox": {"BACKEND": VERIGATOR, "OPTIONS": {**GOOD, "endpoint": "http://127.0.0.1:9"}},
    "sandbox by name": {"BACKEND": VERIGATOR, "OPTIONS": {**GOOD, "endpoint": "http://localhost:9"}},
    "sandbox over TLS": {"BACKEND": VERIGATOR, "OPTIONS": {**GOOD, "endpoint": "https://127.0.0.1:9"}},
    "locmem": {"BACKEND": "django_verigator.backends.locmem.LocMemBackend"},
    "console": {"BACKEND": "django_verigator.backends.console.ConsoleBackend"},
}


@pytest.mark.threat("L01")
@pytest.mark.parametrize("kind", STAND_INS)
def test_a_stand_in_is_an_error_and_refused_at_run_time(site, alice, only_checks, kind):
    """No WSGI or ASGI server runs the checks: the backend itself refuses to be used."""
    site.oracle.errors_expected = True
    only_checks(BACKENDS={"default": STAND_INS[kind]}, STAND_IN=False)
    assert "verigator.E003" in ids()
    browser = site.browser()
    assert browser.give_password(alice).status_code == HTTPStatus.INTERNAL_SERVER_ERROR
    assert browser.is_nobody()
    with pytest.raises(ImproperlyConfigured):
        backends.default  # noqa: B018
    with pytest.raises(ImproperlyConfigured):
        call_command("verigator_sync", verbosity=0)
    only_checks(STAND_IN=True)
    assert "verigator.E003" not in ids()
    assert "verigator.E008" in ids(include_deployment_checks=True)


@pytest.mark.threat("L01")
def test_a_stand_in_is_refused_under_asgi_too(site, alice, only_checks):
    from asgiref.sync import async_to_sync

    only_checks(BACKENDS={"default": STAND_INS["locmem"]}, STAND_IN=False)
    client = AsyncClient(raise_request_exception=False)
    data = {"username": "alice", "password": site.password(alice)}
    assert async_to_sync(client.post)("/accounts/login/", data).status_code == HTTPStatus.INTERNAL_SERVER_ERROR
    assert async_to_sync(client.get)("/aprivate/").content.decode() == "user=None"


@pytest.mark.threat("L02")
def test_no_pin_of_the_stand_ins_is_special(site, alice):
    browser = site.pending(alice)
    for pin in ("0000", "1234", "123456", "111111"):
        assert "The PIN is not right" in browser.give_pin(pin).content.decode()
    assert site.tries() == 4
    assert browser.is_nobody()
    pins = {site.sandbox.last_pin(site.phone(alice))}
    for _ in range(3):
        site.pending(alice)
        pins.add(site.pin(alice))
    assert len(pins) == 4, "each is drawn anew"


@pytest.mark.threat("L03")
@pytest.mark.parametrize(
    "options",
    [
        {"endpoint": "http://api.example"},
        {"endpoint": "http://10.0.0.1"},
        {"endpoint": "ftp://api.example"},
        {"endpoint": "https://user:secret@api.example"},
        {"username": ""},
        {"password": ""},
        {"service_id": ""},
        {"verify": False},
        {"verify_tls": False},
        {"ca_bundle": "/nowhere"},
    ],
)
def test_a_backend_that_is_not_safe_is_an_error(only_checks, options):
    only_checks(BACKENDS={"default": {"BACKEND": VERIGATOR, "OPTIONS": {**GOOD, **options}}})
    assert "verigator.E002" in ids()
    with pytest.raises(ImproperlyConfigured):
        backends.default  # noqa: B018


@pytest.mark.threat("L04")
@pytest.mark.parametrize(
    ("limits", "middleware", "expected"),
    [
        ({"CHALLENGE_SECONDS": 601}, None, "verigator.E001"),
        ({"TRIES_PER_CHALLENGE": 11}, None, "verigator.E001"),
        ({"TRIES_PER_USER_HOUR": 0}, None, "verigator.E001"),
        ({}, [], "verigator.E004"),
        ({}, ["django_verigator.middleware.VerigatorMiddleware"], "verigator.E005"),
    ],
)
def test_what_would_weaken_the_second_step_is_an_error(site, only_checks, settings, limits, middleware, expected):
    only_checks(LIMITS=limits)
    if middleware is not None:
        ours = "django_verigator.middleware.VerigatorMiddleware"
        settings.MIDDLEWARE = [*middleware, *(path for path in settings.MIDDLEWARE if path != ours)]
    assert expected in ids()


@pytest.mark.threat("L04")
def test_where_sessions_and_counters_may_be_kept_needs_no_check(site, settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    assert [each for each in ids() if each != "verigator.E008"] == []


@pytest.mark.threat("L04", "R26")
@pytest.mark.parametrize("cache", ["dummy.DummyCache", "locmem.LocMemCache"])
def test_limits_hold_without_a_cache(site, alice, settings, cache):
    settings.CACHES = {
        "default": {"BACKEND": f"django.core.cache.backends.{cache}"},
        # What the oracle reads.
        "other": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    }
    browser = site.pending(alice)
    for number in range(7):
        browser.give_pin(site.wrong(number))
    assert site.tries() == 5
    browser = site.pending(alice)
    assert browser.give_pin(site.pin(alice))["Location"] == HOME
    assert browser.acts_as == str(alice.pk)


@pytest.mark.threat("L05")
def test_the_environment_changes_neither_the_way_nor_the_trust(site, alice, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login evil password evil\n")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none"))
    monkeypatch.setenv("CURL_CA_BUNDLE", str(tmp_path / "none"))
    monkeypatch.setenv("NETRC", str(netrc))
    # The control: a client that reads the environment gets nowhere.
    with pytest.raises(requests.RequestException):
        requests.get(f"{site.sandbox.url}/v1", timeout=2)
    site.configure()
    browser = site.pending(alice)
    assert browser.give_pin(site.pin(alice))["Location"] == HOME


@pytest.mark.threat("L03")
def test_nothing_switches_the_check_of_certificates_off(monkeypatch):
    for name in ("PYTHONHTTPSVERIFY", "CURL_INSECURE", "VERIGATOR_INSECURE"):
        monkeypatch.setenv(name, "0")
    with pytest.raises(TypeError):
        Api("u", "p", verify=False)
    api = Api("u", "p", "https://127.0.0.1:9")
    adapter = api._transport._sessions.get().get_adapter(api.endpoint)
    request = requests.Request("GET", api.endpoint).prepare()
    _, used = adapter.build_connection_pool_key_attributes(request, verify=False)
    assert used["cert_reqs"] == "CERT_REQUIRED"
    assert (used["ssl_context"].verify_mode.name, used["ssl_context"].check_hostname) == ("CERT_REQUIRED", True)
    api.close()


@pytest.mark.threat("L01")
def test_a_site_with_the_sandbox_does_not_pass_its_checks_in_a_process_of_its_own(tmp_path):
    settings = tmp_path / "production.py"
    settings.write_text("from tests.settings import *\nVERIGATOR = {**VERIGATOR, 'STAND_IN': False}\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{TESTS.parent}"}
    command = [sys.executable, "-m", "django", "check", "--settings", "production"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "verigator.E003" in done.stderr
    assert PIN not in done.stderr
