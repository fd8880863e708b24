"""One request's view of trust: whether its session's user may act, and what the response must do about it.

The middleware puts a SessionGuard on each request as ``request.verigator``; decorators, views and ``is_verified`` ask
it.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from django.contrib import auth
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.utils.functional import LazyObject, empty

from .. import conf
from ..constants import METHOD_BROWSER
from . import browsers, policy
from .cookies import CookieJar

PROOF_KEY = "_auth_verigator"
"""The one session key of a verified session: user, trust version, time (seconds since 1970) and method of the proof.
Named like Django's own, which sites leave out where they keep a session's data over a log-out."""

SIGNED_IN_KEY = "_auth_verigator_signed_in"
"""Session key of who has signed in here last, and when (seconds since 1970); where ENROL_SECONDS asks for it."""

_PROOF_TYPES = {"user": str, "trust_version": str, "at": int, "method": str}

_AUTH_KEYS = (auth.SESSION_KEY, auth.BACKEND_SESSION_KEY, auth.HASH_SESSION_KEY)


class SessionGuard:
    """Whether this request's user may act.

    Attributes:
        allowed_pk: primary key (as the session has it) of the user this request was found to be allowed to act as.
        intercepted: the user who still owes the second step, with the authentication backend that let the user in.
        logins: the sessions in which somebody was logged in within this request, and whom; not all need be the
            request's own.
        cookies: what the response does with the pending cookie.
        outer_user: what the middlewares before ours had put on the request.
        lazy_user, lazy_auser: what the middleware installed; others there came from a login on the way.
    """

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.allowed_pk: str | None = None
        self.intercepted: tuple[Any, str] | None = None
        self.logins: list[tuple[SessionBase, Any]] = []
        self.cookies = CookieJar()
        self.outer_user: Any = None
        self.lazy_user: Any = None
        self.lazy_auser: Any = None

    # --- asking -------------------------------------------------------------------------------------------------------

    def resolve_user(self, user: AbstractBaseUser, *, fresh: bool = False) -> Any:
        """Return ``user``, or an anonymous user in its place if the second step is owed.

        Args:
            fresh: read the user's requirement from the database instead of believing what was read a minute ago.
        """
        if not user.is_authenticated or self.allowed_pk == _session_pk(user):
            return user
        if self._passes(user, fresh):
            self.allowed_pk = _session_pk(user)
            return user
        return self._intercept(user)

    def _passes(self, user: AbstractBaseUser, fresh: bool) -> bool:
        # A mismatch is believed only after reading the row.
        recent = None if fresh else policy.recent_requirement(user)
        if recent is not None and self._satisfies(user, recent):
            return True
        requirement = policy.requirement_of(user)
        return self._satisfies(user, requirement) or self._is_in_trusted_browser(user, requirement)

    def _is_in_trusted_browser(self, user: AbstractBaseUser, requirement: policy.Requirement) -> bool:
        if self.proof(user) is not None or not browsers.is_trusted(self.request, user, requirement.trust_version):
            return False
        self.request.session.cycle_key()  # whoever planted the session in this browser is not to have the proof too
        self.write_proof(user, requirement.trust_version, METHOD_BROWSER)
        return True

    def _satisfies(self, user: AbstractBaseUser, requirement: policy.Requirement) -> bool:
        proof = self.proof(user)
        if proof is not None:
            return bool(proof["trust_version"] == requirement.trust_version)
        return not requirement.is_required

    def _intercept(self, user: AbstractBaseUser) -> Any:
        session = self.request.session
        user = _bare(user)
        if self.proof(user) is not None:
            # It was trusted once and the trust has ended (reset, new phone): the whole login ends with it.
            session.flush()
        else:
            self.intercepted = (user, session.get(auth.BACKEND_SESSION_KEY, ""))
            _end_login(session)
        nobody: Any = AnonymousUser()
        self.request._cached_user = self.request._acached_user = nobody  # type: ignore[attr-defined]
        # What middlewares hang on each user (django-otp's is_verified), views ask of this one as well.
        _forget(self.outer_user)
        if isinstance(self.outer_user, LazyObject) and not self.outer_user.is_authenticated:
            nobody = self.outer_user

        async def auser() -> Any:
            return nobody

        self.request.user = nobody
        self.request.auser = auser
        return nobody

    def proof(self, user: AbstractBaseUser) -> dict[str, Any] | None:
        """Return this session's proof for this user, whether or not it is still good."""
        proof = self.request.session.get(PROOF_KEY)
        if not isinstance(proof, dict) or proof.get("user") != _session_pk(user):
            return None
        # Site code may have written it, or an older version.
        return proof if all(isinstance(proof.get(key), kind) for key, kind in _PROOF_TYPES.items()) else None

    def is_verified(self) -> bool:
        """Whether this session has proved the second factor of the user who is logged in."""
        if self.allowed_pk is None and not self.request.user.is_authenticated:
            return False
        session = self.request.session
        proof = session.get(PROOF_KEY)
        return (
            self.allowed_pk is not None
            and session.get(auth.SESSION_KEY) == self.allowed_pk
            and isinstance(proof, dict)
            and proof.get("user") == self.allowed_pk
        )

    def revalidate(self, user: Any) -> Any:
        """Admit a user again, by what is stored now: a trust that has ended is not believed for another minute."""
        # First, since a lazy user is admitted by what was read a minute ago at the moment when it is first looked at.
        if not user.is_authenticated:
            return user
        self.allowed_pk = None
        return self.resolve_user(user, fresh=True)

    def proved_within(self, user: AbstractBaseUser, max_age: timedelta) -> bool:
        """Whether the last real proof is younger than ``max_age``; reads the row, never the cache."""
        user = self.revalidate(user)
        proof = self.proof(user) if user.is_authenticated else None
        return proof is not None and time.time() - proof["at"] <= max_age.total_seconds()

    def signed_in_within(self, user: AbstractBaseUser, seconds: int) -> bool:
        """Whether this user has signed in to this session so many seconds ago or less, however, PIN or not."""
        who, at = self.request.session.get(SIGNED_IN_KEY) or ("", 0)
        return who == _session_pk(user) and time.time() - at <= seconds

    def end_hidden_logins(self) -> None:
        """Undo each login of this request that its own session does not show, if its user owes the second step.

        APIs put a session of their own on the request while they log somebody in, or hand out a token and keep none.
        """
        for session, user in self.logins:
            hidden = session is not self.request.session
            known = (self.allowed_pk, self.intercepted and _session_pk(self.intercepted[0]))
            if (not hidden and _session_pk(user) in known) or not policy.requirement_of(user).is_required:
                continue
            self.intercepted = (user, session.get(auth.BACKEND_SESSION_KEY, getattr(user, "backend", "")))
            if hidden:
                _end_login(session)
                session.save()

    # --- changing -----------------------------------------------------------------------------------------------------

    def write_proof(self, user: AbstractBaseUser, trust_version: str, method: str) -> None:
        """Write the proof into the session in which ``user`` is, or just was, logged in."""
        self.request.session[PROOF_KEY] = new_proof(user, trust_version, method)
        self.allowed_pk = _session_pk(user)
        self.intercepted = None

    def note_login(self, session: SessionBase, user: AbstractBaseUser) -> None:
        """Remember a login of this request, whoever made it; it is looked at before the response leaves."""
        if session is not self.request.session or self.allowed_pk != _session_pk(user):
            drop_old_proof(session, user)
        if _is_written(session, user):
            self.allowed_pk = None
            if conf.current().ENROL_SECONDS:
                session[SIGNED_IN_KEY] = [_session_pk(user), int(time.time())]
        self.logins.append((session, _bare(user)))

    def has_logged_in(self) -> bool:
        """Whether somebody was logged in to this request's own session within it."""
        return any(session is self.request.session for session, _ in self.logins)

    def renew_proof(self, user: AbstractBaseUser, trust_version: str) -> None:
        """Have this session's proof outlive the trust_version it was given in."""
        proof = self.proof(user)
        if proof is not None:
            self.request.session[PROOF_KEY] = {**proof, "trust_version": trust_version}


