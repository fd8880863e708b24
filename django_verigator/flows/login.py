"""From the right password to the right PIN: begin, send, verify, cancel, and catching every other way in."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

from django.conf import settings as django_settings
from django.contrib import auth
from django.contrib.auth.hashers import check_password
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, router, transaction
from django.db.models import Q
from django.http import HttpRequest
from django.middleware.csrf import rotate_token
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.http import url_has_allowed_host_and_scheme

from .. import conf, signals
from ..constants import METHOD_BROWSER, METHOD_SMS, METHOD_TOTP
from ..models import Challenge, PhoneChange, VerigatorUser, new_epoch
from . import (
    browsers,
    checking,
    enrolment,
    events,
    gate,
    limits,
    notices,
    pending,
    policy,
    proposals,
    recovery,
    registration,
    sending,
)
from .addresses import client_address
from .deadlocks import once_more
from .digests import auth_hash_of, digest
from .refusals import Reason, Refused

Purpose = Challenge.Purpose
SHOWN_CHALLENGES = 10
PROOF_MAX_AGE = timedelta(minutes=5)
"""How old the last proof may be when something is changed that protects the account."""


# --- the pending login ------------------------------------------------------------------------------------------------


def current(request: HttpRequest) -> Challenge | None:
    """Return the challenge that this browser's pending login waits for, or None if there is no pending login."""
    nonce = pending.read_nonce(request)
    return pending.find(nonce) if nonce else None


def take_ended(request: HttpRequest) -> Challenge | None:
    """Return the last challenge of this browser's pending login if that has ended by itself; the browser forgets it."""
    nonce = pending.read_nonce(request)
    if nonce is None or pending.find(nonce) is not None:
        return None
    drop_pending(request)
    return pending.find_ended(nonce)


def begin(request: HttpRequest, user: Any, auth_backend: str, next_url: str) -> bool:
    """Go on after the right password: log the user in, or make the login wait for its PIN and send that.

    Args:
        auth_backend: dotted path of the authentication backend that took the password.
        next_url: where to go afterwards, already found safe; it is checked again then.

    Returns:
        True if the user is logged in; False if the second step is owed.
    """
    door = gate.of(request)
    link = registration.ensure_link(user)
    standing = policy.assess(user, link)
    if not standing.owes:
        auth.login(request, user, backend=auth_backend)
        door.admit(user)
        _forget_pending(request)
        return True
    if link is not None and browsers.is_trusted(request, user, link.epoch):
        auth.login(request, user, backend=auth_backend)
        door.trust(user, link.epoch, METHOD_BROWSER)
        _forget_pending(request)
        return True
    _clean_session(request)
    running = current(request)
    if running is not None and _same_login(running, user, auth_backend) and checking.why_closed(running) is None:
        # A second right password goes on with the code that is on its way.
        waiting = Challenge.objects.filter(pk=running.pk)
        once_more(lambda: waiting.update(next_url=next_url, password_given=True))
        return False
    _wait(request, user, link, sends=True, auth_backend=auth_backend, next_url=next_url, password_given=True)
    return False


def _wait(request: HttpRequest, user: Any, link: VerigatorUser | None, *, sends: bool, **fields: Any) -> None:
    """Begin a pending login, and end the one that this browser had."""
    _forget_pending(request)
    challenge = _open(request, user, link, **fields)
    if sends and link is not None and link.has_usable_phone:
        _send_first(request, challenge, link)
    else:
        _store(request, challenge)


def _end_stop_after_new_password(user: Any, link: VerigatorUser | None) -> None:
    # Whoever made the wrong tries knew the old password. A new one was set from the user's mailbox or by support.
    if link is None or link.consecutive_failures < conf.consecutive_failures():
        return
    if not _is_auth_hash_of(user, link.failures_auth_hash):
        VerigatorUser.objects.filter(pk=link.pk, failures_auth_hash=link.failures_auth_hash).update(
            consecutive_failures=0
        )
        link.consecutive_failures = 0


