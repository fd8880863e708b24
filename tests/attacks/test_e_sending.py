"""E. Making the site send, and pay. (E10, many at once: tests/races.)"""

from __future__ import annotations

from collections import Counter

import pytest

from django_verigator import phone
from django_verigator.backends import Circuit, CircuitState
from django_verigator.models import VerigatorUser

from .actors import CONFIRM, ENROL, HOME, LOGIN, PHONE, PIN, RESEND, STEP_2
from .conftest import BOTH

PROVIDERS = BOTH


def texts(site, to=None):
    return len(site.sandbox.messages(to))


@pytest.mark.threat("E01")
def test_resends_wait_longer_and_longer_and_end(site, alice):
    browser = site.pending(alice)
    for _ in range(100):
        browser.resend()
    assert texts(site) == 1
    pauses, since = [], 0
    for _ in range(39):  # of fifteen seconds each: until the login itself ends
        site.wait(15)
        since += 15
        before = texts(site)
        browser.resend()
        if texts(site) > before:
            pauses.append(since)
            since = 0
    assert pauses == [30, 60, 120, 240]
    assert texts(site) == 5


@pytest.mark.threat("E02")
def test_fresh_logins_bring_no_new_texts(site, alice):
    for number in range(12):
        browser = site.browser(REMOTE_ADDR=f"9.9.{number}.9")
        assert browser.give_password(alice)["Location"] == PIN
        browser.resend()
        if number % 2:
            browser.post("/accounts/verify/cancel/")
    assert texts(site) == 5


@pytest.mark.threat("E03")
def test_many_accounts_with_one_number_share_its_texts(site):
    written = ["+372 5551 0001", "0037255510001", "+372-5551-0001", "+37255510001", "+372 (555) 10001"]
    for number in range(10):
        user = site.user(f"user{number}", written[number % 5])
        site.owns(user, "+37255510001")
        site.pending(user)
    assert {message["to"] for message in site.sandbox.messages()} == {"+37255510001"}
    assert texts(site) == 5


@pytest.mark.threat("E04")
def test_a_block_of_numbers_gets_only_so_much_and_the_site_is_told(site, heard):
    site.configure(LIMITS={"SENDS_PER_PREFIX_HOUR": 4})
    for number in range(9):
        site.pending(site.user(f"user{number}", f"+3725000001{number:03}"))
    assert texts(site) == 4
    scopes = [event["scope"] for name, event in heard if name == "limit_reached"]
    assert scopes == ["sends/prefix/hour"] * 5
    # Another block is not shut out.
    site.pending(site.user("elsewhere", "+37255510001"))
    assert texts(site) == 5


@pytest.mark.threat("E04")
def test_one_address_gets_only_so_much(site, heard):
    site.configure(LIMITS={"SENDS_PER_ADDRESS_HOUR": 3})
    for number in range(6):
        site.pending(site.user(f"user{number}", f"+3725{number}510001"), REMOTE_ADDR="9.9.9.9")
    assert texts(site) == 3
    assert [event["scope"] for name, event in heard if name == "limit_reached"] == ["sends/address/hour"] * 3


@pytest.mark.threat("E05")
@pytest.mark.parametrize(
    "number",
    ["+881612345678", "+882161234567", "+870773111632", "+3729001234", "+449012345678", "+448431234567"],
    ids=["satellite", "satellite", "satellite at sea", "premium", "premium", "shared cost"],
)
def test_numbers_that_earn_somebody_money_get_nothing(site, number):
    site.configure(REQUIRED="all")
    user = site.user("dave", owes=True)
    browser = site.pending(user)
    assert "this kind of number" in browser.post(ENROL, {"phone": number}).content.decode()
    # Nor one that the site itself supplies, at a login, by the button, or in a change.
    supplied = site.user("erin", number)
    other = site.pending(supplied)
    other.resend()
    assert site.sends() == 0


@pytest.mark.threat("E05")
def test_a_country_that_is_not_listed_gets_nothing(site, alice):
    site.configure(COUNTRIES=["EE"])
    browser = site.logged_in(alice)
    before = len(site.calls)
    page = browser.post(PHONE, {"phone": "+37120000001", "password": site.password(alice), "country": "EE"})
    assert "or to this country" in page.content.decode()
    site.pending(site.user("latvian", "+37120000002"))
    assert "/auth" not in " ".join(site.calls[before:])


@pytest.mark.threat("E06")
def test_phones_that_change_and_change_are_bounded(site, alice):
    # A change that was confirmed counts as well.
    browser = site.logged_in(alice)
    site.owns(alice, "+37255510109")
    for number in range(100, 112):
        new = f"+37255510{number}"
        browser.post(PHONE, {"phone": new, "password": site.password(alice)})
        if number == 109:
            browser.post(CONFIRM, {"pin": "1234"})
        site.wait(20)
    changed = {message["to"] for message in site.sandbox.messages()} - {site.phone(alice)}
    assert len(changed) == 3
    assert texts(site) == 4


