"""The same form posted many times at once has the effect of one."""

from __future__ import annotations

import pytest
from django.test import Client

from django_verigator.models import Challenge, VerigatorUser

from .conftest import LOGIN, PASSWORD, VERIFY, copies, give_password, logged_in, make_user, phone_number, post_pin
from .crowd import crowd

FORM = {"csrfmiddlewaretoken": "t" * 64}


@pytest.mark.fault("P04")
def test_ten_posts_of_one_login_form__send_one_code_which_is_right_in_each_browser(provider):
    make_user()
    post_pin(give_password(), provider.pin(phone_number()))  # counters and record are there, as for most users
    logged_in_before, sends = len(logged_in()), provider.sends
    provider.slow_down()
    browsers = [Client() for _ in range(10)]
    data = {"username": "alice", "password": PASSWORD, **FORM}

    answers = crowd(lambda each: each.post(LOGIN, data), browsers)

    assert {answer["Location"] for answer in answers} == {VERIFY}
    assert provider.sends == sends + 1
    assert Challenge.objects.filter(consumed_at=None).count() == 1
    assert post_pin(browsers[-1], provider.pin(phone_number()))["Location"] == "/private/"
    assert len(logged_in()) == logged_in_before + 1


@pytest.mark.fault("P05")
def test_ten_posts_of_one_wrong_pin__cost_one_try(provider):
    user = make_user()
    browser = give_password()
    provider.slow_down()
    pin = provider.wrong_pins(phone_number())[0]

    crowd(lambda each: each.post(VERIFY, {"pin": pin, **FORM}), copies(browser, 10))

    assert provider.tries == 1
    assert Challenge.objects.get().tries == 1
    assert VerigatorUser.objects.get(user=user).consecutive_failures == 1
