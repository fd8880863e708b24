"""Group M: what the provider may answer, and what is believed of it; by the rows' ids."""

from __future__ import annotations

import gzip
import json
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest
import responses

from django_verigator.client import Api
from django_verigator.exceptions import (
    InternalError,
    InvalidDataError,
    InvalidResponseError,
    NoSuchResourceError,
    ResourceAlreadyExistsError,
    ResourceForbiddenError,
    ThrottledError,
    VerigatorError,
    WrongCredentialsError,
)

PATH = "/v1/service/service/sid/users/uid/auth"
URL = f"https://api.verigator.com{PATH}"


@pytest.fixture
def api() -> Api:
    return Api("canary-user", "canary-pass")


def ask(api: Api, method: str) -> Any:
    return api.auth.verify("sid", "uid", "0042") if method == "PUT" else api.auth.initiate("sid", "uid", "sms")


def refused(api: Api, method: str, **answer: Any) -> VerigatorError:
    """The error for an answer; there was exactly one request, and it is known to be sent."""
    with responses.RequestsMock() as mock:
        mock.add(method, URL, **answer)
        with pytest.raises(VerigatorError) as caught:
            ask(api, method)
        assert len(mock.calls) == 1
    error = caught.value
    assert (error.sent, error.method, error.path) == (True, method, PATH)
    assert error.__cause__ is None
    assert error.__context__ is None
    return error


@pytest.mark.threat("M01")
@pytest.mark.parametrize("value", ['"false"', '"true"', "1", "0", "[false]", "[true]", "{}", "null", "1.0", '""'])
def test_put__verified_that_is_no_boolean(api: Api, value: str) -> None:
    error = refused(api, "PUT", body=f'{{"verified": {value}}}')
    assert type(error) is InvalidResponseError
    assert error.status == 200


DUPLICATES = [
    '{"verified": true, "verified": false}',
    '{"verified": false, "verified": true}',
    '{"verified": true, "status": {"invalid": true, "invalid": false}}',
]


@pytest.mark.threat("M01")
@pytest.mark.parametrize("body", ["{}", '{"method": "sms"}', *DUPLICATES])
def test_put__missing_or_twice(api: Api, body: str) -> None:
    assert type(refused(api, "PUT", body=body)) is InvalidResponseError


BAD_METHODS = ["{}", '{"method": "sms", "method": "totp"}', '{"method": null}', '{"method": true}', '{"method": "SMS"}']


@pytest.mark.threat("M01")
@pytest.mark.parametrize("body", [*BAD_METHODS, '{"method": ["sms"]}', '{"method": ""}', '{"method": "voice"}'])
def test_post__method_missing_twice_or_strange(api: Api, body: str) -> None:
    assert type(refused(api, "POST", body=body)) is InvalidResponseError


@pytest.mark.threat("M01")
def test_put__true_is_believed(api: Api) -> None:
    """So that the refusals above are not refusals of everything."""
    with responses.RequestsMock() as mock:
        mock.put(URL, body=b'{"verified": true, "method": "sms", "status": null, "new": 1}')
        verdict = api.auth.verify("sid", "uid", "0042")
    assert (verdict.verified, verdict.status, verdict.method) == (True, None, "sms")


NO_OBJECTS = {
    "html": b"<html>true</html>",
    "empty": b"",
    "true": b"true",
    "list": b'[{"verified": true, "method": "sms"}]',
    "text": b"verified",
    "null": b"null",
    "bom": b'\xef\xbb\xbf{"verified": true, "method": "sms"}',
    "utf-16": '{"verified": true, "method": "sms"}'.encode("utf-16"),
    "latin-1": b'{"verified": true, "method": "sms", "x": "\xe9"}',
    "nan": b'{"verified": true, "method": "sms", "x": NaN}',
    "infinity": b'{"verified": true, "method": "sms", "x": -Infinity}',
    "two": b'{"verified": true, "method": "sms"}{}',
    "cut": b'{"verified": true, "method": "sms"',
    "deep": b'{"verified": true, "method": "sms", "x": ' + b"[" * 30000 + b"]" * 30000 + b"}",
    "digits": b'{"verified": true, "method": "sms", "x": ' + b"1" * 5000 + b"}",
}


@pytest.mark.threat("M02")
@pytest.mark.parametrize("name", NO_OBJECTS)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_body__that_is_no_json_object(api: Api, method: str, name: str) -> None:
    error = refused(api, method, body=NO_OBJECTS[name], content_type="text/plain")
    assert type(error) is InvalidResponseError


