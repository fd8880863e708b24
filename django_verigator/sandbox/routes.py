"""Which path is which operation of the Verification API, or of the Number Verification API."""

from __future__ import annotations

from typing import NamedTuple

from django_verigator.sandbox.exchange import Request

OPERATIONS = (
    "services.create",
    "services.get",
    "services.delete",
    "users.create",
    "users.list",
    "users.get",
    "users.delete",
    "auth.start",
    "auth.verify",
    "verify.start",
    "verify.pin",
)
ROUTES: dict[str, dict[str, str]] = {
    "": {"POST": "services.create"},
    "/*": {"GET": "services.get", "DELETE": "services.delete"},
    "/*/users": {"POST": "users.create", "GET": "users.list"},
    "/*/users/*": {"GET": "users.get", "DELETE": "users.delete"},
    "/*/users/*/auth": {"POST": "auth.start", "PUT": "auth.verify"},
    # Messente's Java client asks for a user in the singular.
    "/*/user/*": {"GET": "users.get"},
}
ALIASES = ("/*/user/*",)
COMPATIBLE = "compat200"
NUMBER_METHODS = ("GET", "POST")


class Target(NamedTuple):
    """Where a request aims. ``operation`` is "" where the path or the method is not of the API."""

    operation: str = ""
    service_id: str = ""
    user_id: str = ""
    allowed: tuple[str, ...] = ()
    always_ok: bool = False
    is_number_api: bool = False


class Routes:
    """The documented paths and, unless ``strict``, those that clients and documents use by mistake."""

    def __init__(self, *, strict: bool, path_prefix: str) -> None:
        self._strict = strict
        prefix = [part for part in path_prefix.split("/") if part]
        self._mounts: list[list[str]] = [[], [COMPATIBLE], prefix]

    def locate(self, request: Request) -> Target:
        segments = request.segments
        for mount in self._mounts:
            if segments[:-1] == [*mount, "verify"] and segments[-1] in ("start", "pin"):
                operation = f"verify.{segments[-1]}" if request.method in NUMBER_METHODS else ""
                return Target(operation, allowed=NUMBER_METHODS, is_number_api=True)
        mount, rest = next(
            (
                (mount, segments[len(mount) + 2 :])
                for mount in self._mounts
                if segments[: len(mount) + 2] == [*mount, "v1", "service"]
            ),
            ([], []),
        )
        if rest[:1] == ["service"]:
            parts = rest[1:]
        elif rest and not self._strict:
            # With one "service": the path of the documentation's curl sample.
            parts = rest
        else:
            return Target()
        shape = "".join("/*" if number % 2 == 0 else f"/{part}" for number, part in enumerate(parts))
        if self._strict and shape in ALIASES:
            return Target()
        methods = ROUTES.get(shape, {})
        operation = methods.get("GET" if request.method == "HEAD" else request.method, "")
        service_id, user_id = (*parts[0:1], *parts[2:3], "", "")[:2]
        return Target(operation, service_id, user_id, tuple(methods), mount == [COMPATIBLE])
