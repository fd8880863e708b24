"""K. Recovery codes. (K01, many at once: tests/races.)"""

from __future__ import annotations

import hashlib
import re
from http import HTTPStatus

import pytest
from django.core import mail
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.crypto import salted_hmac

from django_verigator.flows.recovery import NUMBER
from django_verigator.models import RecoveryCode

from .actors import CODES, CONFIRM, HOME, PHONE, PIN, RECOVERY, SECURITY
from .conftest import each_store
from .oracle import database, plain


@pytest.fixture
def codes(site, alice):
    browser = site.logged_in(alice)
    made = site.codes(alice, browser)
    browser.post("/plain/logout/")
    return made


@pytest.mark.threat("K01")
@each_store
def test_a_code_is_used_once(site, alice, codes):
    waiting = [site.pending(alice) for _ in range(2)]
    assert waiting[1].give_code(codes[0])["Location"] == HOME
    again = site.pending(alice)
    assert "not one of your unused" in again.give_code(codes[0]).content.decode()
    assert again.is_nobody()
    assert waiting[1].acts_as == str(alice.pk)


@pytest.mark.threat("K02")
def test_a_copy_of_the_database_holds_no_code(site, alice, codes):
    """What is stored is a keyed digest over user and code: without SECRET_KEY not even a right guess can be tested."""
    stored = set(RecoveryCode.objects.values_list("digest", flat=True))
    assert len(stored) == NUMBER
    for code in codes:
        for text in (code, plain(code), f"{alice.pk}.{plain(code)}", f"{alice.pk}:{plain(code)}"):
            for name in ("md5", "sha1", "sha256", "sha512", "blake2b"):
                digest = hashlib.new(name, text.encode(), usedforsecurity=False).hexdigest()
                assert not any(digest.startswith(each) or each.startswith(digest) for each in stored)
            assert (
                salted_hmac("django_verigator.recovery", text, secret="guess", algorithm="sha256").hexdigest()
                not in stored
            )
    whole = "\n".join(str(rows) for _, _, rows in database())
    assert not [code for code in codes if code in whole or plain(code) in whole]


@pytest.mark.threat("K02")
def test_a_rotated_key_leaves_codes_good_and_a_lost_one_does_not(site, alice, codes, settings):
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "a new one"
    assert site.pending(alice).give_code(codes[0])["Location"] == HOME
    settings.SECRET_KEY_FALLBACKS = []
    browser = site.pending(alice)
    assert browser.give_code(codes[1]).status_code == HTTPStatus.OK
    assert browser.is_nobody()


@pytest.mark.threat("K03")
@each_store
def test_an_old_set_and_somebody_else_s_are_refused(site, alice, bob, codes):
    old = site.person(alice).codes
    browser = site.logged_in(alice)
    site.person(alice).codes = set()
    site.codes(alice, browser)
    his = site.codes(bob, site.logged_in(bob))
    for code in (*sorted(old)[:2], his[0]):
        guesser = site.pending(alice)
        assert "not one of your unused" in guesser.give_code(code).content.decode()
        assert guesser.is_nobody()
    assert site.pending(bob).give_code(his[0])["Location"] == HOME


@pytest.mark.threat("K04")
def test_codes_are_long_and_share_the_user_s_tries(site, alice, codes):
    assert {len(plain(code)) for code in codes} == {16}
    assert len(set("".join(map(plain, codes)))) > 25, "of an alphabet of 32: 80 bits"
    assert len(set(codes)) == NUMBER
    site.configure(PIN_LENGTH=6)
    guesser = site.pending(alice)
    for number in range(12):
        page = guesser.give_code(f"0000-0000-0000-{number:04}").content.decode()
    assert "Signing in is locked for a while" in page
    assert "Signing in is locked for a while" in guesser.give_code(codes[0]).content.decode()
    assert "Signing in is locked for a while" in guesser.give_pin(site.pin(alice)).content.decode()
    assert guesser.is_nobody()


@pytest.mark.threat("K05")
@each_store
def test_codes_are_shown_once_to_who_has_just_proved_to_be_their_owner(site, alice):
    browser = site.logged_in(alice)
    thief = browser.copy()
    codes = site.codes(alice, browser)
    assert len(codes) == NUMBER
    for url in (CODES, SECURITY, f"{CODES}?show=1"):
        page = browser.get(url).content.decode()
        assert not re.search(r"[0-9A-Z]{4}(-[0-9A-Z]{4}){3}", page)
    # A session alone makes no new ones: not without the password, nor with an old proof.
    assert thief.post(CODES, {"password": "a guess"}).context["form"].errors["password"]
    site.wait(301)
    assert thief.post(CODES, {"password": site.password(alice)})["Location"] == PIN
    assert RecoveryCode.objects.filter(used_at=None).count() == NUMBER
    assert site.pending(alice).give_code(codes[0])["Location"] == HOME


def with_look_alikes(code):
    return code.replace("0", "O").replace("1", "l")


@pytest.mark.threat("K06")
@pytest.mark.parametrize(
    "write",
    [str.lower, plain, lambda code: code.replace("-", " "), lambda code: f"  {code} ", with_look_alikes],
    ids=["lower case", "plain", "blanks", "blanks around", "look-alikes"],
)
def test_a_code_is_forgiven_its_form_and_still_used_once(site, alice, codes, write):
    code = next((code for code in codes if set(code) & {"0", "1"}), codes[0])
    # The oracle sees what was typed, and takes that for the code too.
    site.person(alice).codes.add(write(code))
    assert site.pending(alice).give_code(write(code))["Location"] == HOME
    browser = site.pending(alice)
    for again in (code, write(code)):
        assert browser.give_code(again).status_code == HTTPStatus.OK
    assert browser.is_nobody()
    site.person(alice).codes.discard(write(code))


@pytest.mark.threat("K07")
def test_a_used_code_is_told_and_counted(site, alice, codes):
    browser = site.pending(alice)
    mail.outbox.clear()
    browser.give_code(codes[0])
    assert [message.to for message in mail.outbox] == [["alice@example.com"]]
    assert "9" in mail.outbox[0].body
    assert "9 unused codes are left" in browser.get(SECURITY).content.decode()


@pytest.mark.threat("K08")
def test_a_code_costs_one_look_up_and_a_locked_user_none(site, alice, codes):
    browser = site.pending(alice)
    with CaptureQueriesContext(connection) as context:
        browser.give_code("0000-0000-0000-0000")
    looked_up = [query["sql"] for query in context.captured_queries if "verigator_recoverycode" in query["sql"]]
    assert len(looked_up) == 1
    for number in range(10):
        browser.give_code(f"0000-0000-0000-{number:04}")
    with CaptureQueriesContext(connection) as context:
        browser.give_code(codes[0])
    assert not [query for query in context.captured_queries if "verigator_recoverycode" in query["sql"]]


@pytest.mark.threat("K03")
def test_a_code_confirms_no_new_phone(site, alice, codes):
    browser = site.logged_in(alice)
    browser.post(PHONE, {"phone": "+37255510009", "password": site.password(alice)})
    browser.give_code(codes[0])
    browser.post(CONFIRM, {"pin": codes[0], "code": codes[0]})
    assert site.link(alice).phone_number == "+37255510001"
    assert browser.post(RECOVERY, {"code": codes[0]}).status_code in (200, 302)
    assert RecoveryCode.objects.filter(used_at=None).count() == NUMBER