@pytest.mark.threat("M02")
@pytest.mark.parametrize("status", [201, 202, 203, 204, 205, 206, 226, 299])
def test_put__another_success_than_200(api: Api, status: int) -> None:
    error = refused(api, "PUT", json={"verified": True}, status=status)
    assert type(error) is InvalidResponseError
    assert error.status == status


@pytest.mark.threat("M02")
@pytest.mark.parametrize("status", [200, 201, 202])
def test_post__any_success(api: Api, status: int) -> None:
    with responses.RequestsMock() as mock:
        mock.post(URL, json={"method": "sms"}, status=status)
        assert api.auth.initiate("sid", "uid", "sms") == "sms"


@pytest.mark.threat("M03")
@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308, 399])
@pytest.mark.parametrize("location", ["https://evil.example/", "http://api.verigator.com/", "http://127.0.0.1/", URL])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_redirect__is_not_followed(api: Api, method: str, location: str, status: int) -> None:
    body = {"verified": True, "method": "sms"}
    error = refused(api, method, json=body, status=status, headers={"Location": location})
    assert type(error) is InvalidResponseError
    assert error.status == status


STATUSES = [
    (400, InvalidDataError),
    (401, WrongCredentialsError),
    (402, VerigatorError),
    (403, ResourceForbiddenError),
    (404, NoSuchResourceError),
    (405, VerigatorError),
    (408, VerigatorError),
    (409, ResourceAlreadyExistsError),
    (418, VerigatorError),
    (422, InvalidDataError),
    (429, ThrottledError),
    (499, VerigatorError),
    (500, InternalError),
    (502, InternalError),
    (503, InternalError),
    (504, InternalError),
    (599, InternalError),
    (600, InvalidResponseError),
    (999, InvalidResponseError),
]
CANARY = "canary-text <b>\x1b[31m\r\nERROR forged"
ERROR_BODIES: list[str | bytes] = [
    "",
    "<html>canary</html>",
    json.dumps({"message": CANARY, "verified": True, "method": "sms"}),
    "[]",
    b"\xff" * 200_000,
    gzip.compress(b"canary" * 1000),
]


