"""Recovery codes under parallel posts: one code, one login; PINs and codes share the user's tries."""

from __future__ import annotations

from functools import partial

import pytest

from django_verigator.flows import recovery
from django_verigator.models import RecoveryCode

from .conftest import BOTH, copies, give_password, logged_in, make_user, phone_number, post_pin
from .crowd import crowd, together

PROVIDERS = BOTH
PHONE = phone_number()
ROOM = {"SENDS_PER_USER_HOUR": 1000, "SENDS_PER_PHONE_10_MINUTES": 1000}


def post_code(browser, code: str):
    return browser.post("/accounts/verify/recovery/", {"code": code})


@pytest.mark.threat("K01")
def test_a_code_posted_twenty_times_from_one_browser_makes_one_login(provider, proofs, atomic_requests):
    alice = make_user()
    code = recovery.renew(alice)[0]
    browser = give_password()

    crowd(lambda each: post_code(each, code), copies(browser, 20))

    assert logged_in() == [str(alice.pk)]
    assert proofs == [alice.pk]
    assert recovery.count_unused(alice) == 9
    assert provider.tries == 0


@pytest.mark.threat("K01")
def test_a_code_posted_in_ten_browsers_makes_one_login(provider, proofs):
    alice = make_user()
    code = recovery.renew(alice)[0]
    provider.configure(limits=ROOM)
    browsers = [give_password() for _ in range(10)]

    crowd(lambda each: post_code(each, code), browsers)

    assert logged_in() == [str(alice.pk)]
    assert proofs == [alice.pk]
    assert recovery.count_unused(alice) == 9


@pytest.mark.threat("C11")
def test_wrong_pins_and_wrong_codes_share_ten_tries(provider):
    alice = make_user()
    code = recovery.renew(alice)[0]
    browser = give_password()
    provider.slow_down()
    pins = [
        partial(post_pin, each, pin) for each, pin in zip(copies(browser, 4), provider.wrong_pins(PHONE), strict=False)
    ]
    codes = [partial(post_code, each, "0000-0000-0000-0000") for each in copies(browser, 20)]

    together(*pins, *codes)

    assert provider.tries <= 4
    response = post_code(browser, code)
    assert "Too many wrong PINs. Set a new password, or ask our support" in response.content.decode()
    assert logged_in() == []
    assert recovery.count_unused(alice) == 10


@pytest.mark.threat("K03")
def test_parallel_renewals_leave_one_set(provider):
    alice = make_user()

    sets = crowd(lambda _: recovery.renew(alice), range(5))

    assert recovery.count_unused(alice) == 10
    good = [codes for codes in sets if recovery.consume(alice.pk, recovery.normalise(codes[0]))]
    assert len(good) == 1
    assert RecoveryCode.objects.filter(used_at=None).count() == 9