@pytest.mark.threat("E07")
def test_looking_at_a_page_sends_nothing(site, alice):
    browser = site.pending(alice)
    caught = site.old_session(alice)
    caught.get(HOME)
    site.wait(61)
    prefetch = {"Purpose": "prefetch", "Sec-Purpose": "prefetch;prerender", "X-Moz": "prefetch"}
    for each in (browser, caught):
        for url in (*STEP_2, CONFIRM, ENROL, LOGIN, f"{RESEND}?method=sms"):
            each.get(url)
            each.head(url)
            each.get(url, headers=prefetch)
    assert site.sends() == 1


@pytest.mark.threat("E07")
def test_only_a_post_with_its_token_sends(site, alice):
    browser = site.pending(alice)
    site.wait(61)
    strict = site.browser(csrf=True)
    strict.cookies = browser.cookies
    assert strict.post(RESEND).status_code == 403
    assert strict.post(RESEND, {"csrfmiddlewaretoken": "x" * 64}).status_code == 403
    assert site.sends() == 1
    strict.get(PIN)
    assert strict.post(RESEND, {"csrfmiddlewaretoken": strict.cookies["csrftoken"].value}).status_code == 302
    assert site.sends() == 2


@pytest.mark.threat("E08")
def test_wrong_passwords_cost_no_call(site, alice, mallory):
    before = len(site.calls)
    for number in range(50):
        mallory.give_password(alice, f"guess {number}")
        mallory.give_password("nobody", "x")
    assert len(site.calls) == before


@pytest.mark.asks_provider("the app is linked at a provider that has it; a gateway of texts knows none")
@pytest.mark.threat("E09")
def test_an_app_that_is_not_linked_costs_a_text_and_is_counted(site, alice):
    site.configure(METHOD="totp")
    for _ in range(8):
        browser = site.pending(alice)
        assert "is not linked to your number, so we sent a PIN by SMS" in browser.page or texts(site) == 5
    assert texts(site) == 5


@pytest.mark.asks_provider("the app is linked at a provider that has it; a gateway of texts knows none")
@pytest.mark.threat("E09")
def test_an_app_costs_no_text_and_no_send(site, alice):
    site.configure(METHOD="totp")
    site.sandbox.attach_device(site.phone(alice))
    for _ in range(8):
        browser = site.pending(alice)
    assert (texts(site), site.sends()) == (0, 1)
    assert browser.give_pin(site.sandbox.code(site.phone(alice)))["Location"] == HOME


@pytest.mark.asks_provider("the app is linked at a provider that has it; a gateway of texts knows none")
@pytest.mark.threat("E09")
def test_a_text_where_texts_are_forbidden_is_no_way_in(site, alice):
    site.configure(METHOD="totp", WAYS=["totp"])
    browser = site.pending(alice)
    assert "needs the Verigator app" in browser.page
    browser.give_pin(site.pin(alice))
    browser.resend(method="sms")
    browser.give_pin(site.pin(alice))
    assert browser.is_nobody()
    assert site.tries() == 0


@pytest.mark.threat("E11")
def test_a_site_whose_budget_is_spent_lets_recovery_codes_in(site, alice, heard):
    codes = site.codes(alice, site.logged_in(alice))
    site.configure(LIMITS={"SENDS_PER_SITE_HOUR": 2})
    others = [site.user(f"user{number}", f"+3725{number}510001") for number in range(4)]
    browsers = [site.pending(user) for user in others]
    assert texts(site) == 1 + 1  # hers was the first of this hour's two
    assert "We cannot send PINs at the moment" in browsers[-1].resend().content.decode()
    assert "sends/site/hour" in [event["scope"] for name, event in heard if name == "limit_reached"]
    # Who has confirmed a phone is not kept out by those who have not, nor is who has a code.
    assert site.pending(alice).give_code(codes[0])["Location"] == HOME
    assert texts(site, site.phone(alice)) == 2


@pytest.mark.threat("E12")
def test_texts_that_nobody_answers_can_be_told_by_country(site, alice, heard):
    site.logged_in(alice)
    for number in range(4):
        site.pending(site.user(f"user{number}", f"+3712{number}000001"))

    def by_country(event):
        links = [details["user"].verigator for name, details in heard if name == event]
        return Counter(phone.region(link.phone_number) for link in links)

    assert by_country("code_sent") == {"EE": 1, "LV": 4}
    assert by_country("verified") == {"EE": 1}


@pytest.mark.threat("E13")
def test_a_stranger_s_phone_gets_little_and_no_word_of_ours(site):
    site.configure(REQUIRED="all")
    for number in range(8):
        dave = site.user(f"dave{number}", owes=True, first_name="CLICK http://evil")
        site.pending(dave).post(ENROL, {"phone": "+37255577777", "text": "CLICK http://evil"})
    messages = site.sandbox.messages("+37255577777")
    assert len(messages) == 5
    assert {message["text"].replace(message["pin"], "") for message in messages} == {"Your Verification PIN code is "}


