"""Random requests of three users from four browsers, and what must hold after each of them.

A rule does what a person, a thief, the site's support or the provider may do; it asserts nothing about success. What a
page or a session then lets somebody do is held against ``model.py``, which knows who has proved what where.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter as Tally
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Any, ClassVar, TypeVar

from django.contrib.admin.models import LogEntry
from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core import mail
from django.core.cache import cache
from django.db import connection
from django.test import Client, override_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from django_verigator.backends import locmem
from django_verigator.digests import digest
from django_verigator.flows import cookies, support
from django_verigator.flows.session import PROOF_KEY
from django_verigator.models import (
    Challenge,
    Counter,
    PhoneChange,
    RecoveryCode,
    RemoteDeletion,
    TrustedBrowser,
    VerigatorUser,
)
from django_verigator.records import sync

from .clock import Clock
from .model import (
    CHALLENGE_SECONDS,
    CHANGE_SECONDS,
    CONSECUTIVE_FAILURES,
    LIMITS,
    PENDING_SECONDS,
    PIN_REUSE_SECONDS,
    STEP_UP_SECONDS,
    TRUST_DAYS,
    Beliefs,
    Pending,
    Person,
    Proof,
    Sent,
    Trust,
)
from .provider import TROUBLES, Call, witness

_F = TypeVar("_F", bound=Callable[..., None])
User = get_user_model()
_ALL_LINKS = f"SELECT * FROM {VerigatorUser._meta.db_table} ORDER BY id"  # noqa: S608
_ALL_SESSIONS = f"SELECT session_key, session_data FROM {Session._meta.db_table}"  # noqa: S608
_TABLES = (
    RecoveryCode,
    TrustedBrowser,
    Challenge,
    PhoneChange,
    VerigatorUser,
    Counter,
    RemoteDeletion,
    Session,
    LogEntry,
    User,
)

NAMES = ("alice", "bob", "carol")
PHONES = {"alice": "+37255500001", "bob": "+37255500002"}
NUMBERS = ("+37255500001", "+37255500003", "+37255500004")
_PHONE_DIGITS = "372555"
PIN_DIGITS = 10
_LONG_NUMBER = re.compile(rf"[0-9]{{{PIN_DIGITS}}}")
_CODE = re.compile(r"(?:[0-9A-HJKMNP-TV-Z]{4}-){3}[0-9A-HJKMNP-TV-Z]{4}")
_ACTS = re.compile(r"(?:private of|verified|recent|user=) ?(\d+)")
LOGIN, PIN_PAGE, RESEND, CANCEL, RECOVERY, ENROL, SECURITY, CHANGE, CONFIRM, CODES, BROWSERS = (
    f"/accounts/{page}"
    for page in (
        "login/",
        "verify/",
        "verify/resend/",
        "verify/cancel/",
        "verify/recovery/",
        "enrol/",
        "security/",
        "security/phone/",
        "security/phone/confirm/",
        "security/recovery-codes/",
        "security/browsers/",
    )
)
PASSWORD_CHANGE = "/plain/password_change/"
PAGES = ("/private/", "/verified/", "/whoami/", "/recent/", "/public/", "/admin/", LOGIN, PIN_PAGE, RECOVERY, ENROL)
PAGES = (*PAGES, SECURITY, CHANGE, CODES, BROWSERS)
POLICIES: tuple[dict[str, Any], ...] = (
    {"REQUIRED": "enrolled"},
    {"REQUIRED": "enrolled", "TRUSTED_BROWSER_DAYS": TRUST_DAYS},
    {"REQUIRED": "enrolled", "METHOD": "totp"},
    {"REQUIRED": "all", "TRUSTED_BROWSER_DAYS": TRUST_DAYS},
    {"REQUIRED": "staff"},
    {"REQUIRED": "none"},
)
VERIGATOR = {
    "BACKENDS": {"default": {"BACKEND": "tests.stateful.provider.WalkBackend"}},
    "PHONE": "phone_number",
    "STAND_IN": True,
    "LIMITS": LIMITS,
}

_actions: list[Any] = []


def action(weight: int, **arguments: Any) -> Callable[[_F], _F]:
    """Something that can happen, with its arguments; ``weight`` is how often, in comparison.

    In place of one hypothesis rule each: of those, a single walk would only use a few kinds (swarm testing), and few
    walks would come as far as a proof.
    """

    def add(method: _F) -> _F:
        each = st.fixed_dictionaries(arguments)
        _actions.extend([st.tuples(st.just(method.__name__), each)] * weight)
        return method

    return add


# Uneven, so that what needs several steps of the same ones comes about.
browsers = st.sampled_from((0, 0, 0, 0, 1, 1, 2, 3))
people = st.sampled_from(("alice", "alice", "alice", "bob", "bob", "carol"))
often = st.sampled_from((True, True, True, False))
rarely = st.sampled_from((False, False, False, True))


class Walk(RuleBasedStateMachine):
    clock: ClassVar[Clock]
    log: ClassVar[list[str]]
    steps: ClassVar[int] = 0
    seen: ClassVar[Tally[str]] = Tally()
    """What happened how often: a walk that gets nowhere proves nothing."""

    def __init__(self) -> None:
        super().__init__()
        for model in _TABLES:
            model._base_manager.all()._raw_delete(model._base_manager.db)  # type: ignore[attr-defined]
        cache.clear()
        locmem.reset()
        mail.outbox = []
        self.log.clear()
        self.clock.offset = 0.0
        witness.reset(self.clock.now)
        self.policy: dict[str, Any] = {}
        self.override: Any = None
        self._use(POLICIES[1])
        self.beliefs = Beliefs()
        for name in NAMES:
            user = User.objects.create_user(name, f"{name}@example.com", phone_number=PHONES.get(name, ""))
            person = Person(name, user.pk, staff=name == "alice")
            user.is_staff = user.is_superuser = person.staff
            user.set_password(person.secret)
            user.save()
            person.trust_version = user.verigator.trust_version
            self.beliefs.people[name] = person
            self.beliefs.name_of[person.pk] = name
        self.browsers = [Client() for _ in range(4)]
        self.rows: list[Any] = []
        self.links: dict[str, VerigatorUser] = {}
        self.sessions: dict[str, str] = {}
        self.looked_at: dict[str, str] = {}
        self.named: dict[str, str | None] = {}
        self.trusted: dict[str, tuple[Person, str]] = {}
        self.mails_read = 0
        self.made = 0
        self._read()
        self._note_who_owes()

    # --- the way to the site ------------------------------------------------------------------------------------------

    def _use(self, policy: dict[str, Any]) -> None:
        if self.override is not None:
            self.override.disable()
        self.policy = policy
        self.override = override_settings(VERIGATOR={**VERIGATOR, **policy})
        self.override.enable()

    def _read(self) -> None:
        """Read links and sessions as they are stored now; by hand, since this is done after each request."""
        with connection.cursor() as cursor:
            cursor.execute(_ALL_LINKS)
            links = cursor.fetchall()
            cursor.execute(_ALL_SESSIONS)
            self.sessions = dict(cursor.fetchall())
        if links != self.rows:
            self.rows = links
            self.links = {self.beliefs.name_of[link.user_id]: link for link in VerigatorUser.objects.all()}
        for key, stored in self.sessions.items():
            if self.looked_at.get(key) != stored:
                self.looked_at[key] = stored
                self._look_into(key, SessionStore().decode(stored))

    def _user_in(self, key: str) -> str | None:
        """Return whom a stored session names, or None."""
        return self.named[key] if key in self.sessions else None

    def _request(
        self, number: int, url: str, data: dict[str, str] | None = None, subject: str = "", **about: Any
    ) -> Any:
        """One request of a browser, and everything that must hold of it; ``subject`` is whose login it begins."""
        client, beliefs = self.browsers[number], self.beliefs
        before = _Before(self, client)
        calls = len(witness.calls)
        response = client.get(url) if data is None else client.post(url, data)
        assert response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR
        self._read()
        key, nonce = _session_key(client), _nonce(client)
        if nonce and nonce not in beliefs.pending:
            person = beliefs.people[subject or before.subject]
            beliefs.pending[nonce] = Pending(person.name, self.clock.now(), person.password, person.trust_version)
        fresh = witness.calls[calls:]
        assert len(fresh) <= 6, "a request is bounded"
        self._starts(fresh, nonce or before.nonce)
        self._checks(fresh, before, key)
        if url == RECOVERY and data is not None:
            self._recovery(data["code"], before, key, response)
        self._trusted_browser(before, key)
        self._new_trust(before, client)
        self._acting(url, data, before, response, about)
        self._changed_password(url, before, key, response, about)
        if url == BROWSERS and data is not None:
            self._ended_browsers(before, key)
        self._leaks(url, data, response)
        type(self).steps += 1
        self._holds()
        return response

    def _starts(self, calls: list[Call], nonce: str) -> None:
        now = self.clock.now()
        for call in calls:
            if call.operation == "start" and call.sent:
                person = self._owner(call)
                assert nonce, "a code was sent for no pending login"
                assert self.beliefs.pending[nonce].user == person.name, "a code went to somebody else"
                person.sent = Sent(nonce, call.user_id, now)
                assert call.phone in ("", witness.phones[call.user_id])
        texts = [call for call in witness.calls if call.phone and call.operation == "start" and call.method == "sms"]
        for call in calls:
            if call in texts:  # windows begin with their first event, so two of them may touch
                within = [other for other in texts if other.phone == call.phone and now - other.at < 600]
                assert len(within) <= 2 * LIMITS["SENDS_PER_PHONE_10_MINUTES"]
                owner = self._owner(call)
                within = [other for other in texts if self._owner(other) is owner and now - other.at < 3600]
                assert len(within) <= 2 * LIMITS["SENDS_PER_USER_HOUR"]

    def _owner(self, call: Call) -> Person:
        return self.beliefs.people[witness.owners[call.user_id]]

    def _checks(self, calls: list[Call], before: _Before, key: str) -> None:
        now, beliefs = self.clock.now(), self.beliefs
        for call in calls:
            if call.operation != "check":
                continue
            person, waiting = self._owner(call), beliefs.pending.get(before.nonce)
            assert waiting is not None, "a PIN was checked for no pending login"
            assert waiting.user == person.name, "a PIN was checked for somebody else"
            assert before.nonce not in beliefs.ended, "a PIN was checked for a login that has ended"
            assert now - waiting.since <= PENDING_SECONDS
            assert person.sent is not None, "a PIN was checked before any was sent"
            assert person.sent.nonce == before.nonce, "a PIN was checked although a newer code was sent elsewhere"
            assert person.sent.user_id == call.user_id
            assert now - person.sent.at <= CHALLENGE_SECONDS
            if not call.replied:
                self.seen["verdict lost"] += 1
            assert person.failures < CONSECUTIVE_FAILURES
            if not call.sent:
                continue
            person.sent.tries += 1
            assert person.sent.tries <= LIMITS["TRIES_PER_CHALLENGE"]
            if call.verified and call.replied:
                self._right_pin(person, waiting, call, before, key)
            elif call.replied:
                self.seen["wrong PIN"] += 1
                person.failures += 1
                person.tries.append(now)
                hour = [at for at in person.tries if now - at < 3600]
                day = [at for at in person.tries if now - at < 24 * 3600]
                assert len(hour) <= 2 * LIMITS["TRIES_PER_USER_HOUR"]
                assert len(day) <= 2 * LIMITS["TRIES_PER_USER_DAY"]

    def _right_pin(self, person: Person, waiting: Pending, call: Call, before: _Before, key: str) -> None:
        """The provider said yes; whether that is a proof, and for which session, is decided here."""
        now, beliefs = self.clock.now(), self.beliefs
        may = person.active and waiting.password == person.password and waiting.trust_version == person.trust_version
        may = may and now - person.accepted.get(call.pin, -PIN_REUSE_SECONDS) >= PIN_REUSE_SECONDS
        in_force = before.uids[person.name] == call.user_id
        acting = before.user == person.name and beliefs.may_act(before.key, person, now, strictly=False)
        if not in_force and before.phones[person.name]:
            # A new phone in place of one in force: only from a session that has proved that one.
            proof = beliefs.proof(before.key, person)
            may = may and acting and proof is not None and now - proof.at <= STEP_UP_SECONDS + CHANGE_SECONDS
        link = self.links[person.name]
        accepted = Challenge.objects.filter(user_id=person.pk, outcome="verified", verigator_id=call.user_id).exists()
        if not may:
            self.seen["right PIN refused"] += 1
            return
        if not in_force and link.trust_version != person.trust_version:
            beliefs.new_trust_version(person, link.trust_version, now)
            assert link.verigator_id == call.user_id
            self.seen["new phone" if before.phones[person.name] else "first phone"] += 1
        elif not in_force:
            return  # refused
        if accepted and self._user_in(key) == str(person.pk):
            self.seen["step-up" if before.user == person.name else "login by PIN"] += 1
            beliefs.proofs[key, person.name] = Proof(person.name, now, person.trust_version, real=True)
            beliefs.ended.add(before.nonce)
            person.accepted[call.pin] = now
            person.failures = 0

    def _recovery(self, typed: str, before: _Before, key: str, response: Any) -> None:
        waiting = self.beliefs.pending.get(before.nonce)
        if (
            response.status_code != HTTPStatus.FOUND
            or waiting is None
            or self._user_in(key) is None
            or key == before.key
        ):
            return
        person, now = self.beliefs.people[waiting.user], self.clock.now()
        good = typed in person.codes and (person.codes[typed] or now) >= now
        good = (
            good
            and person.active
            and waiting.trust_version == person.trust_version
            and waiting.password == person.password
        )
        good = good and now - waiting.since <= PENDING_SECONDS and before.nonce not in self.beliefs.ended
        assert good, "a recovery code was accepted that is none"
        self.seen["recovery code"] += 1
        del person.codes[typed]
        person.used_codes.append(typed)
        person.failures = 0
        self.beliefs.ended.add(before.nonce)
        self.beliefs.proofs[key, person.name] = Proof(person.name, now, person.trust_version, real=True)

    def _trusted_browser(self, before: _Before, key: str) -> None:
        user, now = self._user_in(key), self.clock.now()
        person = self.beliefs.by_pk(user) if user else None
        if person is None or self.policy.get("TRUSTED_BROWSER_DAYS", 0) == 0:
            return
        for value in before.trust_cookies:
            trust = self.beliefs.trusts.get(value)
            if (
                trust is not None
                and (trust.user, trust.trust_version, trust.password)
                == (person.name, person.trust_version, person.password)
                and now < trust.until
            ):
                known = self.beliefs.proof(key, person)
                if not self.beliefs.is_good(known, person):
                    self.seen["login by trusted browser"] += 1
                    self.beliefs.proofs[key, person.name] = Proof(person.name, now, person.trust_version, real=False)

    def _new_trust(self, before: _Before, client: Client) -> None:
        for value in set(_trust_cookies(client)) - set(before.trust_cookies):
            person = self.beliefs.by_pk(self._user_in(_session_key(client)))
            assert person is not None, "a browser is trusted for nobody"
            proof = self.beliefs.proof(_session_key(client), person)
            assert proof is not None, "a browser is trusted without a proof"
            assert proof.real, "trust makes trust"
            assert proof.at == self.clock.now() or self.clock.now() - proof.at < 5
            until = self.clock.now() + TRUST_DAYS * 24 * 3600
            self.beliefs.trusts[value] = Trust(person.name, person.trust_version, person.password, until)

    def _ended_browsers(self, before: _Before, key: str) -> None:
        """Whoever ends a trusted browser ends every session but this one; the other trusted browsers stay."""
        person, now = self.beliefs.people.get(before.user), self.clock.now()
        if person is None or self.links[person.name].trust_version == person.trust_version:
            return
        assert self.beliefs.may_act(before.key, person, now, strictly=True), "somebody else ended a trusted browser"
        old, trust_version = person.trust_version, self.links[person.name].trust_version
        self.beliefs.new_trust_version(person, trust_version, now)
        proof = self.beliefs.proof(key, person)
        if proof is not None and proof.trust_version == old:
            self.beliefs.proofs[key, person.name] = replace(proof, trust_version=trust_version)
        for value, trust in self.beliefs.trusts.items():
            if (trust.user, trust.trust_version) != (person.name, old):
                continue
            if TrustedBrowser.objects.filter(digest=digest("browser", value)).exists():
                trust.trust_version = trust_version
            else:
                trust.until = 0.0
        self.seen["ended a trusted browser"] += 1

    def _acting(self, url: str, data: dict[str, str] | None, before: _Before, response: Any, about: Any) -> None:
        """I1 on what the site has done for the user of this session."""
        changes = data is not None and url == CHANGE and response.get("Location") == CONFIRM
        if response.status_code != HTTPStatus.OK and not changes:
            return
        body = response.content.decode()
        acts = _ACTS.search(body) if url in PAGES else None
        pk = acts[1] if acts else None
        context = response.context
        if url == SECURITY:
            pk = str(context["link"].user_id)
        elif url in (CHANGE, CODES):
            pk = before.user_pk
        elif url == "/admin/" and context is not None and "available_apps" in context:
            pk = str(context["user"].pk)
        person = self.beliefs.by_pk(pk) if pk else None
        if person is None:
            return
        self.seen[f"{person.name} acts"] += 1
        now = self.clock.now()
        strictly = data is not None or url in ("/recent/", CHANGE, CODES)
        assert before.user_pk == str(person.pk)
        assert self.beliefs.may_act(before.key, person, now, strictly=strictly), f"{person.name} acts on {url}"
        if url in ("/recent/", CHANGE, CODES):
            proof = self.beliefs.proof(before.key, person)
            assert proof is not None, f"{person.name} has proved nothing"
            assert proof.real
            assert proof.trust_version == person.trust_version
            assert now - proof.at <= STEP_UP_SECONDS + 1
        if changes or (data is not None and url == CODES and "codes" in context):
            assert about["password_right"], "something was changed without the password"

    def _changed_password(self, url: str, before: _Before, key: str, response: Any, about: Any) -> None:
        if url != PASSWORD_CHANGE or response.get("Location") != f"{PASSWORD_CHANGE}done/":
            return
        person = self.beliefs.people[before.user]
        assert self.beliefs.may_act(before.key, person, self.clock.now(), strictly=False), "nobody changed a password"
        assert about["password_right"]
        person.password += 1
        self.beliefs.move(before.key, key)

    def _leaks(self, url: str, data: dict[str, str] | None, response: Any) -> None:
        if response.streaming:
            return
        body = response.content.decode()
        text = f"{body}\n{response.headers}\n{response.get('Location', '')}"
        assert witness.pins.isdisjoint(_LONG_NUMBER.findall(text)), "a PIN on a page"
        assert all(len(pin) == PIN_DIGITS for pin in witness.pins)
        if data is None or url not in (ENROL, CHANGE):
            assert _PHONE_DIGITS not in text, "a phone on a page"
        if url != CODES or data is None:
            assert self.beliefs.codes_ever.isdisjoint(_CODE.findall(text)), "a recovery code on a page"

    # --- people and thieves -------------------------------------------------------------------------------------------

    @action(3, b=browsers, name=people, right=often, then=often)
    def password(self, b: int, name: str, right: bool, then: bool) -> None:
        person = self.beliefs.people[name]
        calls = len(witness.calls)
        typed = person.secret if right else "wrong"
        self._request(b, LOGIN, {"username": name, "password": typed, "next": "/private/"}, name)
        if right and person.active:
            person.failures = min(person.failures, CONSECUTIVE_FAILURES)
        else:
            assert len(witness.calls) == calls, "a call after a wrong password"
        if then:
            self._request(b, "/private/")

    @action(4, b=browsers, name=people, trust=st.booleans())
    def log_in(self, b: int, name: str, trust: bool) -> None:
        person = self.beliefs.people[name]
        self._request(b, LOGIN, {"username": name, "password": person.secret}, name)
        self._post_pin(b, "right", trust)
        self._request(b, "/verified/")

    @action(5, b=browsers, which=st.sampled_from(("right", "right", "wrong", "old", "other's", "none")), trust=rarely)
    def pin(self, b: int, which: str, trust: bool) -> None:
        self._post_pin(b, which, trust)
        self._request(b, "/private/")

    def _post_pin(self, b: int, which: str, trust: bool) -> None:
        waiting = self.beliefs.pending.get(_nonce(self.browsers[b]))
        mine = waiting.user if waiting else "alice"
        sent = {name: self.beliefs.people[name].sent for name in NAMES}
        newest = {name: witness.newest_pin.get(each.user_id) for name, each in sent.items() if each}
        used = list(self.beliefs.people[mine].accepted)
        typed = {
            "right": newest.get(mine),
            "wrong": "0000000001",
            "old": used[-1] if used else None,
            "other's": next((found for name, found in newest.items() if name != mine and found), None),
            "none": "",
        }[which]
        data = {"pin": "1234567890" if typed is None else typed, **({"trust": "on"} if trust else {})}
        self._request(b, PIN_PAGE, data)

    @action(3, b=browsers, name=people, wrong=st.integers(1, 4), then_right=st.booleans())
    def guess(self, b: int, name: str, wrong: int, then_right: bool) -> None:
        self.password(b, name, right=True, then=False)
        for _ in range(wrong):
            self._post_pin(b, "wrong", trust=False)
        if then_right:
            self._post_pin(b, "right", trust=False)
        self._request(b, "/private/")

    @action(3, b=browsers, name=people)
    def log_in_and_make_codes(self, b: int, name: str) -> None:
        self.log_in(b, name, trust=False)
        self.make_codes(b, right=True)

    @action(4, b=browsers, name=people, which=st.sampled_from(("fresh", "fresh", "used", "other's", "none")))
    def log_in_by_code(self, b: int, name: str, which: str) -> None:
        self.password(b, name, right=True, then=False)
        self.recovery_code(b, which)

    @action(3, b=browsers, name=people, number=st.sampled_from(NUMBERS), prove=often)
    def log_in_and_change_phone(self, b: int, name: str, number: str, prove: bool) -> None:
        self.log_in(b, name, trust=False)
        (self.enrol if name == "carol" else self.change_phone)(b, number, right=True, prove=prove)

    @action(3, b=browsers, name=people)
    def come_again(self, b: int, name: str) -> None:
        self.logout(b)
        self.password(b, name, right=True, then=True)

    @action(3, b=browsers, switch=rarely)
    def resend(self, b: int, switch: bool) -> None:
        self._request(b, RESEND, {"method": "sms"} if switch else {})

    @action(1, b=browsers)
    def cancel(self, b: int) -> None:
        nonce = _nonce(self.browsers[b])
        self._request(b, CANCEL, {})
        self.beliefs.ended.add(nonce)

    @action(1, b=browsers)
    def logout(self, b: int) -> None:
        key, nonce = _session_key(self.browsers[b]), _nonce(self.browsers[b])
        self._request(b, "/plain/logout/", {})
        self.beliefs.drop_session(key)
        self.beliefs.ended.add(nonce)
        assert not Session.objects.filter(pk=key).exists()

    @action(2, b=browsers, name=people)
    def magic_link(self, b: int, name: str) -> None:
        self._request(b, f"/magic/{name}/", None, name)
        self._request(b, "/private/")

    @action(1, b=browsers, name=people, right=often)
    def admin_login(self, b: int, name: str, right: bool) -> None:
        person = self.beliefs.people[name]
        typed = {"username": name, "password": person.secret if right else "wrong", "next": "/admin/"}
        self._request(b, "/admin/login/", typed, name)
        self._request(b, "/admin/")

    @action(5, b=browsers, page=st.sampled_from(PAGES))
    def look(self, b: int, page: str) -> None:
        calls = len(witness.calls)
        self._request(b, page)
        assert len(witness.calls) == calls, "a GET has called the provider"

    @action(3, b=browsers, prove=often)
    def step_up(self, b: int, prove: bool) -> None:
        self._request(b, "/recent/")
        if prove:
            self._request(b, RESEND, {})
            self._post_pin(b, "right", trust=False)
            self._request(b, "/recent/")

    @action(3, b=browsers, number=st.sampled_from(NUMBERS), right=often, prove=often)
    def enrol(self, b: int, number: str, right: bool, prove: bool) -> None:
        before = _Before(self, self.browsers[b])
        calls = len(witness.calls)
        person = self.beliefs.people.get(before.subject)
        typed = person.secret if right and person else "wrong"
        self._request(b, ENROL, {"phone": number, "password": typed, "next": "/private/"})
        if not right and not before.nonce:
            assert len(witness.calls) == calls, "a phone was taken without the password"
        if prove:
            self._post_pin(b, "right", trust=False)

    @action(3, b=browsers, number=st.sampled_from(NUMBERS), right=often, prove=often)
    def change_phone(self, b: int, number: str, right: bool, prove: bool) -> None:
        person = self.beliefs.by_pk(self._user_in(_session_key(self.browsers[b])))
        typed = person.secret if right and person else "wrong"
        self._request(b, CHANGE, {"phone": number, "password": typed}, password_right=right)
        if prove:
            self._post_pin(b, "right", trust=False)

    @action(2, b=browsers, right=often)
    def make_codes(self, b: int, right: bool) -> None:
        person = self.beliefs.by_pk(self._user_in(_session_key(self.browsers[b])))
        typed = person.secret if right and person else "wrong"
        response = self._request(b, CODES, {"password": typed}, password_right=right)
        codes = response.context["codes"] if response.context is not None and "codes" in response.context else None
        if codes:
            self.seen["codes made"] += 1
            assert person is not None
            person.used_codes += person.codes
            person.codes = dict.fromkeys(codes)
            self.beliefs.codes_ever.update(codes)

    @action(3, b=browsers, which=st.sampled_from(("fresh", "fresh", "used", "other's", "none")))
    def recovery_code(self, b: int, which: str) -> None:
        waiting = self.beliefs.pending.get(_nonce(self.browsers[b]))
        person = self.beliefs.people[waiting.user if waiting else "alice"]
        others = [code for other in self.beliefs.people.values() if other is not person for code in other.codes]
        found = {"fresh": list(person.codes), "used": person.used_codes, "other's": others, "none": []}[which]
        calls = len(witness.calls)
        self._request(b, RECOVERY, {"code": found[-1] if found else "0000-0000-0000-0000"})
        assert len(witness.calls) == calls, "the provider was asked for a recovery code"
        self._request(b, "/private/")

    @action(1, b=browsers, all_of_them=st.booleans(), name=people)
    def end_browsers(self, b: int, all_of_them: bool, name: str) -> None:
        person = self.beliefs.by_pk(self._user_in(_session_key(self.browsers[b])))
        target = self.beliefs.people[name]
        row = TrustedBrowser.objects.filter(user_id=target.pk).first()
        kept = {other.name: TrustedBrowser.objects.filter(user_id=other.pk).count() for other in self._all()}
        self._request(b, BROWSERS, {} if all_of_them else {"browser": str(row.pk) if row else "x"})
        for other in self._all():
            left = TrustedBrowser.objects.filter(user_id=other.pk).count()
            assert left == kept[other.name] or other is person, "somebody else's trust was ended"
            if left == 0:
                for trust in self.beliefs.trusts.values():
                    if trust.user == other.name:
                        trust.until = 0.0

    @action(1, b=browsers, right=often)
    def change_password(self, b: int, right: bool) -> None:
        person = self.beliefs.by_pk(self._user_in(_session_key(self.browsers[b])))
        old = person.secret if right and person else "wrong"
        new = f"{person.name}'s horse {person.password + 1}" if person else "new"
        form = {"old_password": old, "new_password1": new, "new_password2": new}
        self._request(b, PASSWORD_CHANGE, form, password_right=right)
        self._request(b, "/private/")

    @action(
        2,
        source=browsers,
        thief=browsers,
        what=st.sampled_from(("all", "session", "pending", "browser")),
    )
    def steal_cookies(self, source: int, thief: int, what: str) -> None:
        kinds = {"all": "", "session": "sessionid", "pending": cookies.cookie_name(), "browser": "verigator_browser_"}
        for name, morsel in self.browsers[source].cookies.items():
            if name.startswith(kinds[what]):
                self.browsers[thief].cookies[name] = morsel.value
        self._request(thief, "/private/")

    @action(1, b=browsers)
    def fresh_browser(self, b: int) -> None:
        self.browsers[b] = Client()

    # --- the site, the provider, the time -----------------------------------------------------------------------------

    @action(2, name=people, what=st.sampled_from(("reset", "unlock", "unlock", "code")))
    def support(self, name: str, what: str) -> None:
        person = self.beliefs.people[name]
        user = User.objects.get(pk=person.pk)
        if what == "code":
            code = support.issue_code(user, by="the walk")
            person.codes[code] = self.clock.now() + 15 * 60
            self.beliefs.codes_ever.add(code)
            return
        person.failures, person.tries = 0, []
        if what == "unlock":
            support.unlock(user, by="the walk")
            return
        support.reset(user, by="the walk")
        person.used_codes += person.codes
        person.codes = {}
        trust_version = VerigatorUser.objects.get(user_id=person.pk).trust_version
        assert trust_version != person.trust_version, "a reset ends every session"
        self.beliefs.new_trust_version(person, trust_version, self.clock.now())
        person.sent = None
        self.beliefs.ended |= {nonce for nonce, each in self.beliefs.pending.items() if each.user == name}

    @action(1, name=people, active=often)
    def activate(self, name: str, active: bool) -> None:
        person = self.beliefs.people[name]
        person.active = active
        User.objects.filter(pk=person.pk).update(is_active=active)

    @action(1, name=people)
    def set_password(self, name: str) -> None:
        person = self.beliefs.people[name]
        person.password += 1
        person.failures = 0  # a new password ends the hard stop
        user = User.objects.get(pk=person.pk)
        user.set_password(person.secret)
        self._save(user, person)

    @action(1, name=people, number=st.sampled_from(("", *NUMBERS)))
    def site_changes_phone(self, name: str, number: str) -> None:
        person = self.beliefs.people[name]
        user = User.objects.get(pk=person.pk)
        user.phone_number = number
        self._save(user, person)

    def _save(self, user: Any, person: Person) -> None:
        user.save()
        if not person.active:  # ends the proofs of one who is not, for good
            trust_version = VerigatorUser.objects.get(user_id=person.pk).trust_version
            self.beliefs.new_trust_version(person, trust_version, self.clock.now())

    @action(2, trouble=st.sampled_from(("", "", *TROUBLES)))
    def provider(self, trouble: str) -> None:
        witness.trouble = trouble

    @action(1, number=st.sampled_from(NUMBERS), linked=often)
    def link_app(self, number: str, linked: bool) -> None:
        (witness.with_app.add if linked else witness.with_app.discard)(number)

    @action(4, seconds=st.sampled_from((31, 61, 61, 301, 601, 3601, 86401)))
    def wait(self, seconds: int) -> None:
        self.clock.offset += seconds

    @action(2, policy=st.sampled_from((POLICIES[0], POLICIES[1], POLICIES[1], *POLICIES)))
    def change_policy(self, policy: dict[str, Any]) -> None:
        self._use(policy)

    @action(1)
    def sync(self) -> None:
        sync.sync_all()

    @rule(what=st.deferred(lambda: st.sampled_from(_actions).flatmap(lambda each: each)))
    def step(self, what: tuple[str, dict[str, Any]]) -> None:
        name, arguments = what
        self.made += 1
        before = self.steps
        getattr(self, name)(**arguments)
        if self.steps == before:  # nothing was asked for
            type(self).steps += 1
        self._read()
        self._holds()

    # --- what holds always --------------------------------------------------------------------------------------------

    def _all(self) -> list[Person]:
        return list(self.beliefs.people.values())

    def _holds(self) -> None:
        self._note_who_owes()
        assert witness.in_transaction == [], "a transaction was open during a call"
        self._look_at_sessions()
        self._look_at_mails_and_log()

    def _note_who_owes(self) -> None:
        required = self.policy["REQUIRED"]
        for person in self._all():
            link = self.links[person.name]
            assert link.trust_version == person.trust_version, "trust has ended for no reason"
            owes = {
                "enrolled": link.has_usable_phone,
                "all": True,
                "staff": person.staff,
                "none": False,
            }[required]
            if not owes:
                person.owes_since = None
            elif person.owes_since is None:
                person.owes_since = self.clock.now()

    def _look_at_sessions(self) -> None:
        """I1 and I4 in the store: no trusted session without its proof, and nothing in any that must not be there."""
        for key in self.sessions:
            person, trust_version = self.trusted.get(key, (None, ""))
            if person is not None and trust_version == person.trust_version:
                proof = self.beliefs.proof(key, person)
                assert self.beliefs.is_good(proof, person), f"{person.name} is trusted and has proved nothing"

    def _look_into(self, key: str, data: dict[str, Any]) -> None:
        text = json.dumps(data)
        assert witness.pins.isdisjoint(_LONG_NUMBER.findall(text)), "a PIN in a session"
        assert _PHONE_DIGITS not in text, "a phone in a session"
        assert self.beliefs.codes_ever.isdisjoint(_CODE.findall(text)), "a recovery code in a session"
        self.named[key] = data.get(SESSION_KEY)
        person, mark = self.beliefs.by_pk(data.get(SESSION_KEY)), data.get(PROOF_KEY)
        self.trusted.pop(key, None)
        if person is not None and mark is not None and mark["user"] == str(person.pk):
            self.trusted[key] = person, mark["trust_version"]

    def _look_at_mails_and_log(self) -> None:
        texts = [f"{each.subject}\n{each.body}" for each in mail.outbox[self.mails_read :]] + self.log
        self.mails_read = len(mail.outbox)
        for text in texts:
            assert witness.pins.isdisjoint(_LONG_NUMBER.findall(text)), "a PIN in a mail or the log"
            assert _PHONE_DIGITS not in text, "a phone in a mail or the log"
            assert self.beliefs.codes_ever.isdisjoint(_CODE.findall(text)), "a recovery code in a mail or the log"
        self.log.clear()

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self._everybody_comes_home()
        finally:
            self.override.disable()

    def _everybody_comes_home(self) -> None:
        """Whatever has happened: when provider and support are back, each user gets in again, within a day."""
        witness.trouble = ""
        self._use(POLICIES[0])
        self.clock.offset += 25 * 3600
        self._note_who_owes()
        # One of them a walk: it takes as long as ten steps.
        person = self._all()[self.made % len(NAMES)]
        User.objects.filter(pk=person.pk).update(is_active=True)
        person.active = True
        support.unlock(User.objects.get(pk=person.pk), by="the walk")
        person.failures, person.tries = 0, []
        self.browsers[0] = Client()
        self.log_in(0, person.name, trust=False)
        assert self._user_in(_session_key(self.browsers[0])) == str(person.pk), f"{person.name} cannot come home"
        self.seen["came home"] += 1


class _Before:
    """What a browser held, and what was in force, before a request."""

    def __init__(self, walk: Walk, client: Client) -> None:
        beliefs = walk.beliefs
        self.key, self.nonce, self.trust_cookies = _session_key(client), _nonce(client), _trust_cookies(client)
        self.user_pk = walk._user_in(self.key)
        person = beliefs.by_pk(self.user_pk)
        self.user = person.name if person else ""
        waiting = beliefs.pending.get(self.nonce)
        self.subject = waiting.user if waiting and not self.user else self.user
        self.uids = {name: link.verigator_id for name, link in walk.links.items()}
        self.phones = {name: link.phone_number if link.has_usable_phone else "" for name, link in walk.links.items()}


def _session_key(client: Client) -> str:
    cookie = client.cookies.get("sessionid")
    return cookie.value if cookie else ""


def _nonce(client: Client) -> str:
    cookie = client.cookies.get("verigator_token_sessionid")
    return cookie.value.split(":")[0] if cookie else ""


def _trust_cookies(client: Client) -> list[str]:
    return [morsel.value for name, morsel in client.cookies.items() if name.startswith("verigator_browser_")]
