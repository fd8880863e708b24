"""What the walk believes: written from the rules (docs, threats), and not from the tables of the app."""

from __future__ import annotations

from dataclasses import dataclass, field

CACHE_SECONDS = 60
STEP_UP_SECONDS = 300
CHANGE_SECONDS = 3600
PENDING_SECONDS = 600
CHALLENGE_SECONDS = 300
PIN_REUSE_SECONDS = 600
TRUST_DAYS = 30
LIMITS = {
    # Whether it opens is not what is walked through here.
    "CIRCUIT_FAILURES": 1000,
    "TRIES_PER_CHALLENGE": 3,
    "TRIES_PER_USER_HOUR": 5,
    "TRIES_PER_USER_DAY": 9,
    "SENDS_PER_USER_HOUR": 12,
    "SENDS_PER_PHONE_10_MINUTES": 6,
}
CONSECUTIVE_FAILURES = 10  # for a PIN whose length the settings do not know


@dataclass(frozen=True)
class Proof:
    """A second step done in one session. Only a ``real`` one (PIN, recovery code) satisfies max_age."""

    user: str
    at: float
    trust_version: str
    real: bool


@dataclass(frozen=True)
class Pending:
    """A login (or step-up) that waits, by the nonce in its browser's cookie."""

    user: str
    since: float
    password: int
    trust_version: str


@dataclass
class Sent:
    """The newest code of a user that may have gone out."""

    nonce: str
    user_id: str
    at: float
    tries: int = 0


@dataclass
class Trust:
    """A trusted browser's cookie."""

    user: str
    trust_version: str
    password: int
    until: float


@dataclass
class Person:
    """One user, as the walk knows this user."""

    name: str
    pk: int
    password: int = 0
    """How often the password was changed."""
    active: bool = True
    staff: bool = False
    trust_version: str = ""
    codes: dict[str, float | None] = field(default_factory=dict)
    """Unused recovery codes, and until when they are good (None: for ever)."""
    used_codes: list[str] = field(default_factory=list)
    sent: Sent | None = None
    accepted: dict[str, float] = field(default_factory=dict)
    """PINs that were accepted, and when."""
    failures: int = 0
    """Wrong PINs in a row."""
    tries: list[float] = field(default_factory=list)
    """When the provider said that a PIN is wrong, since support last cleared the slate."""
    owes_since: float | None = None

    @property
    def secret(self) -> str:
        return f"{self.name}'s horse {self.password}"


@dataclass
class Beliefs:
    people: dict[str, Person] = field(default_factory=dict)
    name_of: dict[int, str] = field(default_factory=dict)
    proofs: dict[tuple[str, str], Proof] = field(default_factory=dict)
    """By session key and user."""
    pending: dict[str, Pending] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    """Nonces of logins that were cancelled or completed."""
    trusts: dict[str, Trust] = field(default_factory=dict)
    """By the cookie's value."""
    epoch_ended: dict[str, float] = field(default_factory=dict)
    codes_ever: set[str] = field(default_factory=set)

    def by_pk(self, pk: object) -> Person | None:
        return next((person for person in self.people.values() if str(person.pk) == str(pk)), None)

    def proof(self, session_key: str, person: Person) -> Proof | None:
        return self.proofs.get((session_key, person.name))

    def is_good(self, proof: Proof | None, person: Person) -> bool:
        return proof is not None and proof.trust_version == person.trust_version

    def new_trust_version(self, person: Person, trust_version: str, now: float) -> None:
        self.epoch_ended[person.trust_version] = now
        person.trust_version = trust_version

    def move(self, old_key: str, new_key: str) -> None:
        """Django has given a session another key, and kept what is in it."""
        for key, name in list(self.proofs):
            if key == old_key:
                self.proofs[new_key, name] = self.proofs.pop((key, name))

    def drop_session(self, key: str) -> None:
        for pair in [pair for pair in self.proofs if pair[0] == key]:
            del self.proofs[pair]

    def may_act(self, session_key: str, person: Person, now: float, *, strictly: bool) -> bool:
        """I1. A guarded GET may believe what it read up to CACHE_SECONDS ago; ``strictly`` is for what may not."""
        slack = 0 if strictly else CACHE_SECONDS + 1
        if not person.active:
            return False
        if person.owes_since is None or now - person.owes_since <= slack:
            return True
        proof = self.proof(session_key, person)
        if proof is None:
            return False
        return proof.trust_version == person.trust_version or now - self.epoch_ended[proof.trust_version] <= slack
