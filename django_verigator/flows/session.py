"""The session guard, which the middleware puts on each request as ``request.verigator``.

It decides whether the session's user may act, and intercepts a login without the second factor.
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
"""Session key of the proof: user, trust version, time (seconds since 1970) and method.
Named like Django's own keys, which sites skip when they keep a session's data over a log-out."""

SIGNED_IN_KEY = "_auth_verigator_signed_in"
"""Session key of the last login: user and time (seconds since 1970). Written only where ENROL_SECONDS is set."""

_PROOF_TYPES = {"user": str, "trust_version": str, "at": int, "method": str}

_AUTH_KEYS = (auth.SESSION_KEY, auth.BACKEND_SESSION_KEY, auth.HASH_SESSION_KEY)


class SessionGuard:
    """Decides whether the user of a request's session may act.

    Attributes:
        allowed_pk: primary key, as the session has it, of the user whom this request may act as; None if unknown.
        intercepted: the user whose login was intercepted, and the authentication backend that accepted the user.
        logins: each login of this request as session and user; the session need not be the request's own.
        cookies: the cookies that the response sets or deletes.
        outer_user: ``request.user`` as the middlewares before ours have left it.
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
        """Return ``user`` if the session may act as that user; else end the login and return an anonymous user.

        Args:
            user: also a lazy one; what is returned is the user in it, since ``request.user`` wraps that once more.
            fresh: read the user's requirement from the database, not from the cache.
        """
        user = _unwrap(user)
        if not user.is_authenticated:
            return user
        user_pk = _session_pk(user)
        if self.allowed_pk == user_pk:
            return user
        if self._passes(user, self._proof_of(user_pk), fresh):
            self.allowed_pk = user_pk
            return user
        return self._intercept(user)

    def _passes(self, user: AbstractBaseUser, proof: dict[str, Any] | None, fresh: bool) -> bool:
        # The cache can allow, but only the row can refuse.
        recent = None if fresh else policy.recent_requirement(user)
        if recent is not None and _satisfies(proof, recent):
            return True
        requirement = policy.requirement_of(user)
        return _satisfies(proof, requirement) or (proof is None and self._is_in_trusted_browser(user, requirement))

    def _is_in_trusted_browser(self, user: AbstractBaseUser, requirement: policy.Requirement) -> bool:
        if not browsers.is_trusted(self.request, user, requirement.trust_version):
            return False
        self.request.session.cycle_key()  # against session fixation
        self.write_proof(user, requirement.trust_version, METHOD_BROWSER)
        return True

    def _intercept(self, user: AbstractBaseUser) -> Any:
        session = self.request.session
        if self.proof(user) is not None:
            # The proof is of an older trust version (reset, new phone), so the login ends too.
            session.flush()
        else:
            self.intercepted = (user, session.get(auth.BACKEND_SESSION_KEY, ""))
            _end_login(session)
        anonymous: Any = AnonymousUser()
        self.request._cached_user = self.request._acached_user = anonymous  # type: ignore[attr-defined]
        # Views may need what middlewares add to each user, such as django-otp's is_verified.
        _reset_lazy_user(self.outer_user)
        if isinstance(self.outer_user, LazyObject) and not self.outer_user.is_authenticated:
            anonymous = self.outer_user
        if self.lazy_user is not None:
            self.lazy_user._wrapped = anonymous  # for whoever has read request.user before

        async def auser() -> Any:
            return anonymous

        self.request.user = anonymous
        self.request.auser = auser
        return anonymous

    def proof(self, user: AbstractBaseUser) -> dict[str, Any] | None:
        """Return this session's proof for this user, also one of an older trust version; None without one."""
        return self._proof_of(_session_pk(user))

    def _proof_of(self, user_pk: str) -> dict[str, Any] | None:
        proof = self.request.session.get(PROOF_KEY)
        if not isinstance(proof, dict) or proof.get("user") != user_pk:
            return None
        # The site's code or an older version of the app may have written it.
        return proof if all(map(isinstance, map(proof.get, _PROOF_TYPES), _PROOF_TYPES.values())) else None

    def is_verified(self) -> bool:
        """Whether this session has proved the second factor of the user who is logged in."""
        if self.allowed_pk is None and not self.request.user.is_authenticated:
            return False
        return (
            self.allowed_pk is not None
            and self.request.session.get(auth.SESSION_KEY) == self.allowed_pk
            and self._proof_of(self.allowed_pk) is not None
        )

    def revalidate(self, user: Any) -> Any:
        """Resolve the user again, by the database and not by the cache."""
        # First, since this evaluates a lazy user, which the cache may still allow.
        if not user.is_authenticated:
            return user
        self.allowed_pk = None
        return self.resolve_user(user, fresh=True)

    def proved_within(self, user: AbstractBaseUser, max_age: timedelta) -> bool:
        """Whether the last proof, other than a trusted browser, is younger than ``max_age``; never by the cache."""
        user = self.revalidate(user)
        proof = self.proof(user) if user.is_authenticated else None
        return proof is not None and time.time() - proof["at"] <= max_age.total_seconds()

    def signed_in_within(self, user: AbstractBaseUser, seconds: int) -> bool:
        """Whether this user was logged in to this session at most ``seconds`` ago, with or without a second factor."""
        user_pk, at = self.request.session.get(SIGNED_IN_KEY) or ("", 0)
        return user_pk == _session_pk(user) and time.time() - at <= seconds

    def end_hidden_logins(self) -> None:
        """Intercept the logins of this request that its own session does not show, where a second factor is required.

        An API may put another session on the request for the login, or hand out a token and keep no session.
        """
        for session, user in self.logins:
            hidden = session is not self.request.session
            resolved_pks = (self.allowed_pk, self.intercepted and _session_pk(self.intercepted[0]))
            if (not hidden and _session_pk(user) in resolved_pks) or not policy.requirement_of(user).is_required:
                continue
            self.intercepted = (user, session.get(auth.BACKEND_SESSION_KEY, getattr(user, "backend", "")))
            if hidden:
                _end_login(session)
                session.save()

    # --- changing -----------------------------------------------------------------------------------------------------

    def write_proof(self, user: AbstractBaseUser, trust_version: str, method: str) -> None:
        """Write a proof to the session, in which ``user`` is logged in."""
        self.request.session[PROOF_KEY] = new_proof(user, trust_version, method)
        self.allowed_pk = _session_pk(user)
        self.intercepted = None

    def note_login(self, session: SessionBase, user: AbstractBaseUser) -> None:
        """Note a login of this request, whoever made it; the middleware checks it before the response leaves."""
        if session is not self.request.session or self.allowed_pk != _session_pk(user):
            drop_old_proof(session, user)
        if _holds_login(session, user):
            self.allowed_pk = None
            if conf.current().ENROL_SECONDS:
                session[SIGNED_IN_KEY] = [_session_pk(user), int(time.time())]
        self.logins.append((session, _unwrap(user)))

    def has_logged_in(self) -> bool:
        """Whether this request has logged a user in to its own session."""
        return any(session is self.request.session for session, _ in self.logins)

    def renew_proof(self, user: AbstractBaseUser, trust_version: str) -> None:
        """Move this session's proof to the next trust version."""
        proof = self.proof(user)
        if proof is not None:
            self.request.session[PROOF_KEY] = {**proof, "trust_version": trust_version}


