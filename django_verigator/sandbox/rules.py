"""What the sandbox's owner decides: who may call, how long a PIN lives, which status a POST answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CREATE_STATUSES = ("auto", "200", "201")
MIN_PIN_LENGTH, MAX_PIN_LENGTH = 4, 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """The Verification API leaves much unsaid; what it does not say is an option here.

    Attributes:
        accounts: API username -> password. A service belongs to the account that made it.
        create_status: what the three POSTs answer. The documentation says 201, Messente's Java client insists on 200;
            "auto" gives each what it wants, by its User-Agent.
        pin_length: digits in a PIN, 4 to 16; a number verification may ask for another length.
        pin_validity: seconds for which a started authentication can be answered; a number verification may ask for
            another time.
        max_tries: wrong tries for one authentication or verification before it answers THROTTLED.
        legacy_auth_id: add ``auth_id`` to the start's answer, as the API did until September 2017.
        strict: serve the documented paths alone, without the aliases for known slips of clients and documents.
        path_prefix: serve the API below this path too, as a proxy would.
        senders: the sender names that the Number Verification API takes; empty: any.
    """

    accounts: Mapping[str, str] = field(repr=False)
    create_status: str = "auto"
    pin_length: int = 4
    pin_validity: float = 300
    max_tries: int = 5
    legacy_auth_id: bool = False
    strict: bool = False
    path_prefix: str = ""
    senders: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for username, password in self.accounts.items():
            if not username or not password:
                raise ValueError("an account needs a username and a password")
            if ":" in username:
                raise ValueError("a username cannot hold a colon: the header is split at the first one")
        if not self.accounts:
            raise ValueError("at least one account is needed")
        if self.create_status not in CREATE_STATUSES:
            raise ValueError(f"create_status must be one of {', '.join(CREATE_STATUSES)}")
        if not MIN_PIN_LENGTH <= self.pin_length <= MAX_PIN_LENGTH:
            raise ValueError(f"pin_length must be {MIN_PIN_LENGTH} to {MAX_PIN_LENGTH}")
        if not self.pin_validity > 0:
            raise ValueError("pin_validity must be more than 0 seconds")
        if self.max_tries < 1:
            raise ValueError("max_tries must be at least 1")
