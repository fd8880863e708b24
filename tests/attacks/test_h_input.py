"""H. What comes in: PINs, numbers, names and ids that are none."""

from __future__ import annotations

import json
from http import HTTPStatus

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from django_verigator.models import Challenge, PhoneChange

from .actors import ENROL, HOME, LOGIN, PHONE, PIN, RECOVERY, RESEND

NO_PIN = [
    "²³⁴⁵⁶⁷", "①②③④⑤⑥", "+123456", "1e5", "1e55555", "-123456", "0x1234", "1_234_5", "123456\r\nX: y", "1234\x0056",
    "1234.56", "...", "\u200f", "١٢٣",
    "1" * 17, "1" * 1_000_000, "' OR 1=1 --", "{{ 7*7 }}", "%s%n", "*)(uid=*", "../../etc", "\ud83d\ude00".encode(
        "utf-16", "surrogatepass").decode("utf-16"),
]  # fmt: skip


@pytest.mark.threat("H01")
def test_what_is_no_pin_is_refused_without_a_call(site, alice):
    site.lie()
    browser = site.pending(alice)
    for pin in NO_PIN:
        response = browser.give_pin(pin)
        assert response.status_code == HTTPStatus.OK, ascii(pin[:20])
        assert response.context["form"].errors, ascii(pin[:20])
    assert site.tries() == 0
    assert Challenge.objects.get().tries == 0
    assert browser.is_nobody()


@pytest.mark.threat("H01")
def test_a_pin_may_be_typed_with_blanks_and_dashes(site, alice):
    browser = site.pending(alice)
    pin = site.pin(alice)
    assert browser.give_pin(f" {pin[:3]} {pin[3:6]}-{pin[6:]} ")["Location"] == HOME


KEYBOARDS = ["٠١٢٣٤٥٦٧٨٩", "۰۱۲۳۴۵۶۷۸۹", "०१२३४५६७८९", "০১২৩৪৫৬৭৮৯", "０１２３４５６７８９", "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗"]


@pytest.mark.threat("H01")
@pytest.mark.fault("P06")
@pytest.mark.parametrize("digits", KEYBOARDS)
def test_a_pin_may_be_typed_on_any_keyboard(site, alice, digits):
    browser = site.pending(alice)
    pin = site.pin(alice).translate(str.maketrans("0123456789", digits))
    assert browser.give_pin(f"\u200f{pin[:3]}\u00a0{pin[3:]}\u202c.\n")["Location"] == HOME


@pytest.mark.threat("H01")
@pytest.mark.fault("P06")
def test_a_pin_that_was_used_is_used_in_any_script(site, alice):
    browser = site.pending(alice)
    pin = site.pin(alice)
    browser.give_pin(pin)
    again = site.pending(alice)
    site.lie()
    page = again.give_pin(pin.translate(str.maketrans("0123456789", KEYBOARDS[0])))
    assert "has been used already" in page.content.decode()
    assert again.is_nobody()


def bodies(pin):
    digits = json.dumps({"pin": pin}).encode()
    yield from (json.dumps({"pin": value}).encode() for value in (int(pin), True, None, [pin], {"pin": pin}, 1.5))
    yield from (digits, b"\xef\xbb\xbf" + digits, digits.decode().encode("utf-16"), b"[" * 10_000, b"{", b"null", b"")
    yield b'{"pin":' * 10_000


@pytest.mark.threat("H02")
def test_a_body_of_json_is_no_form(site, alice):
    """There is no JSON login here yet: such a body is a form without a PIN, and answered as one."""
    site.lie()
    browser = site.pending(alice)
    for body in bodies(site.wrong()):
        for content_type in ("application/json", "text/plain", "application/x-www-form-urlencoded; charset=utf-16"):
            response = browser.generic("POST", PIN, body, content_type)
            assert response.status_code in (HTTPStatus.OK, HTTPStatus.BAD_REQUEST)
    assert site.tries() == 0
    assert browser.is_nobody()


NO_PHONE = [
    "37255510009", "+0372555100", "+37255510009" + "1" * 5, "+372CALLME", "+37255510009 ext 5", "+37255510009;ext=5",
    "+37255510009,+37255510008", "+³⁷²⁵⁵⁵¹⁰⁰⁰⁹", "tel:tel:+37255510009", "tel:37255510009", "+37255510009;x=y",
    "+" + "3" * 1_000_000, "+372'\"><svg>", "' OR 1=1 --", "{{ 7*7 }}", "+", "", "+372",
    "++37255510009", "+372\x0055510009", "sip:a@b", "+37255510009\r\nX: y",
]  # fmt: skip