def session_guard(request: HttpRequest) -> SessionGuard:
    """Return the guard of a request.

    Raises:
        ImproperlyConfigured: the middleware, without which nothing is enforced, is not installed.
    """
    guard = getattr(request, "verigator", None)
    if not isinstance(guard, SessionGuard):
        raise ImproperlyConfigured(
            "django_verigator.middleware.VerigatorMiddleware is missing in MIDDLEWARE, "
            "or stands before AuthenticationMiddleware."
        )
    return guard


def drop_old_proof(session: SessionBase, user: AbstractBaseUser) -> None:
    """Remove the proof of an earlier login, since a site may keep a session's data over a log-out."""
    if _holds_login(session, user):
        session.pop(PROOF_KEY, None)


def _satisfies(proof: dict[str, Any] | None, requirement: policy.Requirement) -> bool:
    if proof is not None:
        return bool(proof["trust_version"] == requirement.trust_version)
    return not requirement.is_required


def _holds_login(session: SessionBase, user: AbstractBaseUser) -> bool:
    # The signal alone is no login: some packages send it when they issue a token to a logged-in user.
    return session.modified and session.get(auth.SESSION_KEY) == _session_pk(user)


def _unwrap(user: AbstractBaseUser) -> Any:
    while isinstance(user, LazyObject):
        if (wrapped := user._wrapped) is empty:
            user._setup()
            wrapped = user._wrapped
        user = wrapped
    return user


def _reset_lazy_user(user: AbstractBaseUser) -> None:
    """Make a lazy user, and each one that it wraps, be evaluated again."""
    while isinstance(user, LazyObject):
        wrapped, user._wrapped = user._wrapped, empty
        user = wrapped


def _end_login(session: SessionBase) -> None:
    for key in _AUTH_KEYS:
        session.pop(key, None)


def new_proof(user: AbstractBaseUser, trust_version: str, method: str) -> dict[str, Any]:
    """Return the session's value of a proof given now; a trusted browser's counts as given in 1970, never as recent."""
    at = 0 if method == METHOD_BROWSER else int(time.time())
    return {"user": _session_pk(user), "trust_version": trust_version, "at": at, "method": method}


def _session_pk(user: AbstractBaseUser) -> str:
    """Return the user's primary key as ``auth.login`` writes it to the session."""
    return str(user._meta.pk.value_to_string(user))