def keep_stop(user: Any) -> None:
    """Called before a user is saved with a password stored anew: the hard stop ends with another one, not with that.

    A newer hasher stores the same password anew when it is typed right; ``set_password`` marks one that somebody chose.
    """
    stopped = VerigatorUser.objects.filter(consecutive_failures__gte=conf.consecutive_failures())
    link = stopped.filter(user_id=user.pk).first()
    stored = type(user)._base_manager.filter(pk=user.pk).first() if link is not None else None
    if link is None or stored is None or not _is_auth_hash_of(stored, link.failures_auth_hash):
        return
    chosen = getattr(user, "_password", None)
    if chosen is None or check_password(chosen, stored.password):
        VerigatorUser.objects.filter(pk=link.pk).update(failures_auth_hash=auth_hash_of(user))


def catch(request: HttpRequest, user: Any, auth_backend: str, next_url: str, *, sends: bool) -> bool:
    """Make a login that came another way wait for its PIN.

    Args:
        sends: the login was made in this very request, by a form that was posted; its PIN is sent at once, as after a
            password. Else nothing is sent, and the PIN page has a button for that.

    Returns:
        True if this browser's pending login is of the same user and backend, and goes on.
    """
    running = current(request)
    goes_on = running is not None and _same_login(running, user, auth_backend)
    if running is not None and goes_on and not (sends and checking.why_closed(running)):
        return True
    link = registration.ensure_link(user)
    _wait(request, user, link, sends=sends, auth_backend=auth_backend, next_url=next_url)
    return False


def step_up(request: HttpRequest, user: Any, next_url: str) -> None:
    """Ask a logged-in user for a new proof; completing it logs nobody in."""
    running = current(request)
    if running is not None and _same_login(running, user, ""):
        return
    link = registration.ensure_link(user)
    _store(request, _open(request, user, link, next_url=next_url, purpose=Purpose.STEP_UP))


def _open(request: HttpRequest, user: Any, link: VerigatorUser | None, **fields: Any) -> Challenge:
    _end_stop_after_new_password(user, link)
    challenge, nonce = pending.new(
        user,
        ip=client_address(request),
        form=pending.form_of(request),
        auth_hash=auth_hash_of(user),
        epoch=link.epoch if link else "",
        **fields,
    )
    gate.of(request).cookies.nonce = nonce
    return challenge


def _store(request: HttpRequest, challenge: Challenge) -> None:
    @transaction.atomic(using=router.db_for_write(Challenge))
    def work() -> None:
        challenge.save(force_insert=True)

    try:
        once_more(work)
    except IntegrityError:
        if not _goes_on(request, challenge):
            once_more(work)


def _goes_on(request: HttpRequest, challenge: Challenge) -> bool:
    """Whether the form that began this login was posted before, and its login still waits; else begin another one."""
    jar = gate.of(request).cookies
    if pending.find(jar.nonce or "") is not None:
        return True
    jar.nonce = pending.new_nonce()
    challenge.nonce_digest = digest("nonce", jar.nonce)
    return False


def _same_login(challenge: Challenge, user: Any, auth_backend: str) -> bool:
    return (
        challenge.user_id == user.pk
        and challenge.auth_backend == auth_backend
        and _is_auth_hash_of(user, challenge.auth_hash)
    )


def _is_auth_hash_of(user: Any, stored: str) -> bool:
    # Under SECRET_KEY_FALLBACKS as well: a rotated key is not a new password.
    fallbacks = user.get_session_auth_fallback_hash() if hasattr(user, "get_session_auth_fallback_hash") else ()
    return any(constant_time_compare(stored, known) for known in (auth_hash_of(user), *fallbacks))


def _clean_session(request: HttpRequest) -> None:
    # Whoever was logged in here is not any more; an anonymous visitor keeps the site's data under a new key.
    if auth.SESSION_KEY in request.session:
        request.session.flush()
    elif request.session.session_key is not None:
        request.session.cycle_key()
    rotate_token(request)