def session_guard(request: HttpRequest) -> SessionGuard:
    """Return the request's gate.

    Raises:
        ImproperlyConfigured: the middleware is not installed, so nothing here could be enforced.
    """
    gate = getattr(request, "verigator", None)
    if not isinstance(gate, SessionGuard):
        raise ImproperlyConfigured(
            "django_verigator.middleware.VerigatorMiddleware is missing in MIDDLEWARE, "
            "or stands before AuthenticationMiddleware."
        )
    return gate


def drop_old_proof(session: SessionBase, user: AbstractBaseUser) -> None:
    """Have a proof end with the login it was given in: a site may keep its session's data over a log-out."""
    if _is_written(session, user):
        session.pop(PROOF_KEY, None)


def _is_written(session: SessionBase, user: AbstractBaseUser) -> bool:
    # The signal alone is no login: some send it when they hand a token to who is logged in already.
    return session.modified and session.get(auth.SESSION_KEY) == _session_pk(user)


def _bare(user: AbstractBaseUser) -> Any:
    while isinstance(user, LazyObject):
        if user._wrapped is empty:
            user._setup()
        user = user._wrapped
    return user


def _forget(user: AbstractBaseUser) -> None:
    """Have a lazy user be asked for again, and what it was made of."""
    while isinstance(user, LazyObject):
        made_of, user._wrapped = user._wrapped, empty
        user = made_of


def _end_login(session: SessionBase) -> None:
    for key in _AUTH_KEYS:
        session.pop(key, None)


def new_proof(user: AbstractBaseUser, trust_version: str, method: str) -> dict[str, Any]:
    """Return what a session keeps of a proof that was given now; a trusted browser is none, however recent."""
    at = 0 if method == METHOD_BROWSER else int(time.time())
    return {"user": _session_pk(user), "trust_version": trust_version, "at": at, "method": method}


def _session_pk(user: AbstractBaseUser) -> str:
    return str(user._meta.pk.value_to_string(user))
