"""Test authentications: start by SMS or app, check, expiry, throttling."""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus

import pytest

from django_verigator.sandbox import Sandbox

from .http_client import PHONE, Shop

OTHER_PHONE = "+4401234567"


def wrong(pin: str) -> str:
    """Return another PIN of the same length."""
    return pin[:-1] + str((int(pin[-1]) + 1) % 10)


def status_of(shop: Shop, user: str, token: str) -> dict[str, object]:
    response = shop.verify(user, token).json()
    assert response["verified"] is False
    status: dict[str, object] = response["status"]
    return status


def test_start__sends_one_message_with_the_pin(shop: Shop, sandbox: Sandbox) -> None:
    user = shop.add_user()

    assert shop.start(user).json() == {"method": "sms"}

    (message,) = sandbox.messages()
    assert re.fullmatch("[0-9]{4}", message["pin"])
    assert message["text"] == f"Your Verification PIN code is {message['pin']}"
    assert (message["to"], message["user_id"]) == (PHONE, user.rpartition("/")[2])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", message["sent"])


def test_verify__passes_once_with_the_right_pin(shop: Shop, sandbox: Sandbox) -> None:
    user = shop.add_user()
    shop.start(user)
    pin = sandbox.last_pin(PHONE)

    first = shop.verify(user, pin)

    assert (first.status, first.json()) == (HTTPStatus.OK, {"method": "sms", "verified": True})
    assert shop.verify(user, pin).status == HTTPStatus.NOT_FOUND


def test_verify__says_invalid_for_a_wrong_pin_and_still_takes_the_right_one(shop: Shop, sandbox: Sandbox) -> None:
    user = shop.add_user()
    shop.start(user)
    pin = sandbox.last_pin(PHONE)

    assert status_of(shop, user, wrong(pin)) == {
        "throttled": False,
        "expired": False,
        "invalid": True,
        "result": "INVALID",
    }
    assert shop.verified(user, pin)


def test_verify__is_throttled_after_five_wrong_tries_even_for_the_right_pin(shop: Shop, sandbox: Sandbox) -> None:
    user = shop.add_user()
    shop.start(user)
    pin = sandbox.last_pin(PHONE)

    results = [status_of(shop, user, wrong(pin))["result"] for _ in range(5)]

    assert results == ["INVALID"] * 5
    assert status_of(shop, user, pin) == {
        "throttled": True,
        "expired": False,
        "invalid": False,
        "result": "THROTTLED",
    }


def test_max_tries__can_be_set(start_sandbox: Callable[..., Sandbox]) -> None:
    shop = Shop(start_sandbox(max_tries=1))
    user = shop.add_user()
    shop.start(user)
    pin = shop.sandbox.last_pin(PHONE)

    assert status_of(shop, user, wrong(pin))["result"] == "INVALID"
    assert status_of(shop, user, pin)["result"] == "THROTTLED"


def test_start__after_throttling_gives_new_tries(shop: Shop, sandbox: Sandbox) -> None:
    user = shop.add_user()
    shop.start(user)
    for _ in range(6):
        shop.verify(user, wrong(sandbox.last_pin(PHONE)))

    shop.start(user)

    assert shop.verified(user, sandbox.last_pin(PHONE))


def test_verify__says_expired_once_the_time_is_over(shop: Shop, sandbox: Sandbox) -> None:
    user = shop.add_user()
    shop.start(user)
    pin = sandbox.last_pin(PHONE)

    sandbox.advance(301)

    assert status_of(shop, user, pin) == {
        "throttled": False,
        "expired": True,
        "invalid": False,
        "result": "EXPIRED",
    }
    assert status_of(shop, user, pin)["result"] == "EXPIRED"


def test_verify__passes_shortly_before_the_time_is_over(start_sandbox: Callable[..., Sandbox]) -> None:
    shop = Shop(start_sandbox(pin_validity=1000))
    user = shop.add_user()
    shop.start(user)

    shop.sandbox.advance(990)

    assert shop.verified(user, shop.sandbox.last_pin(PHONE))


def test_second_start__invalidates_the_first_pin(shop: Shop, sandbox: Sandbox) -> None:
    user = shop.add_user()
    shop.start(user)
    first = second = sandbox.last_pin(PHONE)
    while second == first:
        shop.start(user)
        second = sandbox.last_pin(PHONE)

    assert not shop.verified(user, first)
    assert shop.verified(user, second)


def test_verify__accepts_a_pin_only_for_its_own_user(shop: Shop, sandbox: Sandbox) -> None:
    john, anna = shop.add_user("john"), shop.add_user("anna", OTHER_PHONE)
    shop.start(john)
    shop.start(anna)
    while sandbox.last_pin(OTHER_PHONE) == sandbox.last_pin(PHONE):
        shop.start(anna)

    assert not shop.verified(john, sandbox.last_pin(OTHER_PHONE))
    assert shop.verified(anna, sandbox.last_pin(OTHER_PHONE))


def test_verify__without_a_start_is_not_found(shop: Shop) -> None:
    response = shop.verify(shop.add_user(), "1234")

    assert response.status == HTTPStatus.NOT_FOUND
    assert response.message


def test_deleting_a_user__ends_the_authentication_and_keeps_the_messages(shop: Shop, sandbox: Sandbox) -> None:
    user = shop.add_user()
    shop.start(user)
    pin = sandbox.last_pin(PHONE)

    assert shop.send("DELETE", user).status == HTTPStatus.ACCEPTED

    assert shop.verify(user, pin).status == HTTPStatus.NOT_FOUND
    assert [message["pin"] for message in sandbox.messages(PHONE)] == [pin]