def _forget_pending(request: HttpRequest) -> None:
    drop_pending(request)
    running = current(request)
    if running is not None:
        checking.close(running, Challenge.Outcome.CANCELLED)


def drop_pending(request: HttpRequest) -> None:
    """Have the browser forget a pending login that has ended."""
    gate.of(request).cookies.drop = pending.cookie_name() in request.COOKIES


def cancel(request: HttpRequest) -> None:
    """End the pending login; its code is worth nothing any more. Whoever was caught in this request is let go."""
    gate.of(request).caught = None
    _forget_pending(request)


# --- sending ----------------------------------------------------------------------------------------------------------


def _method() -> str:
    return str(conf.current().METHOD)


def _send_first(request: HttpRequest, challenge: Challenge, link: VerigatorUser, *, again: bool = False) -> None:
    """Start the first code of a login; the login waits in any case, and the PIN page says what happened."""
    try:
        sending.start(challenge, link, _method())
    except Refused as refused:
        if refused.reason == Reason.PAUSE and not again:  # the same form, posted twice
            if not _goes_on(request, challenge):
                _send_first(request, challenge, link, again=True)
        elif challenge._state.adding:  # a limit refused it before anything was written
            if refused.reason not in (Reason.LOCKED, Reason.STOPPED):  # the page says so for as long as it is so
                challenge.outcome = Challenge.Outcome.REFUSED
                challenge.refusal = refused.reason.value
                challenge.resend_at = refused.until
            _store(request, challenge)


def send(
    request: HttpRequest, challenge: Challenge, *, method: str | None = None, another_way: bool = False
) -> Challenge:
    """Send another code for a pending login (or the first one of a login that was caught).

    Args:
        method: "sms" to leave the app for a text message, which needs no pause; None for the site's method.
        another_way: begin with the provider behind the one that has sent last.

    Raises:
        Refused: with the reason, and when to try again.
    """
    _require_the_same(request, challenge)
    switch = method == METHOD_SMS and challenge.method == METHOD_TOTP
    # What a limit has refused is asked of the limits again.
    refused = challenge.outcome == Challenge.Outcome.REFUSED
    if not switch and not refused and challenge.superseded_at is None:
        _respect_pause(challenge)
    link = registration.find_link(challenge.user)
    change = enrolment.proposed(challenge)
    if link is None or not (change if challenge.purpose == Purpose.PHONE else link.has_usable_phone):
        raise Refused(Reason.NO_PHONE)
    if change is not None and change.replaces != link.phone_in_force:
        raise Refused(Reason.ENDED)
    following = pending.following(challenge, ip=client_address(request))
    sending.start(
        following,
        link,
        method or challenge.requested_method or _method(),
        change=change,
        previous=challenge,
        after=challenge.backend if another_way else "",
    )
    return following


def confirm_password(request: HttpRequest, user: Any, password: str) -> bool:
    """Whether this is the user's password; asked once more before a change, so guessing it is bounded too.

    Raises:
        Refused: too many wrong ones within an hour.
    """
    caps = limits.password_caps(user.pk)
    try:
        limits.reserve(lambda: limits.take(caps))
    except Refused as refused:
        events.record("password_refused", user, level=logging.WARNING, scope=refused.scope, until=refused.until)
        raise
    # As at a login: where the site's users are kept elsewhere, an old password may still be stored here.
    found = auth.authenticate(request, username=user.get_username(), password=password)
    if found is None or found.pk != user.pk:
        return False
    user.password = found.password
    limits.give_back(caps)
    if request.user.is_authenticated and not _is_auth_hash_of(user, request.session.get(auth.HASH_SESSION_KEY, "")):
        # A password that a newer hasher has just stored anew is not another one: the session goes on.
        auth.update_session_auth_hash(request, user)
    return True


def change_needs_password(user: Any) -> bool:
    """Whether the password is asked for before something is changed that protects the account."""
    return _has_password(user)


def _has_password(user: Any) -> bool:
    # An empty column is that of a user who signs in by other means; Django takes it for a usable password.
    return bool(user.password) and bool(user.has_usable_password())


