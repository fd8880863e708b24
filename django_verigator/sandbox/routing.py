"""Map paths and methods to the operations of the provider's APIs."""

from __future__ import annotations

from typing import NamedTuple

from .http_messages import Request

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
    "omnimessage.send",
    "omnimessage.status",
    "omnimessage.cancel",
    "sms.send",
    "twilio.start",
    "twilio.check",
    "twilio.fetch",
    "twilio.update",
)
# Below /v1/service/service; from the route lists of Messente's clients (Python, Java).
PATHS: dict[str, dict[str, str]] = {
    "": {"POST": "services.create"},
    "/*": {"GET": "services.get", "DELETE": "services.delete"},
    "/*/users": {"POST": "users.create", "GET": "users.list"},
    "/*/users/*": {"GET": "users.get", "DELETE": "users.delete"},
    "/*/users/*/auth": {"POST": "auth.start", "PUT": "auth.verify"},
    "/*/user/*": {"GET": "users.get"},  # Messente's Java client
}
UNDOCUMENTED_PATHS = ("/*/user/*",)
COMPATIBLE_PREFIX = "compat200"
NUMBER_VERIFICATION_METHODS = ("GET", "POST")
# Below /v1/omnimessage; from Messente's OpenAPI file.
OMNICHANNEL_PATHS: dict[str, dict[str, str]] = {
    "": {"POST": "omnimessage.send"},
    "/*": {"DELETE": "omnimessage.cancel"},
    "/*/status": {"GET": "omnimessage.status"},
}
SMS_METHODS = ("GET", "POST")
# Below /v2/Services; from the package twilio.
TWILIO_PATHS: dict[str, dict[str, str]] = {
    "/*/Verifications": {"POST": "twilio.start"},
    "/*/Verifications/*": {"GET": "twilio.fetch", "POST": "twilio.update"},
    "/*/VerificationCheck": {"POST": "twilio.check"},
}
VERIFICATION, NUMBER_VERIFICATION, OMNICHANNEL, SMS_API = "verification", "number_verification", "omnichannel", "sms"
TWILIO_VERIFY = "twilio_verify"
"""The APIs. A path of none of them is answered as the Verification API does."""


class Route(NamedTuple):
    """Hold what a request's path and method mean.

    Attributes:
        operation: one of ``OPERATIONS``, or "" if the path or the method belongs to no API.
        allowed_methods: what the path accepts; empty for an unknown path.
        creates_with_200: a POST answers 200 instead of 201, because it came in below ``/compat200``.
        api: the API that the path belongs to.
        resource_id: the id in the path of an API that has no users.
    """

    operation: str = ""
    service_id: str = ""
    user_id: str = ""
    allowed_methods: tuple[str, ...] = ()
    creates_with_200: bool = False
    api: str = VERIFICATION
    resource_id: str = ""


class Router:
    """Resolve the documented paths and, unless ``strict``, those that clients and documentation use by mistake.

    Args:
        path_prefix: a path below which the APIs are served too.
    """

    def __init__(self, *, strict: bool, path_prefix: str) -> None:
        self._strict = strict
        prefix = [part for part in path_prefix.split("/") if part]
        self._prefixes: list[list[str]] = [[], [COMPATIBLE_PREFIX], prefix]

    def resolve(self, request: Request) -> Route:
        """Return the route of a request."""
        segments = request.segments
        for prefix in self._prefixes:
            if segments[:-1] == [*prefix, "verify"] and segments[-1] in ("start", "pin"):
                operation = f"verify.{segments[-1]}" if request.method in NUMBER_VERIFICATION_METHODS else ""
                return Route(operation, allowed_methods=NUMBER_VERIFICATION_METHODS, api=NUMBER_VERIFICATION)
            if segments == [*prefix, "send_sms"]:
                operation = "sms.send" if request.method in SMS_METHODS else ""
                return Route(operation, allowed_methods=SMS_METHODS, api=SMS_API)
        for prefix in self._prefixes:
            root = [*prefix, "v1", "omnimessage"]
            if segments[: len(root)] == root:
                return self._resolve_omnimessage(segments[len(root) :], request.method)
        for prefix in self._prefixes:
            root = [*prefix, "v2", "Services"]
            if segments[: len(root)] == root:
                return _resolve_twilio(segments[len(root) :], request.method)
        for prefix in self._prefixes:
            root = [*prefix, "v1", "service"]
            if segments[: len(root)] == root:
                return self._resolve_service(segments[len(root) :], request.method, prefix == [COMPATIBLE_PREFIX])
        return Route()

    def _resolve_omnimessage(self, parts: list[str], method: str) -> Route:
        shape = "".join("/*" if index == 0 else f"/{part}" for index, part in enumerate(parts))
        methods = OMNICHANNEL_PATHS.get(shape)
        if methods is None:
            return Route()
        operation = methods.get("GET" if method == "HEAD" else method, "")
        return Route(operation, allowed_methods=tuple(methods), api=OMNICHANNEL, resource_id="".join(parts[:1]))

    def _resolve_service(self, parts: list[str], method: str, creates_with_200: bool) -> Route:
        if parts[:1] == ["service"]:
            parts = parts[1:]
        elif not parts or self._strict:
            # Otherwise "service" may stand there once: the documentation's curl sample has such a path.
            return Route()
        shape = "".join("/*" if index % 2 == 0 else f"/{part}" for index, part in enumerate(parts))
        if self._strict and shape in UNDOCUMENTED_PATHS:
            return Route()
        methods = PATHS.get(shape, {})
        operation = methods.get("GET" if method == "HEAD" else method, "")
        service_id, user_id = (*parts[0:1], *parts[2:3], "", "")[:2]
        return Route(operation, service_id, user_id, tuple(methods), creates_with_200)


def _resolve_twilio(parts: list[str], method: str) -> Route:
    shape = "".join("/*" if index % 2 == 0 else f"/{part}" for index, part in enumerate(parts))
    methods = TWILIO_PATHS.get(shape, {})
    operation = methods.get("GET" if method == "HEAD" else method, "")
    service_sid, sid = (*parts[0:1], *parts[2:3], "", "")[:2]
    return Route(operation, service_sid, "", tuple(methods), api=TWILIO_VERIFY, resource_id=sid)
