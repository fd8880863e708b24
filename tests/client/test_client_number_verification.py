"""The client of Number Verification: what it sends, what it believes, and when it asks the backup host."""

from __future__ import annotations

import contextlib
import copy
import http.client
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl

import pytest
import requests
import responses
import urllib3
from conftest import CERTS, Connection, Server

from django_verigator.client import NumberVerification, Verification, before_request
from django_verigator.exceptions import (
    ConnectionFailedError,
    InternalError,
    InvalidDataError,
    InvalidResponseError,
    NoSuchResourceError,
    RequestTimeoutError,
    ResourceForbiddenError,
    VerigatorError,
    WrongCredentialsError,
)

Serve = Callable[..., Server]
Client = Callable[..., NumberVerification]
Clock = Callable[..., contextlib.AbstractContextManager[None]]
CREDENTIAL = "canary-user&a=b", "canary:päss+ %"
NUMBER, PIN = "+37251234567", "004242"
SECRETS = ["canary", "004242", "51234567"]
API2, API3 = "https://api2.messente.com/verify", "https://api3.messente.com/verify"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def client() -> Iterator[Client]:
    """``client(url, **options)`` makes one that trusts the test CA."""
    made: list[NumberVerification] = []

    def make(url: str = "https://api2.messente.com", **options: Any) -> NumberVerification:
        trust = {"ca_bundle": str(CERTS / "ca.pem")} if "127.0.0.1" in url else {}
        made.append(NumberVerification(*CREDENTIAL, url, **{**trust, **options}))
        return made[-1]

    yield make
    for api in made:
        api.close()


@pytest.fixture
def hasty(client: Client) -> Client:
    def make(url: str, **options: Any) -> NumberVerification:
        return client(url, **{"connect_timeout": 0.2, "read_timeout": 0.2, "total_timeout": 0.3, **options})

    return make


def start(api: NumberVerification) -> object:
    return api.start(NUMBER)


def pin(api: NumberVerification) -> object:
    return api.pin("abc", PIN)


each_call = pytest.mark.parametrize("call", [start, pin])


def failure(call: Callable[[NumberVerification], object], api: NumberVerification) -> VerigatorError:
    with pytest.raises(VerigatorError) as caught:
        call(api)
    assert caught.value.__context__ is None
    return caught.value


def says(text: str, status: str = "200 OK") -> Callable[[Connection], None]:
    def script(connection: Connection) -> None:
        while connection.request():
            connection.answer(text.encode(), status)

    return script


def hangs(connection: Connection) -> None:
    connection.request()
    connection.server.stopped.wait()


# --- what goes out ----------------------------------------------------------------------------------------------------


ACCOUNT = {"username": CREDENTIAL[0], "password": CREDENTIAL[1]}
OPTIONS: dict[str, Any] = {
    "template": "Kood <PIN> & äge",
    "sender": "Shop",
    "pin_length": 6,
    "max_tries": 1,
    "retry_delay": 40,
    "validity": 300,
}
each_place = pytest.mark.parametrize("parameters_in", ["query", "body"])


def sent(server: Server) -> list[tuple[str, dict[str, str], str, str]]:
    """What has come in: the method and path, the parameters, and the head and body without them."""
    found = []
    for head, body in server.requests:
        method, target, _ = head.split(" ", 2)
        path, _, query = target.partition("?")
        found.append((f"{method} {path}", dict(parse_qsl(query or body.decode())), head.lower(), body.decode()))
    return found


@each_place
def test_start__puts_everything_into_one_place(serve: Serve, client: Client, parameters_in: str) -> None:
    server = serve(says("OK 01ab-CD.ef~"))
    assert client(server.url, parameters_in=parameters_in).start(NUMBER) == "01ab-CD.ef~"
    client(server.url, parameters_in=parameters_in).start(NUMBER, **OPTIONS)
    (call, first, head, body), (_, second, _, _) = sent(server)
    assert call == "POST /verify/start"
    assert first == {**ACCOUNT, "to": NUMBER}
    assert second == {
        **ACCOUNT,
        "to": NUMBER,
        "template": OPTIONS["template"],
        "from": "Shop",
        "pin_length": "6",
        "max_tries": "1",
        "retry_delay": "40",
        "validity": "300",
    }
    assert (f"content-type: {FORM}" in head) is (body != "") is (parameters_in == "body")
    assert f"content-length: {len(body)}" in head
    assert "accept-encoding: identity" in head
    assert "x-service-auth" not in head