def change_phone(request: HttpRequest, user: Any, phone_number: str, next_url: str) -> None:
    """Send a PIN to a new phone of a user who has proved the old one; the old one is in force until the PIN is back.

    Args:
        phone_number: E.164.

    Raises:
        Refused: with the reason, and when to try again.
    """
    link = registration.ensure_link(user)
    if link is None or not link.has_usable_phone or not gate.of(request).proved_within(user, PROOF_MAX_AGE):
        raise Refused(Reason.ENDED)
    if phone_number == link.phone_number:
        raise Refused(Reason.SAME_PHONE)
    sending.admit_number(user, phone_number)
    try:
        change = enrolment.propose(link, phone_number, limits.change_caps(user.pk))
    except Refused as refused:
        events.record("change_refused", user, level=logging.WARNING, scope=refused.scope, until=refused.until)
        raise
    following = _open(request, user, link, next_url=next_url, purpose=Purpose.PHONE)
    _start_or_forget(request, following, link, change)


def renew_recovery_codes(request: HttpRequest, user: Any) -> list[str]:
    """Return a new set of recovery codes of a user who has proved the phone; the old set is worth nothing any more.

    Raises:
        Refused: the proof is too old.
    """
    if not gate.of(request).proved_within(user, PROOF_MAX_AGE):
        raise Refused(Reason.ENDED)
    codes = recovery.renew(user)
    events.record("recovery_codes_renewed", user)
    notices.tell(user, notices.Notice.RECOVERY_CODES_RENEWED)
    return codes


def proposed_phone(user: Any) -> str:
    """Return the number (E.164) that the site has by now in place of the one that the user confirmed, or ""."""
    return proposals.of(user, registration.ensure_link(user))


def has_proposal(challenge: Challenge) -> bool:
    """Whether the user whom a PIN page is shown to waits for it at a number that the site has no more."""
    if challenge.purpose == Purpose.PHONE:
        return False
    link = getattr(challenge.user, "verigator", None)  # read with the challenge
    return bool(proposals.of(challenge.user, link))


def keep_phone(user: Any) -> None:
    """Stop proposing the number that the site has now; the phone in force stays."""
    proposals.settle(user)
    events.record("proposal_declined", user)


def overview(user: Any) -> dict[str, Any]:
    """Return what a user may see of the own second step: phone, codes, browsers, the last sign-ins and failures."""
    link = registration.ensure_link(user)
    # Of the others, a thief of the password could make as many as push what is worth reading off the list.
    telling = Q(sent_at__isnull=False) | Q(outcome=Challenge.Outcome.VERIFIED)
    return {
        "link": link,
        # The two last digits and no more.
        "proposed_ending": proposals.of(user, link)[-2:],
        "codes_left": recovery.left(user),
        "browsers_on": browsers.is_on(),
        "browsers": browsers.of(user),
        "challenges": Challenge.objects.filter(telling, user_id=user.pk).order_by("-created_at")[:SHOWN_CHALLENGES],
    }


def end_browser(request: HttpRequest, user: Any, pk: str | None) -> None:
    """End the trust in one of the user's browsers, or in all of them, and every session of the user but this one.

    Whoever has such a browser may be in already, in a session that the cookie has opened.
    """

    @transaction.atomic(using=router.db_for_write(VerigatorUser))
    def work() -> VerigatorUser | None:
        link = VerigatorUser.objects.select_for_update().filter(user_id=user.pk).first()
        if link is None or not browsers.end(user, pk):
            return None
        old, link.epoch = link.epoch, new_epoch()
        link.save(update_fields=["epoch"])
        browsers.keep(user, old, link.epoch)
        return link

    link = once_more(work)
    if link is None:
        return
    gate.of(request).keep(user, link.epoch)
    policy.assess(user, link)
    events.record("browser_ended", user)


