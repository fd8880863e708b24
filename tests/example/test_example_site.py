"""The pages of the example, asked for over HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus

import pytest
import requests

from .running import PASSWORD, Demo, serving

NEW_PASSWORD = {"password1": "oat & rye", "password2": "oat & rye"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with serving(tmp_path_factory.mktemp("site")) as running:
        yield running


class Visitor(requests.Session):
    def __init__(self, demo: Demo) -> None:
        super().__init__()
        self.trust_env = False
        self.demo = demo

    def open(self, path: str) -> requests.Response:
        return self.get(self.demo.site + path, timeout=20)

    def fill(self, page: str, path: str = "", **fields: str) -> requests.Response:
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.open(page).text)
        assert token is not None
        form = {"csrfmiddlewaretoken": token[1], **fields}
        return self.post(self.demo.site + (path or page), data=form, timeout=20)

    def pin(self, number: str) -> str:
        answer = self.get(f"{self.demo.phone}/_sandbox/messages", params={"to": number}, timeout=20)
        return str(answer.json()["messages"][-1]["pin"])


@pytest.fixture
def visitor(demo: Demo) -> Iterator[Visitor]:
    with Visitor(demo) as session:
        yield session


def test_demo__says_where_to_click(demo: Demo) -> None:
    """The last lines name the site, the phone, each user and the password."""
    assert PASSWORD in demo.said
    for line in (r"demo +\+447700900067", r"admin +\+447700900042", r"nophone +no phone"):
        assert re.search(line, demo.said)
    assert requests.get(f"{demo.phone}/", timeout=20).status_code == HTTPStatus.OK


@pytest.mark.parametrize("path", ["/", "/accounts/login/", "/accounts/signup/"])
def test_pages__public(visitor: Visitor, path: str) -> None:
    """Public pages open, under a policy that allows no inline script or style, and hold none."""
    page = visitor.open(path)
    assert page.status_code == HTTPStatus.OK
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert not re.search(r"<style|<script>|\sstyle=|\son\w+=", page.text)


@pytest.mark.parametrize("path", ["/orders/", "/card/"])
def test_pages__closed(visitor: Visitor, path: str) -> None:
    """The others send a visitor to the login page, and remember where to go."""
    page = visitor.open(path)
    assert page.url == f"{visitor.demo.site}/accounts/login/?next={path}"


def test_admin__no_policy(visitor: Visitor) -> None:
    """The admin keeps to its own rules; everything else is under the policy."""
    assert "Content-Security-Policy" not in visitor.open("/admin/login/").headers


def test_sign_up__through_the_second_step(visitor: Visitor) -> None:
    """Who signs up is not in before the PIN, and then on the page that sign-up leads to."""
    number = "+447700900011"
    page = visitor.fill("/accounts/signup/", username="newcomer", phone_number="00447700900011", **NEW_PASSWORD)
    assert page.url.endswith("/accounts/verify/")
    assert visitor.open("/orders/").url.endswith("/accounts/login/?next=/orders/")
    page = visitor.fill("/accounts/verify/", pin=visitor.pin(number))
    assert page.url.endswith("/orders/")
    assert "<b>newcomer</b>" in page.text
    assert visitor.open("/card/").status_code == HTTPStatus.OK


def test_sign_up__bad_number(visitor: Visitor) -> None:
    """A number that is none is refused on the form."""
    page = visitor.fill("/accounts/signup/", username="nobody", phone_number="12345", **NEW_PASSWORD)
    assert "international form" in page.text


def test_user_without_phone__in_until_more_is_asked(visitor: Visitor) -> None:
    """Without a phone the password is enough for the orders; the gift card asks for one first."""
    page = visitor.fill("/accounts/login/", username="nophone", password=PASSWORD, next="/orders/")
    assert page.url.endswith("/orders/")
    assert visitor.open("/card/").url.endswith("/accounts/enrol/?next=%2Fcard%2F")
