"""T10: user and password of a proxy stand in an address, and are masked like the other credentials."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.test import RequestFactory
from django.views.debug import ExceptionReporter

from django_verigator.backends import backends

SECRET = "canary-secret"
PROXY = f"http://canary-user:{SECRET}@127.0.0.1:9"

pytestmark = pytest.mark.fault("T10")


def entries():
    account = {"username": "u", "password": SECRET}
    return {
        "default": {
            "BACKEND": "django_verigator.backends.verigator.VerigatorBackend",
            "OPTIONS": {**account, "service_id": "s", "proxies": {"https": PROXY}},
        },
        "reserve": {
            "BACKEND": "django_verigator.backends.number_verification.NumberVerificationBackend",
            "OPTIONS": {**account, "proxies": {"all": PROXY}},
        },
    }


@pytest.mark.parametrize("debug", [True, False])
def test_proxy_password__is_in_no_report_of_an_error(settings, debug):
    settings.VERIGATOR = {**settings.VERIGATOR, "BACKENDS": entries()}
    settings.DEBUG = debug
    for alias in ("default", "reserve"):
        with pytest.raises(RuntimeError) as caught:
            raise RuntimeError(repr(backends[alias]))
        reporter = ExceptionReporter(RequestFactory().get("/"), caught.type, caught.value, caught.tb)
        for report in (reporter.get_traceback_html(), reporter.get_traceback_text()):
            assert "VERIGATOR" in report
            assert SECRET not in report


def test_proxy_password__is_masked_in_the_settings_from_the_start(tmp_path):
    (tmp_path / "production.py").write_text(
        f"from tests.settings import *\nVERIGATOR = {{**VERIGATOR, 'BACKENDS': {entries()!r}}}\n"
    )
    show = (
        "import django, pprint; django.setup()\n"
        "from django.views.debug import SafeExceptionReporterFilter\n"
        "print(pprint.pformat(SafeExceptionReporterFilter().get_safe_settings()['VERIGATOR']))"
    )
    root = Path(__file__).parents[1]
    path = f"{tmp_path}{os.pathsep}{root}"
    environment = {**os.environ, "PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": "production"}
    shown = subprocess.run(
        [sys.executable, "-c", show], env=environment, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert "'proxies': {'https': '********'}" in shown
    assert "canary" not in shown


@pytest.mark.parametrize(
    "proxies", ["http://canary@x", ["http://canary@x"], {"https": "socks5://canary@x"}, {"https": 1}]
)
def test_proxies__of_a_wrong_shape_are_a_clear_error(settings, proxies):
    listed = entries()
    listed["default"]["OPTIONS"]["proxies"] = proxies
    settings.VERIGATOR = {**settings.VERIGATOR, "BACKENDS": listed}
    with pytest.raises(Exception, match=r'VERIGATOR\["BACKENDS"\]\["default"\]') as caught:
        backends.default  # noqa: B018
    assert "canary" not in str(caught.value)