def _start_or_forget(request: HttpRequest, challenge: Challenge, link: VerigatorUser, change: PhoneChange) -> None:
    method = METHOD_SMS if conf.current().ALLOW_SMS else METHOD_TOTP
    try:
        sending.start(challenge, link, method, change=change)
    except Refused as refused:
        if challenge._state.adding:
            jar = gate.of(request).cookies
            if refused.reason == Reason.PAUSE and (challenge.step > 1 or pending.find(jar.nonce or "")):
                return  # the same form, posted twice: its code is on its way
            if challenge.step == 1:  # there is nothing that the cookie could name
                jar.nonce = None
        raise


def _respect_pause(challenge: Challenge) -> None:
    until = challenge.resend_at
    if until is not None and until > timezone.now():
        # Either a code went out (or is just going), or the provider has asked to be left alone for so long.
        unavailable = challenge.outcome == Challenge.Outcome.UNAVAILABLE
        raise Refused(Reason.UNAVAILABLE if unavailable else Reason.PAUSE, until=until)


def has_phone(user: Any) -> bool:
    """Whether there is a number to send a code to."""
    link = registration.ensure_link(user)
    return link is not None and link.has_usable_phone


def has_unusable_number(user: Any) -> bool:
    """Whether the site has something for this user that no code can be sent to."""
    link = registration.find_link(user)
    return link is not None and link.state == VerigatorUser.State.FAILED and not link.has_usable_phone


def barred(challenge: Challenge) -> Refused | None:
    """Return why the user whom a PIN page is shown to can prove nothing now; None if all is well."""
    return limits.barred(getattr(challenge.user, "verigator", None))  # read with the challenge


def needs_phone(challenge: Challenge) -> bool:
    """Whether a pending login waits for its user to enrol a phone first."""
    return challenge.sent_at is None and challenge.phone_change_id is None and not has_phone(challenge.user)


def enrolment_needs_password(user: Any, challenge: Challenge | None) -> bool:
    """Whether the password is asked for before a phone is taken: unless it was given in this very login."""
    return _has_password(user) and not (challenge is not None and challenge.password_given)


def must_sign_in_anew(request: HttpRequest, user: Any, challenge: Challenge | None) -> bool:
    """Whether a session alone would enrol a phone, and the site does not want that: see ENROL_SECONDS."""
    seconds = conf.current().ENROL_SECONDS
    if not seconds or _has_password(user) or (challenge is not None and challenge.password_given):
        return False
    return not gate.of(request).signed_in_within(user, seconds)


def enrol(request: HttpRequest, user: Any, challenge: Challenge | None, phone_number: str, next_url: str = "") -> None:
    """Send a PIN to the first phone of a user; it counts when the PIN comes back.

    Args:
        challenge: the pending login that waits for it; None for a user who is logged in.
        phone_number: E.164.
        next_url: where a user who is logged in goes afterwards.

    Raises:
        Refused: with the reason, and when to try again.
    """
    if challenge is not None:
        _require_the_same(request, challenge)
    link = registration.ensure_link(user)
    if link is None or link.has_usable_phone:
        raise Refused(Reason.ENDED)
    sending.admit_number(user, phone_number)
    change = enrolment.propose(link, phone_number)
    if challenge is None:
        following = _open(request, user, link, next_url=next_url)
    else:
        if challenge.phone_change_id == change.pk:
            try:
                _respect_pause(challenge)
            except Refused as refused:
                if refused.reason == Reason.PAUSE:  # the same number once more: its code is on its way
                    return
                raise
        following = pending.following(challenge, ip=client_address(request))
    following.purpose = Purpose.PHONE
    following.password_given = True
    _start_or_forget(request, following, link, change)


# --- verifying --------------------------------------------------------------------------------------------------------


