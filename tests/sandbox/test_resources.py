"""Test services and users: create, read, delete, access and the order of checks."""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest

from django_verigator.sandbox import Sandbox

from .http_client import PASSWORD, PHONE, USERNAME, Shop, send, send_raw

SERVICES = "/v1/service/service"
CTIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
OTHER_ACCOUNT = {"X-Service-Auth": "other:secret"}


def test_service__is_created_read_and_deleted(shop: Shop) -> None:
    read = shop.send("GET", shop.path)

    assert read.status == HTTPStatus.OK
    assert read.headers["Content-Type"] == "application/json"
    assert read.json()["name"] == "CoffeeShop"
    assert re.fullmatch(CTIME, read.json()["ctime"])
    deleted = shop.send("DELETE", shop.path)
    assert (deleted.status, deleted.body) == (HTTPStatus.ACCEPTED, b"{}")
    assert shop.send("GET", shop.path).status == HTTPStatus.NOT_FOUND


def test_service__with_users_cannot_be_deleted(shop: Shop) -> None:
    user = shop.add_user()

    assert shop.send("DELETE", shop.path).status == HTTPStatus.CONFLICT
    shop.send("DELETE", user)
    assert shop.send("DELETE", shop.path).status == HTTPStatus.ACCEPTED


def test_service_name__is_unique_in_an_account(start_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = start_sandbox(accounts={"other": "secret"})
    data = {"fqdn": "coffeeshop.com", "name": "CoffeeShop"}

    assert send(sandbox.url, "POST", SERVICES, data).status == HTTPStatus.CREATED
    assert send(sandbox.url, "POST", SERVICES, data).status == HTTPStatus.CONFLICT
    assert send(sandbox.url, "POST", SERVICES, data, headers=OTHER_ACCOUNT).status == HTTPStatus.CREATED


def test_non_ascii_name__comes_back_escaped(sandbox: Sandbox) -> None:
    response = send(sandbox.url, "POST", SERVICES, {"fqdn": "example.com", "name": "Kohvik Öö"})

    assert rb"Kohvik \u00d6\u00f6" in response.body
    assert response.json()["name"] == "Kohvik Öö"


def test_user__is_created_listed_read_and_deleted(shop: Shop) -> None:
    user = shop.add_user("john.doe@verigator.com")

    data = shop.send("GET", user).json()
    assert data["id_in_service"] == "john.doe@verigator.com"
    assert shop.send("GET", f"{shop.path}/users").json() == {"users": [data], "total": 1, "count": 1}
    deleted = shop.send("DELETE", user)
    assert (deleted.status, deleted.body) == (HTTPStatus.ACCEPTED, b"{}")
    assert shop.send("GET", user).status == HTTPStatus.NOT_FOUND
    assert shop.send("GET", f"{shop.path}/users").json() == {"users": [], "total": 0, "count": 0}


def test_id_in_service__is_unique_in_a_service(shop: Shop) -> None:
    user = shop.add_user("john")
    data = {"id_in_service": "john", "phone_number": "+4401234567"}

    assert shop.send("POST", f"{shop.path}/users", data).status == HTTPStatus.CONFLICT
    assert Shop(shop.sandbox, name="Another shop").add_user("john")
    shop.send("DELETE", user)
    assert shop.send("POST", f"{shop.path}/users", data).status == HTTPStatus.CREATED


def test_user_list__is_complete_over_many_pages(shop: Shop, sandbox: Sandbox) -> None:
    service_id = shop.path.rpartition("/")[2]
    for number in range(1201):
        sandbox.directory.add_user(service_id, f"user-{number}", PHONE)

    response = shop.send("GET", f"{shop.path}/users")

    assert response.headers["Transfer-Encoding"] == "chunked"
    assert [user["id_in_service"] for user in response.json()["users"]] == [f"user-{number}" for number in range(1201)]
    assert response.json()["total"] == 1201


@pytest.mark.parametrize("phone", ["+4401234567", "372555555", "+372 (555) 55-55", "+372.5555.5555"])
def test_phone_number__is_accepted_in_every_usual_form(shop: Shop, phone: str) -> None:
    user = shop.add_user("john", phone)
    shop.start(user)

    digits = re.sub("[^0-9]", "", phone)
    assert [message["to"] for message in shop.sandbox.messages()] == [f"+{digits}"]


@pytest.mark.parametrize(
    "phone",
    [
        "+xxxxxxxxxxx",
        "123456",
        "1234567890123456",
        "+372+5555555",
        "３７２５５５５５５５",
        "+3725555555\n",
        "",
        372555555,
    ],
)
def test_phone_number__that_is_invalid_is_refused(shop: Shop, phone: object) -> None:
    response = shop.send("POST", f"{shop.path}/users", {"id_in_service": "john", "phone_number": phone})

    assert response.status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert "phone_number" in response.message


@pytest.mark.parametrize("name", [None, "", "  ", 5, ["x"], "x" * 256, "\ud800"])
def test_text_field__is_refused_when_it_is_no_text(shop: Shop, name: object) -> None:
    response = shop.send("POST", SERVICES, {"fqdn": "example.com", "name": name})

    assert response.status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert "name" in response.message


@pytest.mark.parametrize(
    "header", ["u:p", f"{USERNAME}:wrong", f"{USERNAME};{PASSWORD}", USERNAME, "", f":{PASSWORD}", "ü:ö"]
)
def test_wrong_credentials__are_refused(shop: Shop, header: str) -> None:
    response = shop.send("GET", shop.path, headers={"X-Service-Auth": header})

    assert response.status == HTTPStatus.UNAUTHORIZED
    assert response.message


def test_missing_credentials__are_refused(sandbox: Sandbox) -> None:
    host = sandbox.url.removeprefix("http://")

    reply = send_raw(sandbox.url, f"GET {SERVICES}/x HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())

    assert reply.startswith(b"HTTP/1.1 401 ")
    assert b"X-Service-Auth header is missing" in reply


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_credentials__beyond_ascii_are_accepted_in_both_encodings(
    start_sandbox: Callable[..., Sandbox], encoding: str
) -> None:
    sandbox = start_sandbox(username="kasutaja", password="öö:päev")
    header: Any = "kasutaja:öö:päev".encode(encoding)

    response = send(sandbox.url, "GET", f"{SERVICES}/x", headers={"X-Service-Auth": header})

    assert response.status == HTTPStatus.NOT_FOUND


def test_password__beyond_latin_1_does_not_equal_question_marks(start_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = start_sandbox(username="u", password="€€")

    assert send(sandbox.url, "GET", SERVICES, headers={"X-Service-Auth": "u:??"}).status == HTTPStatus.UNAUTHORIZED


def test_other_account__is_forbidden_every_operation(start_sandbox: Callable[..., Sandbox]) -> None:
    shop = Shop(start_sandbox(accounts={"other": "secret"}))
    user = shop.add_user()
    shop.start(user)
    calls: list[tuple[str, str, Any]] = [
        ("GET", shop.path, None),
        ("DELETE", shop.path, None),
        ("POST", f"{shop.path}/users", {"id_in_service": "eve", "phone_number": PHONE}),
        ("GET", f"{shop.path}/users", None),
        ("GET", user, None),
        ("DELETE", user, None),
        ("POST", f"{user}/auth", {"method": "sms"}),
        ("PUT", f"{user}/auth", {"token": shop.sandbox.last_pin(PHONE)}),
    ]

    statuses = [shop.send(method, path, data, headers=OTHER_ACCOUNT).status for method, path, data in calls]

    assert statuses == [HTTPStatus.FORBIDDEN] * len(calls)
    assert len(shop.sandbox.messages()) == 1


def test_user_of_another_service__is_not_found(shop: Shop) -> None:
    user_id = shop.add_user().rpartition("/")[2]
    other = Shop(shop.sandbox, name="Another shop")

    assert shop.send("GET", f"{other.path}/users/{user_id}").status == HTTPStatus.NOT_FOUND
    assert shop.send("POST", f"{other.path}/users/{user_id}/auth", {"method": "sms"}).status == HTTPStatus.NOT_FOUND


def test_checks__go_credentials_resource_data_conflict(shop: Shop) -> None:
    shop.add_user("john")
    nowhere = f"{SERVICES}/nowhere/users"
    taken = {"id_in_service": "john", "phone_number": "no number"}

    assert (
        send(shop.sandbox.url, "POST", nowhere, taken, headers={"X-Service-Auth": "u:p"}).status
        == HTTPStatus.UNAUTHORIZED
    )
    assert shop.send("POST", nowhere, taken).status == HTTPStatus.NOT_FOUND
    assert shop.send("POST", f"{shop.path}/users", taken).status == HTTPStatus.UNPROCESSABLE_ENTITY


@pytest.mark.parametrize("suffix", ["", "/", "?x=1", "/?x=1"])
def test_path__is_found_with_slash_and_query(shop: Shop, suffix: str) -> None:
    assert shop.send("GET", shop.path + suffix).status == HTTPStatus.OK


def test_path__is_found_in_the_forms_that_clients_use(shop: Shop) -> None:
    user = shop.add_user()
    _, service_id, _, user_id = user.rsplit("/", 3)

    assert shop.send("GET", f"{shop.path}/user/{user_id}").status == HTTPStatus.OK
    assert shop.send("GET", f"//v1//service/service/{service_id}").status == HTTPStatus.OK
    assert shop.start(f"/v1/service/{service_id}/users/{user_id}").status == HTTPStatus.CREATED


def test_strict__serves_only_the_documented_paths(start_sandbox: Callable[..., Sandbox]) -> None:
    shop = Shop(start_sandbox(strict=True))
    user = shop.add_user()
    _, service_id, _, user_id = user.rsplit("/", 3)

    assert shop.send("GET", user).status == HTTPStatus.OK
    assert shop.send("GET", f"{shop.path}/user/{user_id}").status == HTTPStatus.NOT_FOUND
    assert shop.start(f"/v1/service/{service_id}/users/{user_id}").status == HTTPStatus.NOT_FOUND


def test_path_prefix__also_serves_the_api_below_it(start_sandbox: Callable[..., Sandbox]) -> None:
    shop = Shop(start_sandbox(path_prefix="/gateway/verigator/"))

    assert shop.send("GET", f"/gateway/verigator{shop.path}").status == HTTPStatus.OK
    assert shop.send("GET", shop.path).status == HTTPStatus.OK
    assert shop.send("GET", f"/other{shop.path}").status == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize("path", ["/v1", "/v1/service", "/v2/service/service", "/nothing", "/v1/service/service/a/b"])
def test_unknown_path__is_not_found(sandbox: Sandbox, path: str) -> None:
    response = send(sandbox.url, "GET", path)

    assert response.status == HTTPStatus.NOT_FOUND
    assert response.message


@pytest.mark.parametrize("method", ["PATCH", "PUT", "TRACE", "BREW"])
def test_unknown_method__is_not_allowed(shop: Shop, method: str) -> None:
    response = shop.send(method, shop.path)

    assert response.status == HTTPStatus.METHOD_NOT_ALLOWED
    assert response.headers["Allow"] == "GET, DELETE, HEAD, OPTIONS"
    assert response.message


def test_head__answers_like_get_without_a_body(shop: Shop) -> None:
    for path in (shop.path, f"{shop.path}/users"):
        response = shop.send("HEAD", path)
        assert (response.status, response.body) == (HTTPStatus.OK, b"")


def test_options__names_the_methods(shop: Shop) -> None:
    response = shop.send("OPTIONS", f"{shop.path}/users")

    assert (response.status, response.headers["Allow"]) == (HTTPStatus.OK, "POST, GET, HEAD, OPTIONS")