@each_place
def test_pin__puts_everything_into_one_place(serve: Serve, client: Client, parameters_in: str) -> None:
    server = serve(says("VERIFIED"))
    verdict = client(server.url, parameters_in=parameters_in).pin("a b&c=d", PIN)
    assert verdict == Verification(True, None, "sms")
    ((call, parameters, head, body),) = sent(server)
    assert call == "POST /verify/pin"
    assert parameters == {**ACCOUNT, "verification_id": "a b&c=d", "pin": PIN}
    assert ("?" in head.split("\r\n")[0]) is (body == "") is (parameters_in == "query")


def test_place__is_the_query_unless_said_otherwise(serve: Serve, client: Client) -> None:
    server = serve(says("VERIFIED"))
    client(server.url).pin("abc", PIN)
    ((_, parameters, _, body),) = sent(server)
    assert (parameters["pin"], body) == (PIN, "")
    for wrong in ("", "header", True, None):
        with pytest.raises(ValueError, match="parameters_in"):
            client(server.url, parameters_in=wrong)


@pytest.fixture
def listeners(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What a site may have on to see its calls: every log at DEBUG, and what tracers put around requests, urllib3 and
    http.client. Returns what they have seen."""
    for name in ("", "urllib3", "urllib3.connectionpool", "requests", "django_verigator"):
        caplog.set_level(logging.DEBUG, logger=name)
    monkeypatch.setattr("http.client.HTTPConnection.debuglevel", 1)
    seen: list[str] = []

    def listen(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def listening(*args: Any, **kwargs: Any) -> Any:
            result = real(*args, **kwargs)
            for value in (*args, *kwargs.values(), result):
                seen.append(f"{owner.__name__}.{name} {value!r} {shape(value)}")
            return result

        monkeypatch.setattr(owner, name, listening)

    for owner, name in (
        (requests.Session, "send"),
        (requests.adapters.HTTPAdapter, "send"),
        (requests.adapters.HTTPAdapter, "build_response"),
        (http.client.HTTPConnection, "putrequest"),
        (http.client.HTTPResponse, "begin"),
        (urllib3.connectionpool.HTTPConnectionPool, "urlopen"),
    ):
        listen(owner, name)
    return seen


def shape(value: Any) -> str:
    """What a tracer can read of a request or an answer: each attribute as it shows itself, and its address as text."""
    attributes = dict(getattr(value, "__dict__", {}))
    return f"{attributes!r} {attributes.get('url', '')} {attributes.get('path_url', '')}"


@pytest.mark.threat("F05")
@each_place
@pytest.mark.parametrize("tls", [False, True])
def test_parameters__are_seen_by_nobody_who_listens_here(
    serve: Serve,
    client: Client,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    listeners: list[str],
    parameters_in: str,
    tls: bool,
) -> None:
    server = serve(says("VERIFIED"), "good.pem" if tls else None)
    api = client(server.url, parameters_in=parameters_in)
    with contextlib.suppress(VerigatorError):  # VERIFIED is no answer to a start
        api.start(NUMBER)
    assert api.pin("abc", PIN)
    assert [parameters["username"] for _, parameters, _, _ in sent(server)] == [CREDENTIAL[0]] * 2
    out, err = capfd.readouterr()
    shown = "\n".join([*listeners, caplog.text, out, err])
    assert "Session.send" in shown
    assert "build_response" in shown
    assert "POST /verify/pin HTTP" in shown
    assert [secret for secret in SECRETS if secret in shown] == []


@pytest.mark.threat("F05")
def test_listeners__would_have_seen_a_query_of_requests(
    serve: Serve, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, listeners: list[str]
) -> None:
    """The control: the same request as ``requests`` makes it by itself."""
    server = serve(says("VERIFIED"))
    requests.post(f"{server.url}/verify/pin", params={"pin": PIN}, timeout=5)
    for shown in ("\n".join(listeners), caplog.text, capfd.readouterr().out):
        assert PIN in shown


@pytest.mark.threat("F05")
def test_responses__which_tests_of_sites_use_shows_an_address_without_query(client: Client) -> None:
    with responses.RequestsMock() as mock:
        mock.post(f"{API2}/pin", body="VERIFIED")
        assert client().pin("abc", PIN)
        (call,) = mock.calls
    assert (call.request.url, call.response.url, call.request.body) == (f"{API2}/pin", f"{API2}/pin", None)


@pytest.mark.parametrize("number", ["", " ", None, 37251234567])
def test_argument__that_is_no_text_sends_nothing(client: Client, number: Any) -> None:
    with responses.RequestsMock(), pytest.raises(ValueError, match="must be a str"):
        client().start(number)
    for arguments in ((number, PIN), ("abc", number)):
        with responses.RequestsMock(), pytest.raises(ValueError, match="must be a str"):
            client().pin(*arguments)
    with responses.RequestsMock(), pytest.raises(ValueError, match="no valid text") as caught:
        client().pin("abc", f"{PIN}\ud800")
    assert PIN not in str(caught.value)


def test_before_request__sees_each_call(client: Client) -> None:
    seen: list[tuple[str, str]] = []
    before_request.append(lambda method, path: seen.append((method, path)))
    try:
        with responses.RequestsMock() as mock:
            mock.post(f"{API2}/start", body="FAILED 209")
            mock.post(f"{API3}/start", body="OK x")
            client().start(NUMBER)
    finally:
        before_request.pop()
    assert seen == [("POST", "/verify/start")] * 2


# --- what is believed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_line_ends__do_not_count(client: Client, end: str) -> None:
    with responses.RequestsMock() as mock:
        mock.post(f"{API2}/start", body=f"OK abc{end}")
        mock.post(f"{API2}/pin", body=f"VERIFIED{end}")
        assert client().start(NUMBER) == "abc"
        assert client().pin("abc", PIN)


@pytest.mark.parametrize("word", ["INVALID", "EXPIRED", "THROTTLED"])
def test_verdicts(client: Client, word: str) -> None:
    with responses.RequestsMock() as mock:
        mock.post(f"{API2}/pin", body=word)
        verdict = client().pin("abc", PIN)
    assert not verdict
    assert (verdict.invalid, verdict.expired, verdict.throttled) == tuple(
        word == each for each in ("INVALID", "EXPIRED", "THROTTLED")
    )
    assert tuple(verdict) == (
        False,
        {"invalid": verdict.invalid, "expired": verdict.expired, "throttled": verdict.throttled, "result": word},
    )


ERRORS = [
    ("ERROR 101", WrongCredentialsError, 401),
    ("ERROR 102", InvalidDataError, 422),
    ("ERROR 103", ResourceForbiddenError, 403),
    ("ERROR 109", InvalidDataError, 422),
    ("ERROR 110", NoSuchResourceError, 404),
    ("ERROR 111", InvalidDataError, 422),
    ("ERROR 209", InternalError, 503),
    ("FAILED 209", InternalError, 503),
    ("ERROR 105", InvalidResponseError, 200),
    ("FAILED 102", InvalidResponseError, 200),
    ("ERROR", InvalidResponseError, 200),
    ("ERROR 101 canary", InvalidResponseError, 200),
    ("error 101", InvalidResponseError, 200),
]


@each_call
@pytest.mark.parametrize(("text", "kind", "status"), ERRORS)
def test_errors__have_the_status_that_says_the_same(
    client: Client, call: Any, text: str, kind: type[VerigatorError], status: int
) -> None:
    with responses.RequestsMock() as mock:
        mock.post(f"{API2}/{call.__name__}", body=text)
        error = failure(call, client(backup_endpoint=""))
        assert len(mock.calls) == 1
    assert type(error) is kind
    assert (error.status, error.sent, error.method, error.path) == (status, True, "POST", f"/verify/{call.__name__}")
    assert "canary" not in f"{error!s}{error.__dict__}"


@pytest.mark.threat("M01")
def test_start__that_is_verified_without_a_pin_is_an_error(client: Client) -> None:
    with responses.RequestsMock() as mock:
        mock.post(f"{API2}/start", body="VERIFIED")
        assert type(failure(start, client())) is InvalidResponseError


@pytest.mark.parametrize("number", ["a" * 255, "!~%00../", "1"])
def test_id__is_opaque(client: Client, number: str) -> None:
    with responses.RequestsMock() as mock:
        mock.post(f"{API2}/start", body=f"OK {number}")
        assert client().start(NUMBER) == number


@pytest.mark.threat("M03")
@each_call
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect__is_not_followed(serve: Serve, client: Client, call: Any, status: int) -> None:
    evil = serve(says("VERIFIED"))

    def script(connection: Connection) -> None:
        connection.request()
        connection.answer(b"VERIFIED", f"{status} Moved", f"Location: {evil.url}/verify/pin\r\n")

    server = serve(script)
    error = failure(call, client(server.url, backup_endpoint=evil.url))
    assert type(error) is InvalidResponseError
    assert (len(server.requests), len(evil.requests)) == (1, 0)


# --- the backup -------------------------------------------------------------------------------------------------------


@each_call
@pytest.mark.parametrize("text", ["FAILED 209", "ERROR 209"])
def test_backup__is_asked_once_after_209(client: Client, call: Any, text: str) -> None:
    name = call.__name__
    with responses.RequestsMock() as mock:
        mock.post(f"{API2}/{name}", body=text)
        mock.post(f"{API3}/{name}", body={"start": "OK x", "pin": "VERIFIED"}[name])
        assert call(client())
        assert [each.request.url for each in mock.calls] == [f"{API2}/{name}", f"{API3}/{name}"]
        assert mock.calls[0].request.body == mock.calls[1].request.body


@each_call
def test_backup__that_fails_too_is_not_asked_again(client: Client, call: Any) -> None:
    with responses.RequestsMock() as mock:
        for host in (API2, API3):
            mock.post(f"{host}/{call.__name__}", body="FAILED 209")
        assert failure(call, client()).status == 503
        assert len(mock.calls) == 2


@pytest.mark.parametrize("text", ["ERROR 101", "ERROR 102", "ERROR 110", "INVALID", "EXPIRED", "THROTTLED", "strange"])
def test_backup__is_not_asked_after_another_answer(serve: Serve, client: Client, text: str) -> None:
    first, second = serve(says(text)), serve(says("VERIFIED"))
    api = client(first.url, backup_endpoint=second.url)
    with contextlib.suppress(VerigatorError):
        assert not api.pin("abc", PIN)
    assert (len(first.requests), len(second.requests)) == (1, 0)


@pytest.mark.threat("R09")
@each_call
@pytest.mark.parametrize("status", ["500 No", "502 No", "503 No", "404 No", "429 No"])
def test_backup__is_not_asked_after_an_http_error(serve: Serve, client: Client, call: Any, status: str) -> None:
    first, second = serve(says("FAILED 209", status)), serve(says("OK x"))
    assert failure(call, client(first.url, backup_endpoint=second.url)).sent is True
    assert (len(first.requests), len(second.requests)) == (1, 0)


@pytest.mark.threat("R06", "R07")
@each_call
def test_backup__is_not_asked_after_a_lost_reply(serve: Serve, hasty: Client, call: Any) -> None:
    second = serve(says("OK x"))
    for script in (lambda connection: connection.request() and None, hangs):
        first = serve(script)
        assert failure(call, hasty(first.url, backup_endpoint=second.url)).sent is True
        assert first.wait_for_requests(1) == 1
    assert second.requests == []


def refused_port(serve: Serve) -> str:
    server = serve(says(""))
    server.stop()
    return server.url


@pytest.mark.threat("R01")
def test_backup__is_asked_where_nobody_listens(serve: Serve, client: Client) -> None:
    second = serve(says("OK x"))
    assert client(refused_port(serve), backup_endpoint=second.url).start(NUMBER) == "x"
    assert len(second.requests) == 1


@pytest.mark.threat("R01")
def test_backup__nobody_listens_at_either(serve: Serve, client: Client) -> None:
    error = failure(start, client(refused_port(serve), backup_endpoint=refused_port(serve)))
    assert type(error) is ConnectionFailedError
    assert error.sent is False


def test_backup__that_is_not_there_leaves_what_the_first_host_said(serve: Serve, client: Client) -> None:
    error = failure(start, client(serve(says("FAILED 209")).url, backup_endpoint=refused_port(serve)))
    assert (error.status, error.sent) == (503, True)


def test_backup__both_share_one_deadline(serve: Serve, client: Client, clock: Clock) -> None:
    def slow(connection: Connection) -> None:
        connection.request()
        if not connection.server.stopped.wait(0.8):
            connection.answer(b"FAILED 209")

    first, second = serve(slow), serve(hangs)
    api = client(first.url, backup_endpoint=second.url, read_timeout=5, total_timeout=1.5)
    with clock(1.5):
        error = failure(start, api)
    assert type(error) is RequestTimeoutError
    assert error.sent is True
    assert (first.wait_for_requests(1), second.wait_for_requests(1)) == (1, 1)


def test_within__bounds_both_hosts_together(serve: Serve, client: Client, clock: Clock) -> None:
    api = client(serve(hangs).url, backup_endpoint=serve(hangs).url)
    with clock(0.2), api.within(0.2):
        assert type(failure(start, api)) is RequestTimeoutError
    with api.within(-1):
        assert failure(start, api).sent is False


@pytest.mark.parametrize(
    ("endpoint", "given", "backup"),
    [
        ("https://api2.messente.com", None, "https://api3.messente.com"),
        ("https://api2.messente.com/", None, "https://api3.messente.com"),
        ("https://api2.messente.com", "", ""),
        ("https://api2.messente.com", "https://other.example", "https://other.example"),
        ("http://127.0.0.1:8750", None, ""),
        ("https://other.example", None, ""),
    ],
)
def test_backup__is_the_providers_own_for_its_own_host_alone(
    client: Client, endpoint: str, given: str | None, backup: str
) -> None:
    assert client(endpoint, backup_endpoint=given).backup_endpoint == backup


# --- under fire -------------------------------------------------------------------------------------------------------


@pytest.mark.threat("M08")
@each_call
@pytest.mark.parametrize("certificate", ["selfsigned.pem", "wronghost.pem", "expired.pem"])
def test_certificate__refused_and_nothing_sent(
    serve: Serve, client: Client, call: Any, certificate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTS / certificate))
    server, backup = serve(says("VERIFIED"), certificate), serve(says("VERIFIED"), certificate)
    error = failure(call, client(server.url, backup_endpoint=backup.url))
    assert type(error) is ConnectionFailedError
    assert error.sent is False
    assert (server.requests, backup.requests) == ([], [])
    assert (server.connections, backup.connections) == (1, 1)


@pytest.mark.threat("M08")
def test_certificate__good(serve: Serve, client: Client) -> None:
    server = serve(says("VERIFIED"), "good.pem")
    assert client(server.url).pin("abc", PIN)
    assert len(server.requests) == 1
    assert failure(pin, client(server.url, ca_bundle=None)).sent is False


@pytest.mark.threat("M07")
def test_tls_handshake__that_drips(serve: Serve, client: Client, clock: Clock) -> None:
    def drips(connection: Connection) -> None:
        connection.sock.recv(65536)
        connection.drip(b"\x16\x03\x03\x3e\x80\x02\x00\x3e\x7c\x03\x03" + b"a" * 8)

    first, second = (serve(drips).url.replace("http:", "https:") for _ in range(2))
    api = client(first, backup_endpoint=second, connect_timeout=5, read_timeout=5, total_timeout=0.3)
    with clock():
        error = failure(start, api)
    assert type(error) is RequestTimeoutError
    assert error.sent is False


@pytest.mark.threat("M07")
@each_call
def test_headers__that_drip(serve: Serve, hasty: Client, clock: Clock, call: Any) -> None:
    def script(connection: Connection) -> None:
        connection.request()
        connection.drip(b"HTTP/1.1 200 OK\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")

    backup = serve(says("OK x"))
    with clock():
        error = failure(call, hasty(serve(script).url, backup_endpoint=backup.url))
    assert type(error) is RequestTimeoutError
    assert error.sent is True
    assert backup.requests == []


def frames(error: BaseException) -> str:
    """Every variable of every frame of ours that the exception went through, as a debug page shows them."""
    return "\n".join(
        f"{name}={value!r}"
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if "/tests/" not in frame.f_code.co_filename
        for name, value in frame.f_locals.items()
    )


@pytest.mark.threat("F05", "F06")
@each_place
@pytest.mark.parametrize("text", ["ERROR 101", "strange canary", "FAILED 209"])
def test_log_and_traceback__show_no_secret(
    serve: Serve, client: Client, caplog: pytest.LogCaptureFixture, text: str, parameters_in: str
) -> None:
    caplog.set_level(logging.DEBUG)
    api = client(serve(says(text)).url, backup_endpoint=serve(says(text)).url, parameters_in=parameters_in)
    for call in (start, pin):
        error = failure(call, api)
        shown = frames(error) + f"{error!r}{error!s}{error.__dict__}" + caplog.text
        assert "parameters=" in shown
        assert [secret for secret in SECRETS if secret in shown] == []


@pytest.mark.threat("F06")
@each_place
def test_traceback__of_an_interrupt_in_the_middle(
    serve: Serve, client: Client, monkeypatch: pytest.MonkeyPatch, parameters_in: str
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("http.client.HTTPResponse.begin", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        pin(client(serve(hangs).url, parameters_in=parameters_in))
    shown = frames(caught.value)
    assert "_receive" in "".join(frame.f_code.co_name for frame, _ in traceback.walk_tb(caught.value.__traceback__))
    assert [secret for secret in SECRETS if secret in shown] == []


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("value", ["", " ", None, 5, "a\ud800"])
def test_credentials__refused_without_an_echo(place: int, value: Any) -> None:
    pair: list[Any] = ["canary-user", "canary-password"]
    pair[place] = value
    with pytest.raises(ValueError, match="username and password") as caught:
        NumberVerification(*pair)
    assert "canary" not in frames(caught.value) + str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.threat("L03")
@pytest.mark.parametrize(
    "options",
    [
        {"endpoint": "http://api2.messente.com"},
        {"backup_endpoint": "http://api3.messente.com"},
        {"backup_endpoint": "api3"},
        {"total_timeout": 0},
        {"proxies": {"https": "socks5://127.0.0.1"}},
        {"ca_bundle": "/nowhere"},
    ],
)
def test_options__refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|cannot"):
        NumberVerification(*CREDENTIAL, **options)


@pytest.mark.threat("F09")
def test_client__shows_and_carries_no_credential(client: Client) -> None:
    api = client()
    assert repr(api) == "<NumberVerification endpoint='https://api2.messente.com'>"
    assert [secret for secret in SECRETS if secret in f"{vars(api)!r}{vars(api._transport)!r}"] == []
    for carry in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            carry(api)


def test_keep_alive__one_connection_for_a_thread(serve: Serve, client: Client) -> None:
    server = serve(says("VERIFIED"), "good.pem")
    api = client(server.url)
    for _ in range(3):
        api.pin("abc", PIN)
    assert server.connections == 1
