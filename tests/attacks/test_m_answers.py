"""M. Answers of the provider that are to be believed by nobody, seen from the login. (Byte by byte: tests/client.)

Here a provider checks the PINs. With PINs of our own nobody is asked, so no answer can lie about one (M09, M10): what a
gateway may lie about is in test_m_gateways.py, and what it may report in test_m_reports.py. How its answers over HTTP
are read (M01 to M04, M06 to M08, M11) is in tests/contract: for Omnichannel, and all but M08 for one's own gateway.
"""

from __future__ import annotations

import pytest

from django_verigator.backends import backends
from django_verigator.client import http
from django_verigator.sandbox import Sandbox

from .actors import HOME, PIN

pytestmark = pytest.mark.asks_provider("nobody is asked whether a PIN of our own is right")
FLAGS = {"throttled": False, "expired": False, "invalid": False, "result": "OK"}
OTHER = "11111111-2222-4333-8444-555555555555"
NOT_A_YES = {
    "M01 a word": {"body": {"verified": "true"}},
    "M01 another word": {"body": {"verified": "false"}},
    "M01 one": {"body": {"verified": 1}},
    "M01 a list": {"body": {"verified": [True]}},
    "M01 an object": {"body": {"verified": {}}},
    "M01 null": {"body": {"verified": None}},
    "M01 missing": {"body": {"result": "VERIFIED"}},
    "M01 twice": {"body": '{"verified": false, "verified": true}'},
    "M01 twice, the other way": {"body": '{"verified": true, "verified": false}'},
    "M01 deeper": {"body": {"status": {"verified": True}}},
    "M01 in capitals": {"body": {"Verified": True}},
    "M02 a page": {"body": "<html>true</html>", "content_type": "text/html"},
    "M02 nothing": {"body": ""},
    "M02 true": {"body": "true"},
    "M02 a list": {"body": [{"verified": True}]},
    "M02 a byte order mark": {"body": '\ufeff{"verified": true}'},
    "M02 a second value": {"body": '{"verified": true}{"verified": true}'},
    "M02 201": {"body": {"verified": True}, "status": 201},
    "M02 202": {"body": {"verified": True}, "status": 202},
    "M02 206": {"body": {"verified": True}, "status": 206},
    "M02 204": {"body": "", "status": 204},
    "M04 400": {"body": {"verified": True}, "status": 400},
    "M04 401": {"body": {"verified": True}, "status": 401},
    "M04 404": {"body": {"verified": True}, "status": 404},
    "M04 500": {"body": {"verified": True}, "status": 500},
    "M06 a large body": {"body": {"verified": True}, "size": 1 << 20},
    "M06 an endless one": {"body": {"verified": True}, "endless": True},
    "M06 a compressed one": {"body": {"verified": True}, "gzip": True, "size": 1 << 24},
    "M06 cut short": {"body": {"verified": True}, "content_length": 1000},
    "M09 another user": {"body": {"verified": True, "user_id": OTHER}},
    "M09 another service": {"body": {"verified": True, "service_id": OTHER}},
    "M09 another method": {"body": {"verified": True, "method": "totp"}},
    "M09 an unknown method": {"body": {"verified": True, "method": "voice"}},
    "M10 throttled": {"body": {"verified": True, "status": {**FLAGS, "throttled": True}}},
    "M10 expired": {"body": {"verified": True, "status": {**FLAGS, "expired": True}}},
    "M10 invalid": {"body": {"verified": True, "status": {**FLAGS, "invalid": True}}},
    "M10 a word that says no": {"body": {"verified": True, "status": {**FLAGS, "result": "INVALID"}}},
}


@pytest.mark.threat("M01", "M02", "M04", "M06", "M09", "M10")
@pytest.mark.parametrize("answer", NOT_A_YES)
def test_what_is_no_clear_yes_lets_nobody_in(site, alice, answer):
    site.sandbox.add_fault("body", operation="auth.verify", when="before", **NOT_A_YES[answer])
    browser = site.pending(alice)
    response = browser.give_pin(site.pin(alice))
    assert response.status_code in (200, 302)
    assert response.get("Location") != HOME
    assert browser.is_nobody()


@pytest.mark.threat("M01")
def test_a_clear_yes_is_believed(site, alice):
    """The control for the ones above."""
    site.lie()
    browser = site.pending(alice)
    assert browser.give_pin(site.wrong())["Location"] == HOME


@pytest.mark.threat("M03")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("where", ["another host", "the same host"])
def test_a_redirect_is_followed_nowhere(site, alice, status, where):
    with Sandbox(username="evil", password="evil") as evil:
        evil.add_fault("body", status=200, body={"verified": True, "method": "sms"})
        to = f"{evil.url}/v1/service/service/x/users/y/auth" if where == "another host" else f"{site.sandbox.url}/yes"
        site.sandbox.add_fault("status", operation="auth.verify", status=status, headers={"Location": to})
        browser = site.pending(alice)
        before = len(site.calls)
        browser.give_pin(site.pin(alice))
        assert browser.is_nobody()
        assert evil.calls() == []
        assert len(site.calls) == before + 1


@pytest.mark.threat("M07")
def test_an_answer_that_drips_is_cut(site, alice):
    site.sandbox.add_fault("drip", operation="auth.verify", seconds=0.25, body={"verified": True})
    browser = site.pending(alice)
    browser.give_pin(site.pin(alice))
    assert browser.is_nobody()
    assert 1 < site.oracle.answers[1].seconds < site.oracle.deadline + 0.5


@pytest.mark.threat("M09")
def test_a_user_id_of_another_user_is_not_taken_twice(site, alice):
    body = {"id": site.link(alice).verigator_id, "ctime": "x"}
    site.sandbox.add_fault("body", operation="users.create", body=body)
    dave = site.user("dave", "+37255510077")
    browser = site.pending(dave)
    browser.give_pin(site.wrong())
    assert browser.is_nobody()
    assert site.link(dave).verigator_id is None
    assert site.sends(alice) == 0


@pytest.mark.threat("M11")
def test_cookies_and_a_wait_of_ten_years_are_not_heeded(site, alice):
    headers = {"Set-Cookie": "sessionid=evil; Path=/"}
    for wait in ("315360000", "abc", "-5", "9" * 400):
        site.sandbox.add_fault("status", operation="auth.start", status=429, retry_after=wait, headers=headers, times=1)
        browser = site.pending(alice)
        assert "evil" not in browser.page
        browser.post("/accounts/verify/cancel/")
    site.sandbox.clear_faults()
    site.wait(3601)
    assert site.pending(alice).give_pin(site.pin(alice))["Location"] == HOME
    assert list(backends.default.api._transport._sessions.for_this_thread().cookies) == []


@pytest.mark.threat("M08")
def test_a_provider_with_a_certificate_of_its_own_making_sees_no_header(site, alice):
    """Without a CA that is known here there is no connection at all; tests/client has the certificates one by one."""
    heard = []
    http.before_request.append(lambda method, path: heard.append(path))
    entry = site.settings.VERIGATOR["BACKENDS"]["default"]
    https = {**entry["OPTIONS"], "endpoint": site.sandbox.url.replace("http:", "https:")}
    site.settings.VERIGATOR = {**site.settings.VERIGATOR, "BACKENDS": {"default": {**entry, "OPTIONS": https}}}
    before = len(site.calls)
    browser = site.browser()
    assert browser.give_password(alice)["Location"] == PIN
    http.before_request.pop()
    assert heard
    assert len(site.calls) == before
    assert browser.is_nobody()
