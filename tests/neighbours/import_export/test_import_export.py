"""django-import-export: users who are imported are registered, and owe the second step as others do."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.files.uploadedfile import SimpleUploadedFile

from django_verigator.backends import backends
from django_verigator.models import VerigatorUser
from django_verigator.testing import login_verified
from tests.conftest import PASSWORD

USERS = "/admin/site/user/"
PHONES = {"dora": "+37255500068", "erin": "+372 5550 0069", "fay": ""}
ROWS = "\n".join(["id,username,phone_number", *(f",{name},{phone}" for name, phone in PHONES.items())])

pytestmark = pytest.mark.django_db(transaction=True)


def upload(visitor: Any) -> Any:
    file = SimpleUploadedFile("users.csv", ROWS.encode(), "text/csv")
    return visitor.post(f"{USERS}import/", {"format": "0", "import_file": file, "resource": ""})


def confirm(visitor: Any, preview: Any) -> Any:
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', preview.content.decode()))
    return visitor.post(f"{USERS}process_import/", hidden, follow=True)


def test_pages__need_the_pin(visitor, boss):
    visitor.force_login(boss)
    for page in ("import/", "export/", "process_import/"):
        assert visitor.get(f"{USERS}{page}").status_code == 302
    assert upload(visitor).status_code == 302
    assert not get_user_model().objects.filter(username__in=PHONES).exists()


def test_preview__registers_nobody(visitor, boss, monkeypatch):
    login_verified(visitor, boss)
    asked: list[Any] = []
    monkeypatch.setattr(backends.default, "register", lambda *args, **kwargs: asked.append(args))
    assert "dora" in upload(visitor).content.decode()
    assert asked == []
    assert not VerigatorUser.objects.exclude(user=boss).exists()


def test_import__registers_each(visitor, boss):
    login_verified(visitor, boss)
    confirm(visitor, upload(visitor))
    links = VerigatorUser.objects.exclude(user=boss).values_list("user__username", "phone_number", "state")
    assert {(name, phone) for name, phone, state in links if state == "registered"} == {
        ("dora", "+37255500068"),
        ("erin", "+37255500069"),
    }


def test_imported_user__owes_the_second_step(visitor, boss):
    login_verified(visitor, boss)
    confirm(visitor, upload(visitor))
    dora = get_user_model().objects.get(username="dora")
    dora.set_password(PASSWORD)
    dora.save()
    theirs = type(visitor)()
    theirs.post("/accounts/login/", {"username": "dora", "password": PASSWORD})
    assert not theirs.gets_in()
    theirs.gives_pin(to="+37255500068")
    assert theirs.gets_in()


def test_export__goes_on(visitor, boss, alice):
    login_verified(visitor, boss)
    page = visitor.get(f"{USERS}export/")
    assert page.status_code == 200
    answer = visitor.post(
        f"{USERS}export/",
        {"format": "0", "resource": "", "userresource_id": "on", "userresource_username": "on"},
    )
    assert "alice" in answer.content.decode()
