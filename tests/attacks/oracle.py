"""What holds after every attack (I1 to I6), found from the provider's call log and from what left the site.

The oracle does not ask the app whether it did well. Its witnesses are the sandbox (which calls came, for which record,
with what verdict; which messages went to which phone), the session store, and every byte that a browser, a log, a mail,
the cache or the database has seen.
"""

from __future__ import annotations

import base64
import logging
import pickle
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session
from django.core import mail
from django.core.cache import cache
from django.db import connection

from django_verigator.sandbox import Sandbox
from tests.deadlines import GRACE

HOUR, DAY = 3600, 24 * 3600
FULL_PHONE_IN = {
    ("site_user", "phone_number"),
    ("django_verigator_verigatoruser", "phone_number"),
    ("django_verigator_phonechange", "phone_number"),
    ("django_verigator_phonechange", "replaces"),
}
"""The only columns in which a whole number may stand."""


@dataclass
class Person:
    """What is known of a user from outside: not from the app's tables."""

    name: str
    pk: str
    password: str
    phones: set[str]
    owes: bool
    """Nobody may act as this user without a proof."""
    codes: set[str] = field(default_factory=set)
    browsers: set[str] = field(default_factory=set)
    """Cookies of browsers that this user has trusted."""
    excused: int = 0
    """Sessions that a test made itself, as if before the second step was asked for."""


@dataclass
class Seen:
    """One answer of the site."""

    what: str
    status: int
    seconds: float
    text: str
    posted: str
    excused: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Record:
    """What the provider knows of one of its users."""

    name: str
    phone: str


