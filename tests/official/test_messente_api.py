"""messente-api, Messente's maintained client: its Number Verification against the sandbox, and beside our own."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import pytest
from messente_api import ApiClient, ApiException, Configuration, NumberVerificationApi

from django_verigator.client import NumberVerification
from django_verigator.sandbox import Sandbox
from django_verigator.sandbox.http_messages import Request

from .conftest import PASSWORD, PHONE, USERNAME, wrong

ACCOUNT = {"username": USERNAME, "password": PASSWORD}


@pytest.fixture
def api(sandbox: Sandbox) -> Iterator[NumberVerificationApi]:
    # Its calls name a host of their own each, api2.messente.com, unless the configuration says otherwise.
    with ApiClient(Configuration(host=sandbox.url, ignore_operation_servers=True)) as client:
        yield NumberVerificationApi(client)


@pytest.fixture
def ours(sandbox: Sandbox) -> Iterator[NumberVerification]:
    client = NumberVerification(USERNAME, PASSWORD, sandbox.url)
    yield client
    client.close()


def start(api: NumberVerificationApi, **options: str) -> str:
    """Start a verification and return its id."""
    word, verification_id = api.verify_number(**ACCOUNT, to=PHONE, **options).split(" ")
    assert word == "OK"
    return str(verification_id)


def check(api: NumberVerificationApi, verification_id: str, pin: str) -> str:
    return str(api.verify_pin(**ACCOUNT, verification_id=verification_id, pin=pin))


def test_pin__is_right_once(api: NumberVerificationApi, sandbox: Sandbox) -> None:
    verification_id = start(api)
    pin = sandbox.last_pin(PHONE)
    assert check(api, verification_id, wrong(pin)) == "INVALID"
    assert check(api, verification_id, pin) == "VERIFIED"
    assert check(api, verification_id, pin) == "ERROR 110"


def test_pin__expires(api: NumberVerificationApi, sandbox: Sandbox) -> None:
    verification_id = start(api, validity="60")
    sandbox.advance(61)
    assert check(api, verification_id, sandbox.last_pin(PHONE)) == "EXPIRED"


def test_pin__is_throttled(api: NumberVerificationApi, sandbox: Sandbox) -> None:
    verification_id = start(api)
    pin = sandbox.last_pin(PHONE)
    assert {check(api, verification_id, wrong(pin)) for _ in range(5)} == {"INVALID"}
    assert check(api, verification_id, pin) == "THROTTLED"


def test_options__are_those_of_the_text(api: NumberVerificationApi, sandbox: Sandbox) -> None:
    start(api, template="Your code: <PIN>", pin_length="8", var_from="Shop", max_tries="1", retry_delay="40")
    (message,) = sandbox.messages(PHONE)
    assert message["text"] == f"Your code: {message['pin']}"
    assert len(message["pin"]) == 8


def test_cookie__is_known_after_a_right_pin(api: NumberVerificationApi, sandbox: Sandbox) -> None:
    browser = {"ip": "192.0.2.1", "browser": "Mozilla/5.0 (X11)", "cookie": "a cookie & more"}
    verification_id = start(api, **browser)
    answer = api.verify_pin(**ACCOUNT, verification_id=verification_id, pin=sandbox.last_pin(PHONE), **browser)
    assert answer == "VERIFIED"
    assert api.verify_number(**ACCOUNT, to=PHONE, **browser) == "VERIFIED"
    assert len(sandbox.messages(PHONE)) == 1


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ({"password": "wrong"}, "ERROR 101"),
        ({"to": "12"}, "ERROR 102"),
        ({"pin_length": "3"}, "ERROR 102"),
        ({"template": "no place"}, "ERROR 109"),
    ],
)
def test_error__is_a_text_as_any_other_answer(
    api: NumberVerificationApi, sandbox: Sandbox, values: dict[str, str], answer: str
) -> None:
    assert api.verify_number(**{**ACCOUNT, "to": PHONE, **values}) == answer
    assert sandbox.messages() == []


def test_sender__that_is_not_activated() -> None:
    with Sandbox(**ACCOUNT, senders=("Shop",)) as sandbox:
        client = ApiClient(Configuration(host=sandbox.url, ignore_operation_servers=True))
        assert NumberVerificationApi(client).verify_number(**ACCOUNT, to=PHONE, var_from="Other") == "ERROR 111"


def test_failures__on_order(api: NumberVerificationApi, sandbox: Sandbox) -> None:
    sandbox.add_fault("status", status=200, body="FAILED 209", content_type="text/plain", operation="verify.start")
    sandbox.add_fault("status", status=503, operation="verify.pin")
    assert api.verify_number(**ACCOUNT, to=PHONE) == "FAILED 209"
    with pytest.raises(ApiException) as caught:
        check(api, "abc", "1234")
    assert caught.value.status == HTTPStatus.SERVICE_UNAVAILABLE


# --- field by field ---------------------------------------------------------------------------------------------------

OPTIONS: dict[str, Any] = {
    "template": "Kood: <PIN> & äge +%",
    "pin_length": 6,
    "max_tries": 1,
    "retry_delay": 40,
    "validity": 300,
}
# Where the requests differ, and why.
DIFFERENT_HEADERS = {
    "user-agent",  # each names itself
    "accept-encoding",  # ours asks for a plain body, since a small compressed one can become a huge one
    "host",  # equal in truth; the ports of two sandboxes are not
    "content-type",  # theirs says application/json although there is no body; ours says nothing about none
}


def fields(request: Request) -> dict[str, Any]:
    """A request's parts: all that a server can decide by."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    return {
        "method": request.method,
        "path": request.path,
        "query": dict(parse_qsl(request.query, keep_blank_values=True, strict_parsing=True)),
        "keys": [key for key, _ in parse_qsl(request.query, keep_blank_values=True)],
        "body": request.body,
        "headers": {name: value for name, value in headers.items() if name not in DIFFERENT_HEADERS},
    }


