"""The calls that Messente's documentation shows, by the rows of its samples (P1 to P8), and what goes on the wire."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
import requests
import responses

from django_verigator import __version__
from django_verigator.client import Api, Service, StartedMethod, User, Verification, before_request
from django_verigator.exceptions import InvalidResponseError

ROOT = "https://api.verigator.com/v1/service/service"
SID = "81213bfd-b690-499e-b9d2-8754cb1550e8"
UID = "38fb335c-025d-45eb-9cf2-d2d4d9f54203"
SERVICE = {"id": SID, "name": "CoffeeShop", "ctime": "2017-07-06T13:12:03.141Z"}
USER = {"id": UID, "ctime": "2017-09-15T08:13:26.965341", "id_in_service": "john.doe@verigator.com"}
NUMBER = "+4401234567"


@pytest.fixture
def api() -> Api:
    return Api("api-user", "pass:word")


def sent() -> requests.PreparedRequest:
    return responses.calls[-1].request


@responses.activate
def test_P1_create_service(api: Api) -> None:
    responses.post(f"{ROOT}", json=SERVICE, status=201)
    service = api.services.create("http://example.com", "CoffeeShop")
    assert (service.id, service.name, service.creation_time) == (SID, "CoffeeShop", "2017-07-06T13:12:03.141Z")
    assert json.loads(sent().body) == {"fqdn": "http://example.com", "name": "CoffeeShop"}


@responses.activate
def test_P2_create_user(api: Api) -> None:
    responses.get(f"{ROOT}/{SID}", json=SERVICE)
    responses.post(f"{ROOT}/{SID}/users", json=USER, status=201)
    service = api.services.get(SID)
    user = api.users.create(service.id, NUMBER, "john.doe@verigator.com")
    assert (user.id, user.username, user.creation_time) == (UID, "john.doe@verigator.com", USER["ctime"])
    assert json.loads(sent().body) == {"phone_number": NUMBER, "id_in_service": "john.doe@verigator.com"}


@responses.activate
def test_P3_P4_start_and_verify_early(api: Api) -> None:
    status = {"throttled": False, "expired": False, "invalid": True, "result": "INVALID"}
    responses.get(f"{ROOT}/{SID}/users/{UID}", json=USER)
    responses.post(f"{ROOT}/{SID}/users/{UID}/auth", json={"method": "totp"}, status=201)
    responses.put(f"{ROOT}/{SID}/users/{UID}/auth", json={"verified": False, "status": status})
    responses.put(f"{ROOT}/{SID}/users/{UID}/auth", json={"verified": True, "method": "totp"})
    user = api.users.get(SID, UID)
    auth_id = api.auth.initiate(SID, user.id, api.auth.METHOD_TOTP)
    assert auth_id == "totp"
    verified, error = api.auth.verify(SID, user.id, "123456")
    assert verified is False
    assert error["result"] == "INVALID"
    verified, error = api.auth.verify(SID, user.id, "123456")
    assert verified is True
    assert error is None


@responses.activate
def test_P5_P6_readme_loop(api: Api) -> None:
    responses.post(ROOT, json=SERVICE, status=200)
    responses.post(f"{ROOT}/{SID}/users", json=USER, status=200)
    responses.post(f"{ROOT}/{SID}/users/{UID}/auth", json={"method": "sms"}, status=200)
    for verified in (False, False, True):
        responses.put(f"{ROOT}/{SID}/users/{UID}/auth", json={"verified": verified, "method": "sms"})
    service = api.services.create("http://example.com", "CoffeeShop")
    user = api.users.create(service.id, NUMBER, "john.doe@verigator.com")
    assert api.auth.initiate(service.id, user.id, api.auth.METHOD_SMS) == api.auth.METHOD_SMS
    assert json.loads(sent().body) == {"method": "sms"}
    tries = 1
    while not api.auth.verify(service.id, user.id, "0042"):
        tries += 1
    assert tries == 3
    assert json.loads(sent().body) == {"token": "0042"}


@responses.activate
@pytest.mark.parametrize("body", ["{}", "", "<html>", "[1]"])
def test_P7_list_and_delete(api: Api, body: str) -> None:
    """A deletion succeeds with any 2xx, whatever its body."""
    other = {**USER, "id": "other", "id_in_service": "jane"}
    responses.get(f"{ROOT}/{SID}/users", json={"users": [USER, other], "total": 2, "count": 2})
    responses.delete(f"{ROOT}/{SID}/users/{UID}", body=body, status=202)
    responses.delete(f"{ROOT}/{SID}", body=body, status=204)
    users = api.users.get_all(SID)
    assert users == [User(UID, USER["ctime"], "john.doe@verigator.com"), User("other", USER["ctime"], "jane")]
    assert api.users.delete(SID, UID) is True
    assert api.services.delete(SID) is True


CALLS = {
    "services.create": 2,
    "services.get": 1,
    "services.delete": 1,
    "users.create": 3,
    "users.get": 2,
    "users.get_all": 1,
    "users.iter_all": 1,
    "users.delete": 2,
    "auth.initiate": 3,
    "auth.verify": 3,
}
PLACES = [(call, place) for call, count in CALLS.items() for place in range(count)]


@responses.activate
@pytest.mark.parametrize("wrong", [None, 1234, b"1234", "", "  ", ["x"]], ids=repr)
@pytest.mark.parametrize(("call", "place"), PLACES)
def test_P8_wrong_argument__no_request(api: Api, call: str, place: int, wrong: object) -> None:
    arguments: list[object] = ["good"] * CALLS[call]
    arguments[place] = wrong
    group, name = call.split(".")
    with pytest.raises(ValueError, match="must be a str"):
        getattr(getattr(api, group), name)(*arguments)
    assert len(responses.calls) == 0


@pytest.mark.threat("H04")
@pytest.mark.parametrize("part", [".", "..", "\ud800"])
def test_id_argument__that_quoting_cannot_help(api: Api, part: str) -> None:
    with pytest.raises(ValueError, match="user_id"):
        api.users.get(SID, part)


@pytest.mark.threat("H04")
@responses.activate
def test_id_argument__is_percent_encoded(api: Api) -> None:
    responses.delete(f"{ROOT}/a%2Fb/users/%3Fx%3D%231%20%C3%A9%0D%0A")
    assert api.users.delete("a/b", "?x=#1 é\r\n") is True


@pytest.mark.threat("H04")
@responses.activate
@pytest.mark.parametrize("strange", ["../../service", "a/b?x=", "%2e%2e", "a\r\nb", ".", "..", "", "x" * 129, 7, None])
def test_id_answered__in_a_strange_form(api: Api, strange: object) -> None:
    """Such an id would lead the next call to another path."""
    responses.post(f"{ROOT}/{SID}/users", json={**USER, "id": strange}, status=201)
    responses.post(ROOT, json={**SERVICE, "id": strange}, status=201)
    with pytest.raises(InvalidResponseError):
        api.users.create(SID, NUMBER, USER["id_in_service"])
    with pytest.raises(InvalidResponseError):
        api.services.create("example.com", "CoffeeShop")


@pytest.mark.threat("R16")
@responses.activate
@pytest.mark.parametrize("key", ["id", "ctime", "id_in_service"])
@pytest.mark.parametrize("value", ["missing", None, 5, "nul\x00", "\ud800"], ids=ascii)
def test_user__keys_that_must_be_text(api: Api, key: str, value: object) -> None:
    user = {name: text for name, text in {**USER, key: value}.items() if value != "missing" or name != key}
    responses.get(f"{ROOT}/{SID}/users/{UID}", json=user)
    with pytest.raises(InvalidResponseError):
        api.users.get(SID, UID)


@pytest.mark.threat("R16")
@responses.activate
def test_user__new_keys_are_ignored(api: Api) -> None:
    responses.get(f"{ROOT}/{SID}/users/{UID}", json={**USER, "new": {"deep": [1]}})
    assert api.users.get(SID, UID).id == UID


@responses.activate
def test_users_create__answer_about_another(api: Api) -> None:
    responses.post(f"{ROOT}/{SID}/users", json={**USER, "id_in_service": "someone.else"}, status=201)
    with pytest.raises(InvalidResponseError):
        api.users.create(SID, NUMBER, "john.doe@verigator.com")


@responses.activate
@pytest.mark.parametrize(
    ("given", "expected"), [({}, None), ({"auth_id": None}, None), ({"auth_id": 17}, "17"), ({"auth_id": "a-1"}, "a-1")]
)
def test_initiate__auth_id(api: Api, given: dict[str, object], expected: str | None) -> None:
    responses.post(f"{ROOT}/{SID}/users/{UID}/auth", json={"method": "sms", **given})
    responses.put(f"{ROOT}/{SID}/users/{UID}/auth", json={"verified": True})
    started = api.auth.initiate(SID, UID, "totp")
    assert started == "sms"
    assert started.auth_id == expected
    api.auth.verify(SID, UID, "0042", auth_id=started.auth_id)
    wanted = {"token": "0042"} if expected is None else {"token": "0042", "auth_id": expected}
    assert json.loads(sent().body) == wanted


@responses.activate
@pytest.mark.parametrize("auth_id", [True, 1.5, [], {}, "", "a b", "x" * 256])
def test_initiate__strange_auth_id(api: Api, auth_id: object) -> None:
    responses.post(f"{ROOT}/{SID}/users/{UID}/auth", json={"method": "sms", "auth_id": auth_id})
    with pytest.raises(InvalidResponseError):
        api.auth.initiate(SID, UID, "sms")


@responses.activate
@pytest.mark.parametrize("auth_id", ["", 5])
def test_verify__strange_auth_id(api: Api, auth_id: object) -> None:
    with pytest.raises(ValueError, match="auth_id"):
        api.auth.verify(SID, UID, "0042", auth_id=auth_id)  # type: ignore[arg-type]
    assert len(responses.calls) == 0


@responses.activate
def test_headers__of_each_request(api: Api) -> None:
    responses.get(f"{ROOT}/{SID}", json=SERVICE)
    responses.post(ROOT, json=SERVICE)
    api.services.get(SID)
    get = dict(sent().headers)
    api.services.create("example.com", "CoffeeShop")
    post = dict(sent().headers)
    always = {
        "X-Service-Auth": "api-user:pass:word",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": f"django-verigator/{__version__}",
    }
    assert get == always
    assert post == {**always, "Content-Type": "application/json", "Content-Length": post["Content-Length"]}


@responses.activate
def test_endpoint__with_a_path_and_a_slash() -> None:
    responses.get(f"https://proxy.example/some/path/v1/service/service/{SID}", json=SERVICE)
    assert Api("u", "p", "https://proxy.example/some/path/").services.get(SID).id == SID


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://api.verigator.com",
        "http://10.0.0.1",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "http://[::2]",
        "ftp://127.0.0.1",
        "api.verigator.com",
        "https://user:pw@api.verigator.com",
        "https://api.verigator.com/?a=b",
        "https://api.verigator.com/#x",
        "https://api.verigator.com:99999",
        "https://api.veri gator.com",
        "https://api.verigator.com\r\nX: y",
        "https://api.verigator.com\\@evil.example",
        "https://" + "x" * 70 + ".example",
        "https://",
        "",
        None,
    ],
)
def test_endpoint__refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        Api("u", "p", endpoint)


@pytest.mark.parametrize("host", ["127.0.0.1:1", "127.255.0.9", "[::1]:8750", "localhost", "LOCALHOST:80"])
def test_endpoint__plain_http_on_loopback(host: str) -> None:
    assert Api("u", "p", f"http://{host}/").endpoint == f"http://{host}"


@pytest.mark.parametrize("wrong", ["canary\r\nX: y", "canary\n", "canary\x00", "canary€", "", None, 5, b"canary"])
@pytest.mark.parametrize("place", [0, 1])
def test_credentials__refused_without_an_echo(place: int, wrong: object) -> None:
    arguments: list[object] = ["good", "good"]
    arguments[place] = wrong
    with pytest.raises(ValueError, match="username and password") as caught:
        Api(*arguments)  # type: ignore[arg-type]
    assert "canary" not in str(caught.value)


def test_credentials__colon_in_the_username() -> None:
    """The provider would take what follows for the password."""
    with pytest.raises(ValueError, match="colon"):
        Api("a:b", "c")


@pytest.mark.parametrize("name", ["connect_timeout", "read_timeout", "total_timeout", "idle_timeout"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), None, "5"])
def test_timeouts__refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        Api("u", "p", **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("proxy", ["https://proxy:3128", "socks5://proxy:1080", "proxy:3128", None])
def test_proxies__only_http(proxy: str) -> None:
    with pytest.raises(ValueError, match="proxies"):
        Api("u", "p", proxies={"https": proxy})


def test_ca_bundle__that_does_not_exist(tmp_path: object) -> None:
    with pytest.raises(ValueError, match="ca_bundle"):
        Api("u", "p", ca_bundle=f"{tmp_path}/none.pem")


@pytest.mark.threat("F09")
def test_api__shows_and_carries_no_credential() -> None:
    api = Api("canary", "canary")
    assert repr(api) == "<Api endpoint='https://api.verigator.com'>"
    for part in (api, api.users, api.auth, api.services):
        assert "canary" not in repr(part)
        with pytest.raises(TypeError):
            pickle.dumps(part)
        with pytest.raises(TypeError):
            copy.deepcopy(part)


def test_results__are_values() -> None:
    started = pickle.loads(pickle.dumps(StartedMethod("sms", "a-1")))  # noqa: S301
    assert (started, started.auth_id, type(started)) == ("sms", "a-1", StartedMethod)
    verdict = Verification(False, {"throttled": True, "expired": False, "invalid": False, "result": "THROTTLED"}, "sms")
    assert pickle.loads(pickle.dumps(verdict)) == verdict  # noqa: S301
    assert (bool(verdict), verdict.throttled, verdict.expired, verdict.invalid) == (False, True, False, False)
    assert Verification(True).throttled is False
    with pytest.raises(AttributeError):
        Service("a", "b", "c").id = "d"  # type: ignore[misc]


@responses.activate
def test_before_request__sees_each_call_and_can_stop_it(api: Api) -> None:
    responses.get(f"{ROOT}/{SID}", json=SERVICE)
    seen = []

    def stop(method: str, path: str) -> None:
        seen.append((method, path))
        if len(seen) == 2:
            raise RuntimeError("stop")

    before_request.append(stop)
    try:
        api.services.get(SID)
        with pytest.raises(RuntimeError, match="stop"):
            api.services.get(SID)
    finally:
        before_request.remove(stop)
    assert seen == [("GET", f"/v1/service/service/{SID}")] * 2
    assert len(responses.calls) == 1