@pytest.mark.threat("M04", "F08")
@pytest.mark.parametrize(("status", "kind"), STATUSES)
@pytest.mark.parametrize("body", ERROR_BODIES, ids=["empty", "html", "json", "list", "long", "gzip"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_error_status__decides_alone_and_echoes_nothing(
    api: Api, method: str, body: str | bytes, status: int, kind: type[VerigatorError]
) -> None:
    error = refused(api, method, body=body, status=status)
    assert type(error) is kind
    assert error.status == error.code == status
    assert "canary" not in f"{error!s}{error!r}{error.__dict__}"


@pytest.mark.threat("M06")
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_body__longer_than_the_cap(api: Api, method: str) -> None:
    body = b'{"verified": true, "method": "sms"' + b" " * 65536 + b"}"
    assert type(refused(api, method, body=body)) is InvalidResponseError


@pytest.mark.threat("M06")
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_body__just_as_long_as_the_cap(api: Api, method: str) -> None:
    body = b'{"verified": true, "method": "sms"'
    with responses.RequestsMock() as mock:
        mock.add(method, URL, body=body + b" " * (65535 - len(body)) + b"}")
        assert ask(api, method)


@pytest.mark.threat("M06")
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, gzip", "strange"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_compressed_body__is_not_inflated(api: Api, method: str, encoding: str) -> None:
    body = gzip.compress(json.dumps({"verified": True, "method": "sms"}).encode() + b" " * 50_000_000)
    error = refused(api, method, body=body, headers={"Content-Encoding": encoding})
    assert type(error) is InvalidResponseError


@pytest.mark.threat("M06")
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_body__that_claims_to_be_compressed(api: Api, method: str) -> None:
    answer = {"verified": True, "method": "sms"}
    error = refused(api, method, json=answer, headers={"Content-Encoding": "gzip"})
    assert type(error) is InvalidResponseError


@pytest.mark.threat("M09")
@pytest.mark.parametrize("about", [{"user_id": "other"}, {"id": "other"}, {"service_id": "other"}, {"user_id": None}])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_answer__about_another_user(api: Api, method: str, about: dict[str, object]) -> None:
    assert type(refused(api, method, json={"verified": True, "method": "sms", **about})) is InvalidResponseError


@pytest.mark.threat("M09")
def test_answer__about_this_user(api: Api) -> None:
    with responses.RequestsMock() as mock:
        mock.put(URL, json={"verified": True, "user_id": "uid", "service_id": "sid", "id": "uid"})
        assert api.auth.verify("sid", "uid", "0042")


@pytest.mark.threat("M09")
@pytest.mark.parametrize("answered", ["voice", "", 1, True, ["sms"]])
def test_put__unknown_method(api: Api, answered: object) -> None:
    assert type(refused(api, "PUT", json={"verified": True, "method": answered})) is InvalidResponseError


@pytest.mark.threat("M09")
def test_post__totp_where_sms_was_asked(api: Api) -> None:
    """Only the other way round is in the protocol."""
    assert type(refused(api, "POST", json={"method": "totp"})) is InvalidResponseError


@pytest.mark.threat("M09")
def test_get__another_id_than_asked(api: Api) -> None:
    with responses.RequestsMock() as mock:
        mock.get(URL.removesuffix("/auth"), json={"id": "other", "ctime": "x", "id_in_service": "alice"})
        mock.get("https://api.verigator.com/v1/service/service/sid", json={"id": "other", "ctime": "x", "name": "y"})
        with pytest.raises(InvalidResponseError):
            api.users.get("sid", "uid")
        with pytest.raises(InvalidResponseError):
            api.services.get("sid")


CLEAR = {"throttled": False, "expired": False, "invalid": False}


@pytest.mark.threat("M10")
@pytest.mark.parametrize("flag", ["throttled", "expired", "invalid"])
def test_put__true_with_a_flag_that_says_no(api: Api, flag: str) -> None:
    with responses.RequestsMock() as mock:
        mock.put(URL, json={"verified": True, "status": {**CLEAR, flag: True}})
        verdict = api.auth.verify("sid", "uid", "0042")
    assert not verdict
    assert verdict.verified is False
    assert getattr(verdict, flag) is True
    assert verdict.status == {**CLEAR, flag: True, "result": flag.upper()}


@pytest.mark.threat("M10")
@pytest.mark.parametrize("word", ["INVALID", "EXPIRED", "THROTTLED"])
def test_put__true_with_a_word_that_says_no(api: Api, word: str) -> None:
    with responses.RequestsMock() as mock:
        mock.put(URL, json={"verified": True, "status": {**CLEAR, "result": word}})
        assert not api.auth.verify("sid", "uid", "0042")


@pytest.mark.threat("M10")
@pytest.mark.parametrize("status", [{}, CLEAR, {**CLEAR, "result": "VERIFIED"}, {"throttled": None}])
def test_put__true_with_nothing_against_it(api: Api, status: dict[str, object]) -> None:
    with responses.RequestsMock() as mock:
        mock.put(URL, json={"verified": True, "status": status})
        assert tuple(api.auth.verify("sid", "uid", "0042")) == (True, None)


@pytest.mark.threat("M10")
@pytest.mark.parametrize("status", ["EXPIRED", [], 5, True, {"throttled": "false"}, {"expired": 0}, {"invalid": []}])
@pytest.mark.parametrize("verified", [True, False])
def test_put__status_in_a_strange_form(api: Api, verified: bool, status: object) -> None:
    assert type(refused(api, "PUT", json={"verified": verified, "status": status})) is InvalidResponseError


@pytest.mark.threat("M10")
def test_put__provider_text_stays_out_of_the_reason(api: Api) -> None:
    with responses.RequestsMock() as mock:
        mock.put(URL, json={"verified": False, "status": {**CLEAR, "expired": True, "result": CANARY, "more": CANARY}})
        verdict = api.auth.verify("sid", "uid", "0042")
    assert verdict.status == {**CLEAR, "expired": True, "result": "EXPIRED"}


def http_date(**later: float) -> str:
    return format_datetime(datetime.now(timezone.utc) + timedelta(**later), usegmt=True)


@pytest.mark.threat("M11")
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("text", "wait"),
    [
        (None, None),
        ("0", 0),
        ("17", 17),
        ("3600", 3600),
        ("315360000", 3600),
        ("9" * 5000, 3600),
        ("-5", None),
        ("1.5", None),
        ("abc", None),
        ("٣", None),
        ("", None),
        ("17, 18", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00 -0000", 0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
        pytest.param(http_date(days=3650), 3600, id="in ten years"),
    ],
)
def test_retry_after(api: Api, text: str | None, wait: int | None, status: int) -> None:
    headers = {} if text is None else {"Retry-After": text}
    assert refused(api, "PUT", status=status, headers=headers).retry_after == wait


@pytest.mark.threat("M11")
def test_retry_after__a_date_soon(api: Api) -> None:
    started = time.monotonic()
    error = refused(api, "POST", status=429, headers={"Retry-After": http_date(seconds=100)})
    assert error.retry_after is not None
    assert 98 - (time.monotonic() - started) <= error.retry_after <= 100


@pytest.mark.threat("M11")
def test_retry_after__not_read_elsewhere(api: Api) -> None:
    assert refused(api, "POST", status=500, headers={"Retry-After": "17"}).retry_after is None