@pytest.mark.threat("H03")
def test_what_is_no_number_is_refused_without_a_call(site, alice):
    site.configure(REQUIRED="all")
    enrolling = site.pending(site.user("dave", owes=True))
    changing = site.logged_in(alice)
    before = len(site.calls)
    for number in NO_PHONE:
        for browser, url in ((enrolling, ENROL), (changing, PHONE)):
            response = browser.post(url, {"phone": number, "password": site.password(alice)})
            assert response.status_code == HTTPStatus.OK, ascii(number[:20])
            assert "phone" in response.context["form"].errors, ascii(number[:20])
    assert len(site.calls) == before
    assert not PhoneChange.objects.exists()


@pytest.mark.threat("H03")
@pytest.mark.parametrize("number", ["00 372 555 10009", "+372 (555) 10009", "+372.555.10009", "+372-555-10009"])
def test_a_number_is_stored_in_one_form(site, number):
    site.configure(REQUIRED="all")
    dave = site.user("dave", owes=True)
    site.owns(dave, "+37255510009")
    browser = site.pending(dave)
    assert browser.post(ENROL, {"phone": number})["Location"] == PIN
    assert PhoneChange.objects.get().phone_number == "+37255510009"


@pytest.mark.threat("H04")
@pytest.mark.parametrize(
    "user_id",
    ["../../service", "a/b?x=", "%2e%2e", "..", ".", "a\r\nX-Evil: 1", "", " ", "a#b", "a b", "é", "\x00", "x" * 129,
     7, None, True, ["a"], {"id": "a"}],
)  # fmt: skip
def test_a_user_id_that_leads_elsewhere_is_refused(site, user_id):
    body = {"id": user_id, "ctime": "2017-07-06T13:12:03.141Z"}
    site.sandbox.add_fault("body", operation="users.create", body=body)
    dave = site.user("dave", "+37255510077")
    browser = site.pending(dave)
    browser.resend()
    browser.give_pin(site.wrong())
    assert browser.is_nobody()
    assert {call for call in site.calls if not call.endswith(f"/v1/service/service/{site.service_id}/users")} == set()
    assert site.link(dave).verigator_id is None


@pytest.mark.threat("H05")
@pytest.mark.parametrize(
    "name", ["x\r\nX-Evil: 1", "../../users", "e/v?i=l#", "😀" * 10, "a" * 150, "'\";--", "\u202egnp"]
)
def test_a_username_does_not_reach_a_path_or_a_header(site, name):
    user = site.user(name, "+37255510077")
    # The oracle knows its users by the readable part of their id.
    record = next(iter(site.sandbox.directory.users(site.service_id)))
    readable, _, random = record.id_in_service.rpartition("-")
    assert set(readable) <= set("abcdefghijklmnopqrstuvwxyz0123456789._@+-")
    assert len(readable) <= 40
    assert len(random) == 16
    site.oracle.people[readable] = site.oracle.people.pop(name)
    site.oracle.people[readable].name = readable
    browser = site.browser()
    data = {"username": name, "password": site.oracle.people[readable].password}
    assert browser.post(LOGIN, data)["Location"] == PIN
    assert browser.give_pin(site.pin_at("+37255510077"))["Location"] == HOME
    assert browser.acts_as == str(user.pk)


@pytest.mark.threat("H06")
def test_a_thousand_fields_and_files_are_no_pin(site, alice):
    site.lie()
    browser = site.pending(alice)
    assert browser.post(PIN, {f"pin{number}": "1234" for number in range(10_000)}).status_code == HTTPStatus.BAD_REQUEST
    assert browser.post(PIN, {"pin": SimpleUploadedFile("pin", site.wrong().encode())}).status_code == HTTPStatus.OK
    assert (
        browser.post(PIN, "pin=1&" * 900, content_type="application/x-www-form-urlencoded").status_code == HTTPStatus.OK
    )
    assert browser.post(PIN, b"x" * 100, content_type="multipart/form-data; boundary=y").status_code in (200, 400)
    assert site.tries() == 0
    assert browser.is_nobody()


@pytest.mark.threat("H07")
@pytest.mark.parametrize(
    "text", ["' OR '1'='1", "{{ settings.SECRET_KEY }}", "{% debug %}", "%(pk)s %n %x", "${7*7}", "*)(&", "\x00"]
)
def test_text_that_means_something_elsewhere_is_text(site, alice, text):
    browser = site.browser()
    assert browser.post(LOGIN, {"username": text, "password": text, "next": text}).status_code == HTTPStatus.OK
    browser.give_password(alice, next=text)
    for url, field in ((PIN, "pin"), (RECOVERY, "code"), (RESEND, "method")):
        response = browser.post(url, {field: text, "next": text})
        assert response.status_code in (200, 302)
        assert not response.context or "49" not in str(response.context["form"].errors)
        assert "tests only" not in response.content.decode()
    assert browser.is_nobody()
