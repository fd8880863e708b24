"""M13. PINs of our own: nobody is asked about a PIN, so what can lie is the gateway that sends it.

In place of the answers of test_m_answers.py, with which a provider says yes to a PIN.
"""

from __future__ import annotations

import pickle
from io import StringIO

import pytest
from django.core.management import call_command

from django_verigator.backends import Circuit, CircuitState, backends
from django_verigator.backends.texts import TextBackend
from django_verigator.digests import digest
from django_verigator.exceptions import ConnectionFailedError, InternalError, RequestTimeoutError, VerigatorError
from django_verigator.models import Challenge, VerigatorUser
from django_verigator.records import exporting

from .actors import ENROL, HOME, PIN_DIGITS
from .oracle import database

PROVIDERS = ("own_pins",)
TEXT = "an answer with the text: {text}"


def raises(make):
    def behave(text):
        raise make(text)

    return behave


ANSWERS = {
    "nothing": lambda text: None,
    "True": lambda text: True,
    "a number": lambda text: 12345,
    "bytes": lambda text: b"id",
    "the whole answer": lambda text: TEXT.format(text=text),
    "the text": lambda text: text,
    "JSON": lambda text: f'{{"text":"{text}"}}',
    "too long": lambda text: "x" * 10_000,
    "NUL": lambda text: "a\0b",
    "an object": lambda text: {"verified": True, "text": text},
}


@pytest.mark.threat("M13", "F07")
@pytest.mark.parametrize("answer", ANSWERS)
def test_whatever_a_gateway_returns_the_pin_alone_lets_in(site, alice, answer):
    site.sandbox.behave = ANSWERS[answer]
    browser = site.pending(alice)
    browser.give_pin(site.wrong())
    assert browser.is_nobody()
    pin = site.pin(alice)
    assert not [table for table, _, rows in database() if pin in str(rows)]
    assert browser.give_pin(pin)["Location"] == HOME


class StrangeError(Exception):
    pass


PERHAPS_SENT = {
    "no answer": raises(lambda text: RequestTimeoutError(f"late {text}")),
    "a connection that broke": raises(lambda text: ConnectionFailedError(text)),
    "an error of its own": raises(lambda text: StrangeError(text)),
    "a KeyError": raises(lambda text: KeyError(text)),
    "RecursionError": raises(lambda text: RecursionError(text)),
    "MemoryError": raises(lambda text: MemoryError(text)),
    "500": raises(lambda text: InternalError(text, status=500)),
}


@pytest.mark.threat("M13", "F05")
@pytest.mark.parametrize("error", PERHAPS_SENT)
def test_a_gateway_that_breaks_lets_nobody_in_and_shows_no_text(site, alice, error):
    """The oracle looks for the PIN, which stands in the message of each error."""
    said = []

    def behave(text):
        said.append(text)
        PERHAPS_SENT[error](text)

    site.sandbox.behave = behave
    browser = site.pending(alice)
    assert len(said) == 1
    pin = next(word for word in said[0].split() if len(word) == PIN_DIGITS)
    browser.give_pin(site.wrong())
    assert browser.is_nobody()
    assert not [line for line in site.oracle.transcript.lines if pin in line]
    assert not [table for table, _, rows in database() if pin in str(rows)]
    assert pin not in "".join(seen.text for seen in site.oracle.answers)


@pytest.mark.threat("M13")
def test_a_text_that_arrives_although_the_gateway_gave_no_answer_lets_its_owner_in(site, alice):
    real = site.sandbox.send

    def send_and_break(to, text):
        real(to, text)
        raise RequestTimeoutError("no answer")

    site.sandbox.send = send_and_break
    browser = site.pending(alice)
    assert Challenge.objects.get().outcome == Challenge.Outcome.UNCLEAR
    browser.give_pin(site.wrong())
    assert browser.is_nobody()
    assert browser.give_pin(site.pin(alice))["Location"] == HOME


@pytest.mark.threat("M13")
def test_a_text_whose_gateway_says_it_was_not_sent_is_worth_nothing(site, alice):
    real = site.sandbox.send

    def send_and_deny(to, text):
        real(to, text)
        raise ConnectionFailedError("no connection", sent=False)

    site.sandbox.send = send_and_deny
    browser = site.pending(alice)
    browser.give_pin(site.pin(alice))
    assert browser.is_nobody()
    assert site.tries() == 0


@pytest.mark.threat("M13", "D01")
def test_a_text_that_arrives_twice_makes_one_login(site, alice):
    site.sandbox.delivers = 2
    browser = site.pending(alice)
    again = browser.copy()
    pin = site.pin(alice)
    assert browser.give_pin(pin)["Location"] == HOME
    assert again.give_pin(pin).get("Location") != HOME
    assert again.is_nobody()


@pytest.mark.threat("M13", "F09")
def test_the_error_of_a_gateway_holds_no_text(site, alice):
    site.sandbox.behave = PERHAPS_SENT["an error of its own"]
    recipient = type("Recipient", (), {"user_id": "", "phone_number": site.phone(alice), "report_url": ""})()
    with pytest.raises(VerigatorError) as caught:
        backends.default.start(recipient, "sms")
    error = caught.value
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    for each in (error, again):
        text = f"{each!r} {each} {each.args} {each.__dict__} {each.__context__!r} {each.__cause__!r}"
        assert "Verification PIN" not in text
        assert site.phone(alice) not in text
    assert error.__context__ is None


