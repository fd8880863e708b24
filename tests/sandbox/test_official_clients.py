"""Replay the requests recorded from Messente's own clients, and check what each client needs in the response."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from django_verigator.sandbox import Sandbox

from .http_client import Response, send

RECORDED = json.loads((Path(__file__).parent / "official_clients.json").read_text(encoding="utf-8"))
SERVICE_ID = "81213bfd-b690-499e-b9d2-8754cb1550e8"
USER_ID = "38fb335c-025d-45eb-9cf2-d2d4d9f54203"
TOKEN = "0042"
POSTS = ("create service", "create user", "start sms", "start totp")


class Replay:
    """Send the recorded requests of one client, with this sandbox's ids and PIN in place of the recorded ones."""

    def __init__(self, sandbox: Sandbox, client: str, prefix: str = "") -> None:
        self.sandbox = sandbox
        self.requests = {request["operation"]: request for request in RECORDED[client]}
        self.prefix = prefix
        self.substitutions = {SERVICE_ID: SERVICE_ID, USER_ID: USER_ID, TOKEN: TOKEN}

    def send(self, operation: str) -> Response:
        request = self.requests[operation]
        body = self._substitute(request["body"] or "").encode()
        response = send(
            self.sandbox.url,
            request["method"],
            self.prefix + self._substitute(request["path"]),
            headers=request["headers"],
            raw=body,
        )
        assert isinstance(response.json(), dict)
        return response

    def send_up_to(self, operation: str) -> Response:
        for each in self.requests:
            response = self.send(each)
            if each == "create service":
                self.substitutions[SERVICE_ID] = response.json()["id"]
            if each == "create user":
                self.substitutions[USER_ID] = response.json()["id"]
            if each.startswith("start"):
                self.substitutions[TOKEN] = self.sandbox.messages()[-1]["pin"]
            if each == operation:
                return response
        raise AssertionError(f"{operation} was not recorded")

    def _substitute(self, text: str) -> str:
        # In one pass, because a new id may contain the digits of the recorded PIN.
        return re.sub("|".join(self.substitutions), lambda found: self.substitutions[found[0]], text)


@pytest.fixture(params=["python", "java"])
def replay(request: pytest.FixtureRequest, sandbox: Sandbox) -> Replay:
    return Replay(sandbox, request.param)


def needed_status(replay: Replay, operation: str) -> HTTPStatus:
    if operation.startswith("delete"):
        return HTTPStatus.ACCEPTED
    from_python = "python" in replay.requests[operation]["headers"]["User-Agent"]
    return HTTPStatus.CREATED if from_python and operation in POSTS else HTTPStatus.OK


@pytest.mark.parametrize("operation", [request["operation"] for request in RECORDED["python"]])
def test_recorded_request__gets_the_status_its_client_needs(replay: Replay, operation: str) -> None:
    assert replay.send_up_to(operation).status == needed_status(replay, operation)


@pytest.mark.parametrize(
    ("operation", "keys"),
    [
        ("create service", {"id", "name", "ctime"}),
        ("get service", {"id", "name", "ctime"}),
        ("create user", {"id", "ctime", "id_in_service"}),
        ("get user", {"id", "ctime", "id_in_service"}),
        ("list users", {"users", "total", "count"}),
        ("start sms", {"method"}),
        ("start totp", {"method"}),
        ("verify", {"method", "verified"}),
        ("delete user", set()),
        ("delete service", set()),
    ],
)
def test_recorded_request__gets_the_documented_keys_and_no_others(
    replay: Replay, operation: str, keys: set[str]
) -> None:
    # A key "service" or "verigatorApi" would overwrite fields that the Java client needs.
    assert set(replay.send_up_to(operation).json()) == keys


def test_recorded_list__holds_user_objects(replay: Replay) -> None:
    data = replay.send_up_to("list users").json()

    assert [set(user) for user in data["users"]] == [{"id", "ctime", "id_in_service"}]
    assert (data["total"], data["count"]) == (1, 1)


def test_recorded_verify__passes_with_the_pin_of_the_last_start(replay: Replay) -> None:
    assert replay.send_up_to("verify").json()["verified"] is True


def test_recorded_verify__answers_200_for_a_wrong_pin(replay: Replay) -> None:
    replay.send_up_to("start totp")
    replay.substitutions[TOKEN] = "0" * 4

    response = replay.send("verify")

    assert response.status == HTTPStatus.OK
    assert response.json()["verified"] is False


def send_changed(replay: Replay, operation: str, **changes: Any) -> Response:
    replay.requests[operation] = {**replay.requests[operation], **changes}
    return replay.send(operation)


def test_errors__are_json_objects_with_a_message_for_both_clients(replay: Replay) -> None:
    replay.send_up_to("create user")
    headers = {**replay.requests["get user"]["headers"], "X-Service-Auth": "nobody:nothing"}

    messages = {
        response.status: response.message
        for response in (
            replay.send("create service"),
            replay.send("create user"),
            replay.send("verify"),
            send_changed(replay, "start sms", body='{"method": "pigeon"}'),
            send_changed(replay, "get user", headers=headers),
        )
    }

    assert set(messages) == {
        HTTPStatus.CONFLICT,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.UNAUTHORIZED,
    }
    assert all(messages.values())


@pytest.mark.parametrize(("create_status", "needed"), [("200", HTTPStatus.OK), ("201", HTTPStatus.CREATED)])
def test_create_status__can_be_fixed_for_every_client(
    start_sandbox: Any, create_status: str, needed: HTTPStatus
) -> None:
    sandbox = start_sandbox(create_status=create_status)

    for client in ("python", "java"):
        sandbox.reset()
        assert Replay(sandbox, client).send_up_to("create service").status == needed


def test_compat200_prefix__answers_200_to_a_client_without_a_user_agent(sandbox: Sandbox) -> None:
    replay = Replay(sandbox, "python", prefix="/compat200")

    assert replay.send_up_to("start totp").status == HTTPStatus.OK
