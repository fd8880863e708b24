"""What a client reads out of the body of an error, and what it does not believe."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import Connection, Server

from django_verigator.client import Transport
from django_verigator.client.answers import MAX_BODY, BadAnswer, parse_object
from django_verigator.exceptions import InternalError, InvalidDataError, ThrottledError, VerigatorError

Serve = Callable[..., Server]
CODED = b'{"code": "105"}'


def read_error(status: int, body: bytes) -> VerigatorError | None:
    if parse_object(body).get("code") != "105":
        return None
    return InvalidDataError("the provider does not know the number", provider_code="105")


def failure(serve: Serve, body: bytes, status: str = "400 Bad Request", headers: str = "") -> VerigatorError:
    def script(connection: Connection) -> None:
        while connection.request():
            connection.answer(body, status, headers)

    server = serve(script)
    transport = Transport(server.url, headers={}, read_error=read_error)
    with pytest.raises(VerigatorError) as caught:
        for _ in range(2):
            with pytest.raises(VerigatorError):
                transport.call("POST", "/messages", dict)
        transport.call("POST", "/messages", dict)
    transport.close()
    assert server.connections == 1, "a body that is read to its end leaves the connection open"
    return caught.value


def test_error_body__its_code_makes_the_error(serve: Serve) -> None:
    error = failure(serve, CODED)
    assert (type(error), error.provider_code, error.status) == (InvalidDataError, "105", 400)
    assert (error.method, error.path, error.sent) == ("POST", "/messages", True)
    assert error.details == {"reason": "invalid_data", "status": 400, "provider_code": "105"}
    assert error.__context__ is None


def test_error_body__keeps_how_long_to_wait(serve: Serve) -> None:
    assert failure(serve, CODED, "429 Too Many Requests", "Retry-After: 7\r\n").retry_after == 7


@pytest.mark.parametrize(
    "body", [b"", b"no JSON", b"[]", b'{"code": "105", "code": "1"}', b'{"code": 7}', b"\xff", b"[" * 9999]
)
def test_error_body__the_status_decides_where_it_says_nothing(serve: Serve, body: bytes) -> None:
    error = failure(serve, body, "429 Too Many Requests")
    assert (type(error), error.provider_code) == (ThrottledError, "")


def test_error_body__the_status_decides_where_it_is_too_long(serve: Serve) -> None:
    server = serve(lambda connection: (connection.request(), connection.answer(CODED + b" " * MAX_BODY, "500 No")))
    with pytest.raises(InternalError):
        Transport(server.url, headers={}, read_error=read_error).call("POST", "/messages", dict)


def test_error_body__the_status_decides_where_it_is_cut(serve: Serve) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.sock.sendall(b"HTTP/1.1 503 No\r\nContent-Length: 99\r\n\r\n" + CODED)

    with pytest.raises(InternalError) as caught:
        Transport(serve(script).url, headers={}, read_error=read_error).call("POST", "/messages", dict)
    assert caught.value.status == 503


def test_error_body__a_redirect_is_not_read(serve: Serve) -> None:
    assert failure(serve, CODED, "302 Found").reason == "invalid_response"


def test_error_body__words_of_the_reader_do_not_get_out(serve: Serve) -> None:
    def refuse(status: int, body: bytes) -> VerigatorError:
        raise BadAnswer("not of this call")

    server = serve(lambda connection: (connection.request(), connection.answer(CODED, "404 Not Found")))
    with pytest.raises(VerigatorError) as caught:
        Transport(server.url, headers={}, read_error=refuse).call("POST", "/messages", dict)
    assert caught.value.reason == "not_found"