@pytest.mark.threat("M13")
def test_a_gateway_that_is_down_keeps_out_nobody_who_has_a_pin(site, alice):
    browser = site.pending(alice)
    site.break_down()
    for number in range(8):
        site.pending(site.user(f"user{number}", f"+3725{number}510009"), REMOTE_ADDR=f"9.9.{number}.9")
    assert Circuit("default").state == CircuitState.OPEN
    assert browser.give_pin(site.pin(alice))["Location"] == HOME


@pytest.mark.threat("M13", "E14")
@pytest.mark.fault("T03")
def test_a_number_at_which_the_gateway_fails_keeps_nobody_else_s_login_down(site, mallory):
    honest = [site.user(f"user{number}", f"+3725{number}510001") for number in range(8)]
    thief = site.user("thief", owes=False)
    failed, real = [], site.sandbox.send

    def fail_at_the_thief_s(to, text):
        if to in phones_of_the_honest:
            return real(to, text)
        failed.append(to)
        raise InternalError("no", status=500)

    phones_of_the_honest = {site.phone(user) for user in honest}
    site.sandbox.send = fail_at_the_thief_s
    served = 0
    for number in range(111):  # one every 31 seconds, for less than the hour that they are counted in
        for turn in range(4 if number == 0 else 1):
            mallory.give_password(thief)
            mallory.post(ENROL, {"phone": f"+372 555{turn} {number:04}", "password": site.password(thief)})
        if number % 15 == 5:
            user = honest[number // 15]
            served += site.pending(user, REMOTE_ADDR=f"9.9.9.{number}").give_pin(site.pin(user)).status_code == 302
        site.wait(31)
    assert failed
    assert served == 8
    assert Circuit("default").state == CircuitState.CLOSED


NOISE = "<script>CANARY</script>\r\n2026-01-01 forged line \x1b[31m"
WORDS = {
    "its id of a text": lambda text: NOISE,
    "an error that it knows": raises(lambda text: InternalError(NOISE, status=500)),
    "an error that it does not know": raises(lambda text: StrangeError(NOISE)),
}


@pytest.mark.threat("F08")
@pytest.mark.parametrize("words", WORDS)
def test_a_gateway_s_words_are_on_no_page_and_forge_no_line(site, alice, words):
    site.sandbox.behave = WORDS[words]
    browser = site.pending(alice)
    browser.give_pin(site.wrong())
    assert browser.is_nobody()
    page = browser.page
    assert "CANARY" not in page + "".join(seen.text for seen in site.oracle.answers)
    assert "CANARY" not in "".join(site.oracle.transcript.lines)
    assert not VerigatorUser.objects.filter(last_error__contains="CANARY").exists()


@pytest.mark.threat("F07", "F09", "F10")
def test_a_pin_is_in_no_dump_export_or_repr(site, alice):
    site.pending(alice)
    challenge = Challenge.objects.get()
    pin, dump = site.pin(alice), StringIO()
    call_command("dumpdata", stdout=dump)
    assert str(challenge.pk) in dump.getvalue()
    shown = [dump.getvalue(), str(exporting.data_of(alice)), f"{challenge!r} {challenge} {challenge.__dict__}"]
    shown += [repr(backends.default), str(vars(backends.default))]
    assert [text for text in shown if pin in text] == []


@pytest.mark.threat("F07")
def test_who_has_the_rows_and_not_the_secret_key_finds_no_pin(site, alice, settings):
    """All 10,000 are tried against the row, by the app's own check: only SECRET_KEY tells the right one."""
    backend = TextBackend("default", pin_length=4)
    texts = []
    backend.send_text = lambda phone_number, text, *, timeout: texts.append(text)
    recipient = type("Recipient", (), {"user_id": "", "phone_number": site.phone(alice), "report_url": ""})()
    reference = backend.start(recipient, "sms").reference
    every = [f"{number:04}" for number in range(10_000)]
    found = [pin for pin in every if backend.check(recipient, pin, reference).verified]
    assert found == [texts[0].split()[-1]]
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "a thief's guess", []
    assert [pin for pin in every if backend.check(recipient, pin, reference).verified] == []


@pytest.mark.threat("F07", "D04")
def test_one_pin_in_two_codes_has_two_references(site, alice, bob):
    site.lie()
    site.pending(alice)
    site.pending(bob)
    assert site.pin(alice) == site.pin(bob)
    first, second = Challenge.objects.values_list("reference", flat=True)
    assert first and second  # noqa: PT018 - one that another code has is not stored
    assert not set(first.split(".")[::2]) & set(second.split(".")[::2])
    assert digest("own_pin", site.pin(alice)) not in (first + second)


@pytest.mark.threat("D06")
def test_a_pin_is_too_old_by_the_backend_s_own_clock_too(site, alice):
    """Were the site to allow more: the time of its end is within what is digested."""
    browser = site.pending(alice)
    challenge, pin = Challenge.objects.get(), site.pin(alice)
    random, expires, digested = challenge.reference.split(".")
    later = f"{random}.{int(expires) + 10_000}.{digested}"
    assert backends.default.check(None, pin, challenge.reference).verified
    assert not TextBackend.check(backends.default, None, pin, later).verified
    site.wait(301)
    assert backends.default.check(None, pin, challenge.reference).expired
    assert browser.give_pin(pin).status_code == 200
    assert browser.is_nobody()
