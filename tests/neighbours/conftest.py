"""What the sites' tests share. Each site has settings of its own, and a process of its own (see __main__.py)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core import checks
from django.test import Client
from django.urls import reverse

from django_verigator.backends import locmem
from tests.conftest import PASSWORD, PHONE

pytest.register_assert_rewrite("tests.neighbours.admin_tests")

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out every site but the one whose settings are in force."""
    if collection_path.parent != HERE or not collection_path.is_dir():
        return None
    wanted = os.environ.get("DJANGO_SETTINGS_MODULE") == f"tests.neighbours.{collection_path.name}.settings"
    return None if wanted else True


class Visitor(Client):
    """Somebody with a browser."""

    def gets_in(self) -> bool:
        """Whether a page for users only is shown. Looking there is also what an attacker would do next."""
        return self.get("/private/").status_code == 200

    def gives_pin(self, to: str = PHONE) -> Any:
        """Have a PIN sent, if none was, and type it."""
        if not locmem.outbox:
            self.post(reverse("verigator:resend"))
        sent = locmem.outbox.pop()
        assert sent.to == to
        return self.post(reverse("verigator:verify"), {"pin": sent.pin})


def said() -> dict[str, str]:
    """Return what the system checks say about this app on this site: texts by ids."""
    return {message.id: message.msg for message in checks.run_checks() if "verigator." in (message.id or "")}


@pytest.fixture
def visitor(db: None) -> Visitor:
    return Visitor()


@pytest.fixture
def alice(db: None) -> Any:
    """A user with a phone, who owes the second step."""
    return get_user_model().objects.create_user("alice", "alice@example.com", PASSWORD, phone_number=PHONE)


@pytest.fixture
def carol(db: None) -> Any:
    """A user without a phone, who owes nothing."""
    return get_user_model().objects.create_user("carol", "carol@example.com", PASSWORD)


@pytest.fixture
def boss(db: None) -> Any:
    """A superuser with a phone."""
    return get_user_model().objects.create_superuser("boss", "boss@example.com", PASSWORD, phone_number=PHONE)