class Transcript(logging.Handler):
    """Every line logged, with what hangs on its record."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name} {self.format(record)} {record.__dict__}")


class Oracle:
    """Collects while an attack runs; ``verdict`` lists what did not hold."""

    def __init__(self, sandbox: Sandbox, service_id: str, *, credential: tuple[str, str], deadline: float) -> None:
        self.sandbox = sandbox
        self.service_id = service_id
        self.people: dict[str, Person] = {}
        self.answers: list[Seen] = []
        self.transcript = Transcript()
        self.calls_in_transactions: list[str] = []
        self.deadline = deadline
        self.provider_lies = False
        """The provider is made to say yes to anything: then a yes that went out counts as a proof."""
        self.errors_expected = False
        """Exceptions are forced, so a 500 is what shall come."""
        self.limits: dict[str, int] = {}
        """The caps that the site is told to hold; the defaults stand in ``_cap``."""
        self._credential = credential
        self._records: dict[str, Record] = {}
        self._cookies: set[str] = set()
        self._posted_codes: dict[str, set[str]] = defaultdict(set)
        self._trusted_logins: dict[str, int] = defaultdict(int)
        self._unproved: list[str] = []

    # --- collecting ---------------------------------------------------------------------------------------------------

    def learn(self) -> None:
        """Read who is who at the provider, also of those who are deleted later."""
        for user in self.sandbox.directory.users(self.service_id):
            self._records[user.id] = Record(user.id_in_service.rpartition("-")[0], user.phone_number)

    def answered(self, browser: Any, what: str, posted: Any, response: Any, seconds: float) -> None:
        cookies = [morsel.OutputString() for morsel in response.cookies.values()]
        head = "\n".join([*(f"{name}: {value}" for name, value in response.headers.items()), *cookies])
        body = b"".join(response.streaming_content) if response.streaming else response.content
        text = f"{head}\n\n{body.decode('utf-8', 'replace')}"
        self.answers.append(Seen(what, response.status_code, seconds, text, str(posted)))
        if (morsel := response.cookies.get(settings.SESSION_COOKIE_NAME)) and morsel.value:
            self._cookies.add(morsel.value)
        if isinstance(posted, dict):
            self._note_proofs(browser, posted)
        self._look_at_session(browser, what)

    def _note_proofs(self, browser: Any, posted: dict[str, Any]) -> None:
        code = plain(str(posted.get("code", "")))
        name = str(posted.get("username", ""))
        for person in self.people.values():
            if code in {plain(each) for each in person.codes}:
                self._posted_codes[person.name].add(code)
            if person.name == name and person.browsers & {morsel.value for morsel in browser.cookies.values()}:
                self._trusted_logins[person.name] += 1

    def _look_at_session(self, browser: Any, what: str) -> None:
        """I1, after each single answer: whom does this browser's session let act?"""
        person = self._person(session_of(browser).get(SESSION_KEY))
        if person is not None and person.owes and not self.proofs(person):
            self._unproved.append(f"I1: {what} left {person.name} logged in without a proof")

    def _person(self, pk: Any) -> Person | None:
        return next((each for each in self.people.values() if each.pk == pk), None)

    def excuse(self, response: Any, *secrets: str) -> None:
        """This answer is the one that shows these to their owner."""
        text = response.content.decode()
        for seen in self.answers:
            if seen.text.endswith(text):
                seen.excused |= {form for secret in secrets for form in (secret, plain(secret))}

    # --- asking -------------------------------------------------------------------------------------------------------

    def calls_for(self, name: str, operation: str) -> list[dict[str, Any]]:
        self.learn()
        calls = self.sandbox.calls(operation=operation)
        return [call for call in calls if self._record(call["user_id"]).name == name]

    def _record(self, user_id: str) -> Record:
        return self._records.get(user_id, Record("", ""))

    def proofs(self, person: Person) -> int:
        """How often this user has proved the phone, used up a recovery code, or come with a trusted browser."""
        count = len(self._posted_codes[person.name]) + self._trusted_logins[person.name] + person.excused
        for call in self.calls_for(person.name, "auth.verify"):
            right = call["verified"] or (self.provider_lies and call["status"] == 200)
            count += bool(right and self._record(call["user_id"]).phone in person.phones)
        return count

    def sessions(self) -> list[dict[str, Any]]:
        """Every session that a browser could come back with."""
        kind = settings.SESSION_ENGINE.rpartition(".")[2]
        if kind == "signed_cookies":
            return [session_at(cookie) for cookie in self._cookies]
        if kind == "cache":
            pickles = [value for key, value in cache._cache.items() if ".sessions." in key]
            return [pickle.loads(value) for value in pickles]  # noqa: S301 - written by this process
        return [session.get_decoded() for session in Session.objects.all()]

    # --- the verdict --------------------------------------------------------------------------------------------------

    def verdict(self) -> list[str]:
        """What did not hold, in words; empty if everything did."""
        self.learn()
        checks: list[Callable[[], Iterator[str]]] = [
            self._proof,
            self._guesses,
            self._sends,
            self._leaks,
            self._transactions,
            self._bounded,
        ]
        return [problem for check in checks for problem in check()]

    def _proof(self) -> Iterator[str]:
        yield from self._unproved
        full: dict[str, int] = defaultdict(int)
        for session in self.sessions():
            if SESSION_KEY in session:
                full[session[SESSION_KEY]] += 1
        for person in self.people.values():
            proofs = self.proofs(person)
            # Of signed cookies every one ever given out is still there: several of them belong to one login.
            kept = settings.SESSION_ENGINE.endswith("signed_cookies")
            if person.owes and full[person.pk] > (10**6 if kept and proofs else proofs):
                yield f"I1: {full[person.pk]} sessions act as {person.name}, who gave {proofs} proofs"

    def _cap(self, name: str, default: int) -> int:
        return self.limits.get(name, default)

    def _guesses(self) -> Iterator[str]:
        for person in self.people.values():
            calls = self.calls_for(person.name, "auth.verify")
            wrong = [moment(call["time"]) for call in calls if not call["verified"]]
            for name, period, default in (("TRIES_PER_USER_HOUR", HOUR, 10), ("TRIES_PER_USER_DAY", DAY, 20)):
                most = most_in_a_window(wrong, period)
                if most > self._cap(name, default):
                    yield f"I2: {most} guesses at {person.name} reached the provider ({name})"
        tries: dict[str, int] = defaultdict(int)
        for call in self.sandbox.calls():
            if call["operation"] == "auth.start":
                tries[call["user_id"]] = 0
            if call["operation"] == "auth.verify":
                tries[call["user_id"]] += 1
                if tries[call["user_id"]] > self._cap("TRIES_PER_CHALLENGE", 5):
                    yield f"I2: {tries[call['user_id']]} tries with one PIN of {self._record(call['user_id']).name}"

    def _sends(self) -> Iterator[str]:
        by_phone: dict[str, list[float]] = defaultdict(list)
        by_user: dict[str, list[float]] = defaultdict(list)
        for message in self.sandbox.messages():
            by_phone[message["to"]].append(moment(message["sent"]))
            by_user[self._record(message["user_id"]).name].append(moment(message["sent"]))
        for who, sent, cap, period in [
            *((phone, sent, self._cap("SENDS_PER_PHONE_10_MINUTES", 5), 600) for phone, sent in by_phone.items()),
            *((name, sent, self._cap("SENDS_PER_USER_HOUR", 10), HOUR) for name, sent in by_user.items()),
        ]:
            if most_in_a_window(sent, period) > cap:
                yield f"I3: {most_in_a_window(sent, period)} texts for {who} within {period} s"

    def _transactions(self) -> Iterator[str]:
        for call in self.calls_in_transactions:
            yield f"I5: {call} was called while a transaction was open"

    def _bounded(self) -> Iterator[str]:
        for seen in self.answers:
            if seen.status >= 500 and not self.errors_expected:
                yield f"I6: {seen.what} answered {seen.status}"
            if seen.seconds > self.deadline + GRACE:
                yield f"I6: {seen.what} took {seen.seconds:.1f} s"

    # --- canaries -----------------------------------------------------------------------------------------------------

    def canaries(self) -> dict[str, str]:
        """What nobody but its owner may see, by the name it goes under in a complaint."""
        username, password = self._credential
        secrets = {
            "credential": password,
            "credential in base64": in_base64(password),
            "credential header in base64": in_base64(f"{username}:{password}"),
        }
        for message in self.sandbox.messages():
            secrets[f"PIN of message {message['id']}"] = message["pin"]
        for person in self.people.values():
            secrets[f"password of {person.name}"] = person.password
            secrets[f"password of {person.name} in base64"] = in_base64(person.password)
            for number, code in enumerate(sorted(person.codes)):
                secrets[f"recovery code {number} of {person.name}"] = code
                secrets[f"recovery code {number} of {person.name}, plain"] = plain(code)
        return secrets

    def phones(self) -> dict[str, str]:
        """The digits of each number: with or without its plus."""
        found = {record.phone for record in self._records.values()}
        found |= {phone for person in self.people.values() for phone in person.phones}
        return {f"phone …{phone[-4:]}": phone.lstrip("+") for phone in found if phone}

    def _leaks(self) -> Iterator[str]:
        secrets, phones = self.canaries(), self.phones()
        for seen in self.answers:
            for name, secret in {**secrets, **phones}.items():
                if (
                    secret in seen.text
                    and secret not in seen.excused
                    and not (name in phones and secret in seen.posted)
                ):
                    yield f"I4: the answer to {seen.what} shows the {name}"
        everywhere = {**secrets, **phones}
        places = {
            "the log": self.transcript.lines,
            "a session": [str(session) for session in self.sessions()],
            "the cache": [value.decode("latin-1") for value in getattr(cache, "_cache", {}).values()],
            "a mail": list(mails()),
        }
        for place, texts in places.items():
            yield from (f"I4: {place} shows the {name}" for name in shown_in(texts, everywhere))
        for table, columns, rows in database():
            for column, values in zip(columns, zip(*rows, strict=True), strict=False):
                wanted = secrets if (table, column) in FULL_PHONE_IN else everywhere
                for name in shown_in(map(str, values), wanted):
                    yield f"I4: {table}.{column} shows the {name}"


