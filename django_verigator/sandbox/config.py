"""Configure the simulated provider: its accounts, PINs and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CREATE_STATUSES = ("auto", "200", "201")
MIN_PIN_LENGTH, MAX_PIN_LENGTH = 4, 16


@dataclass(frozen=True, kw_only=True, slots=True)
class ProviderConfig:
    """Decide what Messente's documentation leaves open.

    Attributes:
        accounts: API username -> password. A service belongs to the account that created it.
        create_status: what the three POSTs of the Verification API answer. Messente's documentation says 201, its Java
            client accepts only 200; "auto" decides by the User-Agent.
        pin_length: digits in a PIN, 4 to 16; a number verification may ask for another length.
        pin_validity: seconds for which a PIN is valid; a number verification may ask for another time.
        max_tries: wrong tries for one authentication or number verification before it answers THROTTLED.
        legacy_auth_id: add ``auth_id`` to the answer of a start, as the API did until September 2017.
        strict: serve only the documented paths, without the aliases for known mistakes in clients and documentation.
        path_prefix: also serve the API below this path, as a proxy would.
        senders: the sender names that the Number Verification and Omnichannel APIs accept; empty accepts any.

    Raises:
        ValueError: a value is out of range, or there is no usable account.
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