@pytest.mark.parametrize("token", [None, "", True, 1.5, [], {}, "1" * 300])
def test_verify__refuses_a_token_that_is_not_a_text(shop: Shop, token: object) -> None:
    user = shop.add_user()
    shop.start(user)

    assert shop.verify(user, token).status == HTTPStatus.UNPROCESSABLE_ENTITY


@pytest.mark.parametrize("token", ["\ud800", "١٢٣٤", "1\x00", 10**15])
def test_verify__treats_any_text_or_number_as_a_wrong_token(shop: Shop, token: object) -> None:
    user = shop.add_user()
    shop.start(user)

    assert not shop.verified(user, token)


def test_verify__accepts_the_pin_as_a_number(shop: Shop, sandbox: Sandbox) -> None:
    user = shop.add_user()
    shop.start(user)
    while sandbox.last_pin(PHONE).startswith("0"):
        shop.start(user)

    assert shop.verified(user, int(sandbox.last_pin(PHONE)))


def test_verify__ignores_a_known_method_and_refuses_another(shop: Shop, sandbox: Sandbox) -> None:
    user = shop.add_user()
    shop.start(user)
    pin = sandbox.last_pin(PHONE)

    assert shop.verify(user, pin, method="pigeon").status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert shop.verify(user, pin, method="totp").json()["verified"] is True


def test_legacy_auth_id__is_answered_and_checked(start_sandbox: Callable[..., Sandbox]) -> None:
    shop = Shop(start_sandbox(legacy_auth_id=True))
    user = shop.add_user()
    auth_id = shop.start(user).json()["auth_id"]
    pin = shop.sandbox.last_pin(PHONE)

    assert shop.verify(user, pin, auth_id="another").status == HTTPStatus.NOT_FOUND
    assert shop.verify(user, pin, auth_id=auth_id).json()["verified"] is True
    shop.sandbox.attach_device(PHONE)
    assert shop.start(user, "totp").json() == {"method": "totp", "auth_id": None}


def test_totp__falls_back_to_sms_without_the_app(shop: Shop, sandbox: Sandbox) -> None:
    user = shop.add_user()

    assert shop.start(user, "totp").json() == {"method": "sms"}
    assert shop.verified(user, sandbox.last_pin(PHONE))


def test_totp__asks_the_app_and_sends_no_message(shop: Shop, sandbox: Sandbox) -> None:
    user = shop.add_user()
    sandbox.attach_device("372 5555 555")

    assert shop.start(user, "totp").json() == {"method": "totp"}

    assert sandbox.messages() == []
    (device,) = sandbox.devices()
    assert (device["issuer"], device["account"]) == ("CoffeeShop", "john")
    assert [notice["text"] for notice in device["notices"]] == ["CoffeeShop asks for a code for john"]
    response = shop.verify(user, sandbox.code(PHONE))
    assert response.json() == {"method": "totp", "verified": True}


def test_totp__refuses_a_code_that_was_used(shop: Shop, sandbox: Sandbox) -> None:
    user = shop.add_user()
    sandbox.attach_device(PHONE)
    shop.start(user, "totp")
    code = sandbox.code(PHONE)
    assert shop.verified(user, code)

    shop.start(user, "totp")

    assert status_of(shop, user, code)["result"] == "INVALID"
    sandbox.advance(60)
    assert shop.verified(user, sandbox.code(PHONE))


def test_totp__is_throttled_like_a_pin(shop: Shop, sandbox: Sandbox) -> None:
    user = shop.add_user()
    sandbox.attach_device(PHONE)
    shop.start(user, "totp")
    for _ in range(5):
        assert status_of(shop, user, "nonsense")["result"] == "INVALID"

    assert status_of(shop, user, sandbox.code(PHONE))["result"] == "THROTTLED"


def test_totp__fails_after_the_app_is_detached(shop: Shop, sandbox: Sandbox) -> None:
    user = shop.add_user()
    sandbox.attach_device(PHONE)
    shop.start(user, "totp")
    code = sandbox.code(PHONE)

    assert sandbox.detach_device(PHONE)

    assert not shop.verified(user, code)
    assert shop.start(user, "totp").json() == {"method": "sms"}


def test_sms__is_sent_even_if_the_app_is_attached(shop: Shop, sandbox: Sandbox) -> None:
    user = shop.add_user()
    sandbox.attach_device(PHONE)

    assert shop.start(user, "sms").json() == {"method": "sms"}
    assert len(sandbox.messages(PHONE)) == 1


@pytest.mark.parametrize("method", ["SMS", "", None, 1, ["sms"], {}])
def test_start__refuses_an_unknown_method(shop: Shop, sandbox: Sandbox, method: object) -> None:
    response = shop.send("POST", f"{shop.add_user()}/auth", {"method": method})

    assert response.status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert sandbox.messages() == []


def test_pin_length__can_be_set(start_sandbox: Callable[..., Sandbox]) -> None:
    shop = Shop(start_sandbox(pin_length=16))
    shop.start(shop.add_user())

    assert re.fullmatch("[0-9]{16}", shop.sandbox.last_pin(PHONE))


def test_pin__is_never_only_zeros_keeps_leading_zeros_and_differs_from_recent_pins(
    shop: Shop, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, random_numbers = shop.add_user(), [-1, 0, -1]
    monkeypatch.setattr("secrets.randbelow", lambda top: random_numbers.pop(0) % top)
    for pin in ("9999", "0001", "0002"):
        shop.start(user)
        assert sandbox.last_pin(PHONE) == pin
    assert random_numbers == []
