"""What the clients' calls return: small values without behaviour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Service:
    """A service at the provider; ``name`` is the issuer its app shows.

    ``creation_time`` is the provider's text as it came: documentation and recorded answers differ in its form
    (protocol: Messente docs, creating-service).
    """

    id: str
    creation_time: str
    name: str


@dataclass(frozen=True, slots=True)
class User:
    """A user at the provider; ``username`` is the ``id_in_service`` it was created with."""

    id: str
    creation_time: str
    username: str


class StartedMethod(str):
    """The method really used, "sms" or "totp". It may differ from the one that was asked for: without a device attached
    to the number the provider falls back to SMS (protocol: Messente docs, start-authentication).

    Attributes:
        auth_id: the provider's name for this authentication, which older versions of the API gave; else None.
    """

    __slots__ = ("auth_id",)
    auth_id: str | None

    def __new__(cls, method: str, auth_id: str | None = None) -> StartedMethod:
        started = super().__new__(cls, method)
        started.auth_id = auth_id
        return started

    def __getnewargs__(self) -> tuple[str, str | None]:  # type: ignore[override]
        return (str.__str__(self), self.auth_id)


@dataclass(frozen=True, slots=True)
class Verification:
    """The verdict on a PIN or code. It is true in a condition if the code was right, and unpacks into
    ``(verified, status)``.

    Attributes:
        verified: the code was right.
        status: why not, with the keys ``throttled``, ``expired``, ``invalid`` and ``result`` (a word such as
            "INVALID"); None on success and where the provider gave no reason.
        method: "sms", "totp", "call" or "whatsapp" if the provider said, else None.
    """

    verified: bool
    status: Mapping[str, bool | str] | None = field(default=None, hash=False)
    method: str | None = None

    def __bool__(self) -> bool:
        return self.verified

    def __iter__(self) -> Iterator[object]:
        return iter((self.verified, self.status))

    @property
    def throttled(self) -> bool:
        """Say whether there were too many tries."""
        return bool(self.status and self.status["throttled"])

    @property
    def expired(self) -> bool:
        """Say whether the code is too old."""
        return bool(self.status and self.status["expired"])

    @property
    def invalid(self) -> bool:
        """Say whether the code is wrong."""
        return bool(self.status and self.status["invalid"])
