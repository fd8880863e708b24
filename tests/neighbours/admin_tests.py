"""What holds of the admin's pages, whatever they look like."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.urls import reverse

from django_verigator.models import VerigatorUser
from django_verigator.testing import login_verified
from tests.conftest import PASSWORD

LINKS = "admin:django_verigator_verigatoruser_changelist"
CHALLENGES = "admin:django_verigator_challenge_changelist"


def users() -> str:
    options = get_user_model()._meta
    return f"admin:{options.app_label}_{options.model_name}"


@pytest.fixture
def support(visitor: Any, boss: Any, alice: Any) -> Any:
    login_verified(visitor, boss)
    login_verified(type(visitor)(), alice)  # has a link, then
    return visitor


def text(response: Any) -> str:
    """Return what is to be read on a page."""
    shown = re.sub(r"<(script|style|template)\b.*?</\1>|<[^>]*>", " ", response.content.decode(), flags=re.DOTALL)
    return " ".join(shown.split())


def run(visitor: Any, page: str, name: str, *pks: int, **more: str) -> Any:
    return visitor.post(page, {"action": name, "_selected_action": pks, **more}, follow=True)


def test_login_page__leads_to_the_pin_and_back(visitor, boss):
    page = visitor.get("/admin/", follow=True)
    assert page.status_code == HTTPStatus.OK
    answer = visitor.post("/admin/login/?next=/admin/", {"username": "boss", "password": PASSWORD, "next": "/admin/"})
    assert answer["Location"] == reverse("verigator:verify")
    assert visitor.get("/admin/").status_code == HTTPStatus.FOUND
    assert visitor.gives_pin()["Location"] == "/admin/"
    assert visitor.get("/admin/").status_code == HTTPStatus.OK


def test_every_page__is_shown(support, alice):
    link = VerigatorUser.objects.get(user=alice)
    for page in (
        reverse("admin:index"),
        reverse(LINKS),
        reverse("admin:django_verigator_verigatoruser_change", args=[link.pk]),
        reverse("admin:django_verigator_verigatoruser_history", args=[link.pk]),
        reverse(CHALLENGES),
        reverse(f"{users()}_changelist"),
        reverse(f"{users()}_change", args=[alice.pk]),
        reverse(f"{users()}_add"),
        reverse(f"{users()}_delete", args=[alice.pk]),
    ):
        assert support.get(page, follow=True).status_code == HTTPStatus.OK, page


@pytest.mark.fault("X10")
def test_provider__is_seen_above_the_links(support):
    assert "default: in order" in text(support.get(reverse(LINKS)))


@pytest.mark.fault("X10")
def test_links__offer_their_actions(support):
    page = support.get(reverse(LINKS)).content.decode()
    select = re.search(r'<select name="action"[^>]*>.*?</select>', page, re.DOTALL)[0]
    for name in ("sync_with_verigator", "reset_second_factor", "unlock", "issue_recovery_code"):
        assert f'value="{name}"' in select


def test_sync__runs_on_users_and_on_links(support, alice):
    link = VerigatorUser.objects.get(user=alice)
    page = run(support, reverse(f"{users()}_changelist"), "sync_with_verigator", alice.pk)
    assert "registered: 1" in page.content.decode().lower()
    page = run(support, reverse(LINKS), "sync_with_verigator", link.pk)
    assert "already in order: 1" in page.content.decode().lower()


def test_reset__asks_and_does(support, alice):
    link = VerigatorUser.objects.get(user=alice)
    asked = run(support, reverse(LINKS), "reset_second_factor", link.pk)
    assert asked.status_code == HTTPStatus.OK
    assert "alice" in text(asked)
    done = run(support, reverse(LINKS), "reset_second_factor", link.pk, post="yes")
    assert "1 user was reset." in done.content.decode()


def test_second_step__stands_beside_each_user(support, alice):
    for page in (reverse(f"{users()}_changelist"), reverse(f"{users()}_change", args=[alice.pk])):
        assert "registered" in text(support.get(page))


def test_phone_numbers__are_masked_on_our_pages(support, alice):
    link = VerigatorUser.objects.get(user=alice)
    for page in (reverse(LINKS), reverse("admin:django_verigator_verigatoruser_change", args=[link.pk])):
        assert alice.phone_number not in support.get(page).content.decode()