@pytest.mark.threat("E13")
@pytest.mark.fault("T14")
def test_a_stranger_s_phone_gets_so_much_a_day_from_however_many_accounts(site):
    site.configure(LIMITS={"SENDS_PER_PHONE_DAY": 12})
    users = [site.user(f"user{number}", "+37255510001") for number in range(4)]
    for user in users[1:]:
        site.owns(user, "+37255510001")
    for number in range(24):
        site.pending(users[number % 4])
        site.wait(601)
    assert texts(site) == 6

    site.logged_in(alice := site.user("alice", "+37255510002"))
    for user in users:
        site.owns(user, "+37255510002")
        VerigatorUser.objects.filter(user=user).update(phone_number="+37255510002")
        for _ in range(3):
            site.pending(user)
            site.wait(601)
    before = texts(site, "+37255510002")
    assert site.pending(alice).give_pin(site.pin_at("+37255510002"))["Location"] == HOME
    assert texts(site, "+37255510002") == before + 1, "who has confirmed it is not kept out"


@pytest.mark.asks_provider("user records are made at the provider; a gateway of texts has none")
@pytest.mark.threat("E14")
@pytest.mark.fault("T03")
def test_a_number_at_which_the_provider_fails_keeps_nobody_else_s_login_down(site, mallory):
    honest = [site.user(f"user{number}", f"+3725{number}510001") for number in range(8)]
    thief = site.user("thief", owes=False)
    site.clear_caches()
    site.provider_says({"message": "oops"}, operation="users.create", status=500)
    served = 0
    for number in range(111):  # one every 31 seconds, for less than the hour that they are counted in
        for turn in range(4 if number == 0 else 1):
            mallory.give_password(thief)
            mallory.post(ENROL, {"phone": f"+372 555{turn} {number:04}", "password": site.password(thief)})
        if number % 15 == 5:
            user = honest[number // 15]
            served += site.pending(user, REMOTE_ADDR=f"9.9.9.{number}").give_pin(site.pin(user)).status_code == 302
        site.wait(31)
    assert served == 8
    assert Circuit("default").state == CircuitState.CLOSED
    assert len(site.sandbox.calls(operation="users.create")) <= 8 + 30


@pytest.mark.asks_provider("user records are made at the provider; a gateway of texts has none")
@pytest.mark.threat("E14")
@pytest.mark.fault("T04")
@pytest.mark.parametrize("status", [422, 500])
def test_registrations_that_are_refused_are_counted_and_leave_a_trace(site, mallory, heard, status):
    thief = site.user("thief", owes=False)
    site.configure(LIMITS={"STARTS_PER_USER_HOUR": 6, "SENDS_PER_USER_HOUR": 6})
    site.provider_says({"message": "no"}, operation="users.create", status=status)
    for number in range(20):
        mallory.give_password(thief)
        mallory.post(ENROL, {"phone": f"+372 5551 {number:04}", "password": site.password(thief)})
    assert len(site.sandbox.calls(operation="users.create")) == 6
    assert sum("registration_failed user=" in line for line in site.oracle.transcript.lines) == 6
    assert "starts/user/hour" in [event["scope"] for name, event in heard if name == "limit_reached"]


@pytest.mark.asks_provider("the app is linked at a provider that has it; a gateway of texts knows none")
@pytest.mark.threat("E15")
@pytest.mark.fault("T05")
def test_starts_of_the_app_by_a_thief_of_the_password_keep_the_owner_in(site, alice, mallory):
    site.configure(METHOD="totp")
    site.sandbox.attach_device(site.phone(alice))
    for _ in range(8):
        owner = site.pending(alice)
        for _ in range(8):
            mallory.give_password(alice)
            mallory.post("/accounts/verify/cancel/")
        site.wait(31)  # the app shows another code
        assert owner.give_pin(site.sandbox.code(site.phone(alice)))["Location"] == HOME
        site.wait(420)
    assert site.sends(alice) <= 24


@pytest.mark.asks_provider("the app is linked at a provider that has it; a gateway of texts knows none")
@pytest.mark.threat("E15")
@pytest.mark.fault("T05")
def test_another_code_of_the_app_again_and_again_leaves_enough_for_the_owner(site, alice, mallory):
    site.configure(METHOD="totp")
    site.sandbox.attach_device(site.phone(alice))
    for _ in range(118):  # for an hour
        mallory.give_password(alice)
        mallory.resend()
        site.wait(31)
        mallory.resend()
        mallory.post("/accounts/verify/cancel/")
    assert site.sends(alice) <= 30
    assert site.pending(alice).give_pin(site.sandbox.code(site.phone(alice)))["Location"] == HOME


@pytest.mark.threat("E15")
@pytest.mark.fault("T05")
def test_an_owner_who_is_kept_out_is_told_by_mail_once(site, alice, mailoutbox):
    site.configure(LIMITS={"SENDS_PER_USER_HOUR": 2})
    type(alice).objects.update(email="alice@example.com")
    for _ in range(4):
        browser = site.pending(alice)
    assert "Too many PINs" in browser.page
    assert [mail.subject for mail in mailoutbox] == ["No more PINs are sent for your account for now"]