# --- reading ----------------------------------------------------------------------------------------------------------


def shown_in(texts: Any, secrets: dict[str, str]) -> list[str]:
    whole = "\n".join(texts)
    return [name for name, secret in secrets.items() if secret in whole]


def session_at(key: str) -> dict[str, Any]:
    store = import_module(settings.SESSION_ENGINE).SessionStore
    return dict(store(key).load())


def session_of(browser: Any) -> dict[str, Any]:
    """The session behind a browser's cookie, without making one as ``Client.session`` does."""
    morsel = browser.cookies.get(settings.SESSION_COOKIE_NAME)
    return session_at(morsel.value) if morsel and morsel.value else {}


def database() -> Iterator[tuple[str, list[str], list[Any]]]:
    """Every table, with its columns and rows."""
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608 - our own tables
            yield table, [column[0] for column in cursor.description], cursor.fetchall()


def mails() -> Iterator[str]:
    for message in getattr(mail, "outbox", []):
        parts = [message.subject, message.body, *(str(part[0]) for part in getattr(message, "alternatives", []))]
        yield "\n".join([*parts, str(message.extra_headers)])


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode().rstrip("=")


def plain(code: str) -> str:
    return re.sub(r"[\s-]", "", code).upper()


def moment(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def most_in_a_window(moments: list[float], period: float) -> int:
    """The most events of one window, where a window begins with its first event."""
    most = count = 0
    end = float("-inf")
    for when in sorted(moments):
        if when >= end:
            end, count = when + period, 0
        count += 1
        most = max(most, count)
    return most
