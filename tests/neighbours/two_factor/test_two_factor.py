"""django-two-factor-auth: its wizard, and the PIN behind it."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse
from django_otp.oath import totp as code_of
from django_otp.plugins.otp_totp.models import TOTPDevice

from tests.conftest import PASSWORD
from tests.neighbours.conftest import said

LOGIN = "/account/login/"


def device_of(user: Any) -> Any:
    return TOTPDevice.objects.create(user=user, name="default", confirmed=True)


def give_password(visitor: Any, name: str = "alice", to: str = "") -> Any:
    form = {"login_view-current_step": "auth", "auth-username": name, "auth-password": PASSWORD}
    return visitor.post(LOGIN + to, form)


def give_code(visitor: Any, device: Any, to: str = "") -> Any:
    return visitor.post(
        LOGIN + to, {"login_view-current_step": "token", "token-otp_token": f"{code_of(device.bin_key):06}"}
    )


def test_login_page__leads_to_the_pin_and_back(visitor, alice):
    page = give_password(visitor, to="?next=/private/")
    assert page["Location"] == reverse("verigator:verify")
    assert not visitor.gets_in()
    assert visitor.gives_pin()["Location"] == "/private/"
    assert visitor.gets_in()


def test_own_factor__comes_first_and_the_pin_after_it(visitor, alice):
    device = device_of(alice)
    assert give_password(visitor, to="?next=/vault/").status_code == 200
    assert not visitor.gets_in()
    assert give_code(visitor, device, "?next=/vault/")["Location"] == reverse("verigator:verify")
    assert not visitor.gets_in()
    assert visitor.get("/vault/").status_code == 302
    assert visitor.gives_pin()["Location"] == "/vault/"
    assert visitor.get("/vault/").status_code == 200


def test_who_owes_nothing__needs_the_own_factor_alone(visitor, carol):
    device = device_of(carol)
    give_password(visitor, "carol")
    assert not visitor.gets_in()
    give_code(visitor, device)
    assert visitor.get("/vault/").status_code == 200


@pytest.mark.fault("X02")
def test_checks__name_a_second_door_and_nothing_else(db, settings):
    assert said() == {}
    settings.ROOT_URLCONF = "tests.neighbours.axes.urls"
    assert "two_factor" in said()["verigator.W010"]


@pytest.mark.fault("X02")
def test_our_pages__are_no_way_past_the_own_factor(visitor, carol):
    device_of(carol)
    visitor.post("/phone/login/", {"username": "carol", "password": PASSWORD})
    assert not visitor.gets_in()


def test_set_up__needs_the_pin_first(visitor, alice):
    give_password(visitor)
    assert visitor.get("/account/two_factor/setup/").status_code == 302
    visitor.gives_pin()
    assert visitor.get("/account/two_factor/setup/").status_code == 200
    assert visitor.get("/account/two_factor/").status_code == 200


@pytest.mark.parametrize("path", ["/vault/", "/account/two_factor/", "/account/two_factor/setup/", "/admin/"])
def test_session_without_the_pin__ends_at_the_pin_page(visitor, boss, path):
    visitor.force_login(boss)
    assert visitor.get(path)["Location"] == reverse("verigator:verify")
