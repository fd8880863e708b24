"""Every request that Messente's own clients were seen to send, and what each client needs in the answer."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from django_verigator.sandbox import Sandbox

from .caller import Answer, ask

RECORDED = json.loads((Path(__file__).parent / "official_clients.json").read_text(encoding="utf-8"))
SERVICE_ID = "81213bfd-b690-499e-b9d2-8754cb1550e8"
USER_ID = "38fb335c-025d-45eb-9cf2-d2d4d9f54203"
TOKEN = "0042"
POSTS = ("create service", "create user", "start sms", "start totp")


class Player:
    """Sends the recorded requests of one client, with this sandbox's ids and PIN in place of the recorder's."""

    def __init__(self, sandbox: Sandbox, client: str, mount: str = "") -> None:
        self.sandbox = sandbox
        self.requests = {request["operation"]: request for request in RECORDED[client]}
        self.mount = mount
        self.known = {SERVICE_ID: SERVICE_ID, USER_ID: USER_ID, TOKEN: TOKEN}

    def play(self, operation: str) -> Answer:
        request = self.requests[operation]
        body = self._filled(request["body"] or "").encode()
        answer = ask(
            self.sandbox.url,
            request["method"],
            self.mount + self._filled(request["path"]),
            headers=request["headers"],
            raw=body,
        )
        assert isinstance(answer.json(), dict)
        return answer

    def play_up_to(self, operation: str) -> Answer:
        for each in self.requests:
            answer = self.play(each)
            if each == "create service":
                self.known[SERVICE_ID] = answer.json()["id"]
            if each == "create user":
                self.known[USER_ID] = answer.json()["id"]
            if each.startswith("start"):
                self.known[TOKEN] = self.sandbox.messages()[-1]["pin"]
            if each == operation:
                return answer
        raise AssertionError(f"{operation} was not recorded")

    def _filled(self, text: str) -> str:
        # In one go: a new id may hold the digits of the recorded PIN.
        return re.sub("|".join(self.known), lambda found: self.known[found[0]], text)


@pytest.fixture(params=["python", "java"])
def player(request: pytest.FixtureRequest, sandbox: Sandbox) -> Player:
    return Player(sandbox, request.param)


def needed_status(player: Player, operation: str) -> HTTPStatus:
    if operation.startswith("delete"):
        return HTTPStatus.ACCEPTED
    from_python = "python" in player.requests[operation]["headers"]["User-Agent"]
    return HTTPStatus.CREATED if from_python and operation in POSTS else HTTPStatus.OK


@pytest.mark.parametrize("operation", [request["operation"] for request in RECORDED["python"]])
def test_recorded_request__gets_the_status_its_client_needs(player: Player, operation: str) -> None:
    assert player.play_up_to(operation).status == needed_status(player, operation)


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
    player: Player, operation: str, keys: set[str]
) -> None:
    # Others could break the Java client: it reads "service" and "verigatorApi" into fields of its own.
    assert set(player.play_up_to(operation).json()) == keys


def test_recorded_list__holds_user_objects(player: Player) -> None:
    data = player.play_up_to("list users").json()

    assert [set(user) for user in data["users"]] == [{"id", "ctime", "id_in_service"}]
    assert (data["total"], data["count"]) == (1, 1)


def test_recorded_verify__passes_with_the_pin_of_the_last_start(player: Player) -> None:
    assert player.play_up_to("verify").json()["verified"] is True


def test_recorded_verify__answers_200_for_a_wrong_pin(player: Player) -> None:
    player.play_up_to("start totp")
    player.known[TOKEN] = "0" * 4

    answer = player.play("verify")

    assert answer.status == HTTPStatus.OK
    assert answer.json()["verified"] is False


def broken(player: Player, operation: str, **changes: Any) -> Answer:
    player.requests[operation] = {**player.requests[operation], **changes}
    return player.play(operation)


def test_errors__are_json_objects_with_a_message_for_both_clients(player: Player) -> None:
    player.play_up_to("create user")
    headers = {**player.requests["get user"]["headers"], "X-Service-Auth": "nobody:nothing"}

    seen = {
        answer.status: answer.message
        for answer in (
            player.play("create service"),
            player.play("create user"),
            player.play("verify"),
            broken(player, "start sms", body='{"method": "pigeon"}'),
            broken(player, "get user", headers=headers),
        )
    }

    assert set(seen) == {
        HTTPStatus.CONFLICT,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.UNAUTHORIZED,
    }
    assert all(seen.values())


@pytest.mark.parametrize(("create_status", "needed"), [("200", HTTPStatus.OK), ("201", HTTPStatus.CREATED)])
def test_create_status__can_be_fixed_for_every_client(
    start_sandbox: Any, create_status: str, needed: HTTPStatus
) -> None:
    sandbox = start_sandbox(create_status=create_status)

    for client in ("python", "java"):
        sandbox.reset()
        assert Player(sandbox, client).play_up_to("create service").status == needed


def test_compat_mount__answers_200_to_a_client_that_does_not_name_itself(sandbox: Sandbox) -> None:
    player = Player(sandbox, "python", mount="/compat200")

    assert player.play_up_to("start totp").status == HTTPStatus.OK