def verify(request: HttpRequest, challenge: Challenge, pin: str, *, trust_browser: bool = False) -> str:
    """Check a PIN and complete what waits for it; return the URL to go to ("" for the site's default).

    Args:
        pin: 4 to 16 ASCII digits, as PinForm has cleaned it.
        trust_browser: the user wishes not to be asked again in this browser; heeded where the site allows it.

    Raises:
        Refused: the PIN was not accepted, or the login has ended.
    """
    address = client_address(request)
    _require_the_same(request, challenge)  # before it costs a try and a call
    checking.check(challenge, pin, address, form=pending.form_of(request))
    user = _still_the_same(request, challenge)
    epoch = checking.accept(challenge, pin, address)
    if challenge.purpose == Purpose.PHONE:
        proposals.settle(user)
    _complete(request, user, challenge, epoch)
    if trust_browser and may_trust_browser(challenge):
        token = browsers.trust(request, user, epoch=epoch, auth_hash=challenge.auth_hash, ip=address)
        gate.of(request).cookies.browser = (browsers.cookie_name(user.pk), token)
    return challenge.next_url


def recover(request: HttpRequest, challenge: Challenge, code: str) -> str:
    """Complete what waits for a PIN with a recovery code instead; return the URL to go to.

    Args:
        code: as the user typed it.

    Raises:
        Refused: the code was not accepted, or the login has ended.
    """
    if challenge.purpose == Purpose.PHONE:  # that PIN shows that the new number is the user's; a code shows nothing
        raise Refused(Reason.ENDED)
    user = _still_the_same(request, challenge)
    address = client_address(request)
    epoch = checking.recover(challenge, recovery.normalise(code), address, form=pending.form_of(request))
    _complete(request, user, challenge, epoch)
    return challenge.next_url


def may_trust_browser(challenge: Challenge) -> bool:
    """Whether this login may end with a trusted browser."""
    return browsers.is_on() and bool(challenge.auth_backend)


def _still_the_same(request: HttpRequest, challenge: Challenge) -> Any:
    """Read the user again, as the authentication backend that took the password sees it now."""
    user = _reload(request, challenge)
    if (
        user is None
        or not user.is_active
        or user.pk != challenge.user_id
        or not _is_auth_hash_of(user, challenge.auth_hash)
    ):
        raise _ended(challenge)
    return user


def _require_the_same(request: HttpRequest, challenge: Challenge) -> None:
    # Whoever has the pending login of an old password, or of a user who was deactivated, is to send and try nothing.
    if not (challenge.user.is_active and _same_login(challenge, challenge.user, challenge.auth_backend)):
        raise _ended(challenge)


def _ended(challenge: Challenge) -> Refused:
    checking.close(challenge, Challenge.Outcome.CANCELLED)
    return Refused(Reason.ENDED)


def _reload(request: HttpRequest, challenge: Challenge) -> Any:
    if not challenge.auth_backend:  # a step-up: only for the session that asked for it
        return request.user if request.user.is_authenticated else None
    if challenge.auth_backend not in django_settings.AUTHENTICATION_BACKENDS:
        return None
    try:
        return auth.load_backend(challenge.auth_backend).get_user(challenge.user_id)
    except (ImportError, ImproperlyConfigured):
        return None


def _complete(request: HttpRequest, user: Any, challenge: Challenge, epoch: str) -> None:
    door = gate.of(request)
    if challenge.auth_backend:
        auth.login(request, user, backend=challenge.auth_backend)
    else:
        request.session.cycle_key()
    door.trust(user, epoch, challenge.method)
    drop_pending(request)
    # Just written, so the next page need not read it; another session without proof is looked up all the same.
    policy.remember(user, policy.Standing(owes=True, epoch=epoch, has_phone=True))
    events.record(
        "verified", user, signal=signals.verified, request=request, method=challenge.method, challenge=challenge
    )


def is_safe_url(request: HttpRequest, url: str, allowed_hosts: Iterable[str] = ()) -> bool:
    """Whether a URL leads to this site, or to a host that the site allows."""
    hosts = {request.get_host(), *allowed_hosts}
    if any(character < " " for character in unquote(url)):  # a NUL is more than PostgreSQL stores
        return False
    return url_has_allowed_host_and_scheme(url, hosts, require_https=request.is_secure())