def compared(requests: list[Request]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Their request and ours; the order of the keys in a query does not count."""
    theirs, ours = map(fields, requests)
    for each in (theirs, ours):
        each["keys"].sort()
    return theirs, ours


@pytest.mark.parametrize("options", [{}, {"pin_length": 8}, OPTIONS, {**OPTIONS, "sender": "Shop"}])
def test_start__is_their_request(
    api: NumberVerificationApi, ours: NumberVerification, requests: list[Request], options: dict[str, Any]
) -> None:
    theirs = {"var_from" if name == "sender" else name: str(value) for name, value in options.items()}
    start(api, **theirs)
    ours.start(PHONE, **options)
    their_request, our_request = compared(requests)
    assert our_request == their_request
    assert our_request["method"] == "POST"
    assert our_request["path"] == "/verify/start"
    assert our_request["body"] == b""
    assert our_request["query"]["password"] == PASSWORD
    assert set(our_request["headers"]) == {"accept", "content-length"}


def test_pin__is_their_request(
    api: NumberVerificationApi, ours: NumberVerification, requests: list[Request], sandbox: Sandbox
) -> None:
    verification_id = start(api)
    pin = sandbox.last_pin(PHONE)
    requests.clear()
    assert check(api, verification_id, wrong(pin)) == "INVALID"
    assert ours.pin(verification_id, wrong(pin)).invalid
    their_request, our_request = compared(requests)
    assert our_request == their_request
    assert our_request["path"] == "/verify/pin"
    assert set(our_request["query"]) == {"username", "password", "verification_id", "pin"}


def test_queries__are_encoded_alike_but_for_the_blank(
    api: NumberVerificationApi, ours: NumberVerification, requests: list[Request]
) -> None:
    """They write %20 for a blank, we write +, as forms do; servers read both alike, as the tests above show."""
    start(api, template=OPTIONS["template"])
    ours.start(PHONE, template=OPTIONS["template"])
    theirs, mine = ({pair.partition("=")[0]: pair for pair in each.query.split("&")} for each in requests)
    assert {key: pair.replace("+", "%20") for key, pair in mine.items()} == theirs


def test_body_form__has_the_same_parameters_in_another_place(
    api: NumberVerificationApi, sandbox: Sandbox, requests: list[Request]
) -> None:
    """The form that nobody has tried on the live service: ``parameters_in="body"``."""
    start(api)
    client = NumberVerification(USERNAME, PASSWORD, sandbox.url, parameters_in="body")
    client.start(PHONE)
    client.close()
    theirs, mine = requests
    assert (mine.query, mine.content_type) == ("", "application/x-www-form-urlencoded")
    assert dict(parse_qsl(mine.body.decode())) == dict(parse_qsl(theirs.query))
