"""django-otp: its device and our PIN are asked for each where it is wanted, whatever the order of the middlewares."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache
from django.urls import reverse
from django_otp.oath import totp as code_of
from django_otp.plugins.otp_totp.models import TOTPDevice

from django_verigator.models import VerigatorUser
from tests.conftest import PASSWORD
from tests.neighbours.conftest import said

OTP = "django_otp.middleware.OTPMiddleware"
OURS = "django_verigator.middleware.VerigatorMiddleware"


@pytest.fixture(params=["theirs before ours", "theirs behind ours"], autouse=True)
def order(request: Any, settings: Any) -> None:
    rest = [path for path in settings.MIDDLEWARE if path != OTP]
    place = rest.index(OURS) + (request.param == "theirs behind ours")
    settings.MIDDLEWARE = [*rest[:place], OTP, *rest[place:]]


def device_of(user: Any) -> Any:
    return TOTPDevice.objects.create(user=user, name="app", confirmed=True)


def sign_in(visitor: Any, path: str, device: Any = None, name: str = "alice", **extra: str) -> Any:
    form = {"username": name, "password": PASSWORD, **extra}
    if device is not None:
        form |= {"otp_device": device.persistent_id, "otp_token": f"{code_of(device.bin_key):06}"}
    return visitor.post(path, form)


def test_otp_login_page__leads_to_the_pin_and_back(visitor, alice):
    page = sign_in(visitor, "/otp-login/", device_of(alice), next="/vault/")
    assert page["Location"] == reverse("verigator:verify")
    assert not visitor.gets_in()
    assert visitor.get("/vault/").status_code == 302
    assert visitor.gives_pin()["Location"] == "/vault/"
    assert visitor.get("/vault/").content.decode() == f"vault of {alice.pk}"
    assert visitor.get("/avault/").content == b"vault"


def test_pin__is_no_device(visitor, boss):
    device = device_of(boss)
    sign_in(visitor, "/admin/login/", name="boss")
    visitor.gives_pin()
    assert visitor.gets_in()
    assert visitor.get("/vault/")["Location"].startswith("/otp-login/")
    assert visitor.get("/avault/").content == b"closed"
    form = {"otp_device": device.persistent_id, "otp_token": f"{code_of(device.bin_key):06}"}
    visitor.post("/otp-login/", form)
    assert visitor.get("/vault/").status_code == 200


def test_otp_admin__asks_for_both(visitor, boss):
    page = sign_in(visitor, "/otp-admin/login/", device_of(boss), "boss", next="/otp-admin/")
    assert page["Location"] == reverse("verigator:verify")
    assert visitor.get("/otp-admin/").status_code == 302
    visitor.gives_pin()
    assert visitor.get("/otp-admin/").status_code == 200


@pytest.mark.fault("X02")
def test_our_pages__are_no_way_past_the_device(visitor, carol):
    device_of(carol)
    sign_in(visitor, "/accounts/login/", name="carol")
    assert not visitor.gets_in()
    assert visitor.get("/vault/").status_code == 302
    assert visitor.get("/avault/").content == b"closed"


@pytest.mark.fault("X02")
def test_checks__name_a_second_door_and_nothing_else(db, settings):
    assert said() == {}
    settings.ROOT_URLCONF = "tests.neighbours.axes.urls"
    assert list(said()) == ["verigator.W010", "verigator.W002"]
    assert "django_otp" in said()["verigator.W010"]


def test_who_owes_nothing__needs_the_device_alone(visitor, carol):
    sign_in(visitor, "/otp-login/", device_of(carol), "carol", next="/vault/")
    assert visitor.get("/vault/").status_code == 200


@pytest.mark.parametrize("path", ["/vault/", "/avault/", "/otp-login/", "/otp-admin/", "/private/", "/whoami/"])
def test_session_without_the_pin__ends_at_the_pin_page(visitor, boss, path):
    visitor.force_login(boss)
    assert visitor.get(path)["Location"] == reverse("verigator:verify")
    assert visitor.get(path).status_code != 500


@pytest.mark.parametrize("path", ["/vault/", "/avault/", "/otp-login/", "/otp-admin/"])
def test_session_whose_proof_has_ended__ends_at_a_login_page(visitor, boss, path):
    sign_in(visitor, "/otp-login/", device_of(boss), "boss")
    visitor.gives_pin()
    assert visitor.gets_in()
    VerigatorUser.objects.filter(user=boss).update(trust_version="another")  # as support's reset does
    cache.clear()
    assert visitor.get(path).status_code in (200, 302)
    assert not visitor.gets_in()
