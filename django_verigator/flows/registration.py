"""The life of the provider's user record: written down first, registered after commit, repaired, deleted."""

from __future__ import annotations

import logging
import random
import re
import secrets
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from django.contrib.auth import get_backends, get_user_model
from django.core.exceptions import FieldDoesNotExist
from django.db import IntegrityError, router, transaction
from django.db.models import CharField, Exists, F, Func, OuterRef, Q, QuerySet
from django.db.transaction import TransactionManagementError
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from .. import conf, phone, shown, signals
from ..backends import BaseBackend, backends, protected_call
from ..exceptions import CircuitOpenError, ProviderBusyError, ResourceAlreadyExistsError, VerigatorError
from ..models import RemoteDeletion, VerigatorUser, new_epoch
from . import events, limits, patience
from .deadlocks import once_more
from .digests import digest
from .refusals import Refused

logger = logging.getLogger("django_verigator")

State = VerigatorUser.State
LEASE_SECONDS = 60
_REFUSED_NUMBER = 422
PHONE_UNKNOWN = "phone_unknown"
"""On a link: the site's PHONE failed, so whether its user has a phone is not known."""
UNREADABLE = "invalid_phone"
"""On a link: what the site has for this user is no phone number."""
FIRST_RETRY_SECONDS = 60
LAST_RETRY_SECONDS = 6 * 3600
_MOST_ATTEMPTS = 1000
_NOT_IN_AN_ID = re.compile(r"[^a-z0-9._@+-]+")


class Outcome(Enum):
    """What became of one user's registration; the value is the word that commands and the admin show."""

    UNCHANGED = "unchanged"
    REGISTERED = "registered"
    REPAIRED = "repaired"
    NO_PHONE = "without a phone"
    BUSY = "in other hands"
    REFUSED = "number refused"
    POSTPONED = "postponed"


class NotRegistered(VerigatorError):  # noqa: N818 - the reason is in the log already
    """There is no record at the provider to send a code to, and none could be made now; nothing was sent."""

    reason = "not_registered"


# --- the link ---------------------------------------------------------------------------------------------------------


def phone_of(user: Any) -> str | None:
    """Return the number the site has for this user, as the site wrote it; "" if it has none, None if nobody can say.

    Nothing a site's PHONE does can raise here: an attribute that is missing on the way (no profile yet) means no
    phone, anything else is logged and means that it is not known.
    """
    source = conf.current().PHONE
    if source is None:
        return ""
    try:
        if callable(source):
            value = source(user)
        elif ":" in source:
            value = conf.resolve(source)(user)
        else:
            value = _follow(user, source)
        return phone.as_text(value)
    except Exception as error:  # noqa: BLE001 - the site's code may raise anything, and saving a user must go on
        events.site_failed("phone_failed", user, error)
        return None


def _follow(user: Any, path: str) -> Any:
    value = user
    for name in path.split("."):
        # A missing reverse one-to-one raises RelatedObjectDoesNotExist, which is an AttributeError too.
        value = getattr(value, name, None)
        if value is None:
            return None
    return value


def normalised(raw: str | None) -> str:
    """Return what ``phone_of`` returned in E.164 form; "" if that is no number."""
    try:
        return phone.normalise(raw) if raw else ""
    except phone.InvalidPhoneError:
        return ""


def phone_relations() -> list[str]:
    """Return what ``select_related`` spares PHONE its queries: the relations on its path, if it is one."""
    source = conf.current().PHONE
    if source is None or callable(source) or ":" in source:
        return []
    model: Any = get_user_model()
    names: list[str] = []
    for name in source.split(".")[:-1]:
        try:
            field: Any = model._meta.get_field(name)
        except FieldDoesNotExist:
            break
        if not (field.one_to_one or field.many_to_one):
            break
        names.append(name)
        model = field.related_model
    return ["__".join(names)] if names else []


def find_link(user: Any) -> VerigatorUser | None:
    link = VerigatorUser.objects.filter(user_id=user.pk).first()
    if link is not None:
        _know_user(link, user)
    return link


def _know_user(link: VerigatorUser, user: Any) -> None:
    # Spares link.user its query. Not the other way round: user.verigator is to show what is stored when it is asked.
    VerigatorUser._meta.get_field("user").set_cached_value(link, user)


def lock_link(user_pk: Any) -> None:
    """Have what follows in this transaction wait for what another one does with the same user.

    By a write: SQLite takes no lock for a read, and refuses a write that comes after one.
    """
    VerigatorUser.objects.filter(user_id=user_pk).update(attempts=F("attempts"))


@sensitive_variables()  # the guard comes here too, and its frames hold the number
def ensure_link(user: Any) -> VerigatorUser | None:
    """Return the user's link, written now if it is missing; a phone nobody confirmed yet follows the site's.

    A later change of a confirmed phone is not taken over: it stays a proposal until the user confirms it.
    """
    link = find_link(user)
    if link is None:
        return _make_link(user)
    if link.confirmed_at is None:
        follow_site(link, user)
    return link


def new_link(user: Any) -> VerigatorUser:
    """Return the link of a user who has none, not stored yet; ``tell_of_unusable`` when it is."""
    link = VerigatorUser(user_id=user.pk, **_unregistered(phone_of(user)))
    _know_user(link, user)
    return link


def _make_link(user: Any) -> VerigatorUser | None:
    link = new_link(user)
    using = router.db_for_write(VerigatorUser)

    @transaction.atomic(using=using)
    def work() -> None:
        link.save(using=using, force_insert=True)

    try:
        once_more(work)
    except IntegrityError:  # written by somebody else just now, or the user is gone
        return find_link(user)
    tell_of_unusable(link)
    return link


def tell_of_unusable(link: VerigatorUser) -> None:
    """Log that the site has something for this user that is no number: the user owes the second step all the same."""
    if link.last_error == UNREADABLE:
        events.record("phone_unreadable", link.user, level=logging.WARNING)


def without_usable_number() -> QuerySet[VerigatorUser]:
    """Return the links whose users owe the step under "enrolled" and have no number to send a PIN to."""
    unknown = Q(state=State.NO_PHONE, last_error=PHONE_UNKNOWN)
    return VerigatorUser.objects.filter(Q(state=State.FAILED) | unknown, confirmed_at=None)


def _unregistered(raw: str | None) -> dict[str, Any]:
    """Return what a link says of a number that the provider has not seen yet."""
    if raw is None:
        return {"state": State.NO_PHONE, "last_error": PHONE_UNKNOWN, "last_error_at": timezone.now()}
    if not raw:
        return {"state": State.NO_PHONE, "last_error": ""}
    number = normalised(raw)
    if not number:
        return {"state": State.FAILED, "last_error": UNREADABLE, "last_error_at": timezone.now()}
    return {"phone_number": number, "state": State.PENDING, "last_error": ""}


def number_to_take_over(link: VerigatorUser | None, user: Any) -> str:
    """Return the number (E.164) of the site that the next login, or sync, takes over for this user, or ""."""
    if link is not None and link.confirmed_at is not None:
        return ""
    number = normalised(phone_of(user))
    return "" if link is not None and number == link.phone_number else number


def follow_site(link: VerigatorUser, user: Any) -> None:
    """Have a link whose phone nobody confirmed take over the number that the site has now, or say why there is none."""
    raw = phone_of(user)
    number = normalised(raw)
    if not number and not link.phone_number:
        _follow_without_number(link, raw)
    if not number or number == link.phone_number:
        return
    before = link.phone_number

    @transaction.atomic(using=router.db_for_write(VerigatorUser))
    def work() -> None:
        # Only while it is still unconfirmed and still the number we saw.
        changed = VerigatorUser.objects.filter(pk=link.pk, confirmed_at=None, phone_number=before).update(
            phone_number=number,
            state=State.PENDING,
            id_in_service=None,
            verigator_id=None,
            registered_at=None,
            attempts=0,
            next_attempt_at=None,
            leased_until=None,
            last_error="",
        )
        if changed:
            forget_remote(link.verigator_id, link.id_in_service)

    once_more(work)
    _reread(link)


def _follow_without_number(link: VerigatorUser, raw: str | None) -> None:
    values, before = _unregistered(raw), {"state": link.state, "last_error": link.last_error}
    # A PHONE that fails tells nothing new about a number that was no number.
    if before.items() <= values.items() or (raw is None and link.state == State.FAILED):
        return
    mine = VerigatorUser.objects.filter(pk=link.pk, confirmed_at=None, phone_number="", **before)
    once_more(lambda: mine.update(**values))
    for name, value in values.items():
        setattr(link, name, value)
    tell_of_unusable(link)


def _reread(link: VerigatorUser) -> bool:
    """Have ``link`` show what is stored; False if its user has been deleted meanwhile."""
    try:
        link.refresh_from_db()
    except VerigatorUser.DoesNotExist:
        return False
    return True


def on_user_saved(user: Any) -> None:
    """Write the link of a saved user in the transaction under way, and register it after commit.

    Nothing that happens here can make saving the user fail: the link is written in a savepoint, every error logged.
    """
    patience.renew()
    began = timezone.now()
    try:
        using = router.db_for_write(VerigatorUser)
        with transaction.atomic(using=using):
            link = ensure_link(user)
            if link is not None and not _may_log_in(user):
                # Proofs and trusted browsers are not to come back when the user is activated again.
                VerigatorUser.objects.filter(pk=link.pk).update(epoch=new_epoch())
    except Exception as error:  # noqa: BLE001 - a save never fails because of us; sync finds what is missing
        events.site_failed("link_failed", user, error)
        return
    if link is not None and link.state == State.PENDING and link.attempts == 0:
        _dispatch_after_commit(link, using, is_new=link.created_at >= began)


def _dispatch_after_commit(link: VerigatorUser, using: str, *, is_new: bool) -> None:
    # Not a partial: Django 5.2 asks a hook that raises for its __qualname__.
    def after_commit() -> None:
        try:
            dispatch(link) if is_new else _dispatch_another(link)
        except Exception as error:  # noqa: BLE001 - the site's code and its queue; the user is saved, sync does the rest
            events.site_failed("dispatch_failed", link.user, error)

    # With autocommit off nobody can tell when the site commits.
    with suppress(TransactionManagementError):
        transaction.on_commit(after_commit, using=using, robust=True)


def _may_log_in(user: Any) -> bool:
    if getattr(user, "is_active", True):
        return True
    # Some sites let users in who are not active.
    rules = (getattr(backend, "user_can_authenticate", None) for backend in get_backends())
    return any(rule(user) for rule in rules if rule is not None)


# --- registering ------------------------------------------------------------------------------------------------------


def dispatch(link: VerigatorUser) -> None:
    """Hand a link's registration to VERIGATOR["DISPATCHER"], while whoever saves users may still be held up."""
    mine = patience.current()
    if mine.is_over:
        if not mine.is_told:
            mine.is_told = True
            events.record("left_to_sync", link.user, level=logging.WARNING)
        return
    with mine.spent():
        conf.resolve(conf.current().DISPATCHER)(link.pk)


def _dispatch_another(link: VerigatorUser) -> None:
    """Dispatch one whose number the site has changed, within limits: a profile page may let users do so at will."""
    caps = limits.site_number_caps(link.pk)
    with suppress(Refused):  # sync registers it, or the login
        limits.reserve(lambda: limits.take(caps))
        dispatch(link)


def run_now(link_pk: int) -> None:
    """The default dispatcher: one attempt in this process, within what is left of IN_PROCESS_SECONDS for all users of
    a request; the rest is left to sync."""
    _attempt(link_pk, timeout=patience.current().left)


def run_in_worker(link_pk: int) -> None:
    """One attempt in a task queue's worker, where nobody waits. Not before the link's turn has come: a queue that
    delivers a task again must not undo the back-off."""
    _attempt(link_pk, force=False)


def _attempt(link_pk: int, *, timeout: float | None = None, force: bool = True) -> None:
    link = VerigatorUser.objects.filter(pk=link_pk).select_related("user").first()
    if link is not None:
        try:
            register(link, timeout=timeout, force=force)
        except Exception as error:  # noqa: BLE001 - after commit nobody is left to handle it; a setting may be wrong
            events.site_failed("registration_failed", link.user, error)


def record_backend() -> BaseBackend | None:
    """Return the backend whose provider keeps user records, or None."""
    return next((backend for backend in backends.usable() if backend.keeps_users), None)


def new_id_in_service(user: Any) -> str:
    """Return a fresh id for a user and one phone: readable in front, unguessable behind (at most 57 characters)."""
    readable = conf.current().ID_IN_SERVICE
    try:
        name = str(conf.resolve(readable)(user) if readable else user.get_username())
    except Exception as error:  # noqa: BLE001 - the site's code may raise anything, and a login must go on
        events.site_failed("id_failed", user, error)
        name = "user"
    return f"{_NOT_IN_AN_ID.sub('', name.lower())[:40]}-{secrets.token_hex(8)}"


def register(
    link: VerigatorUser, *, address: str | None = None, timeout: float | None = None, force: bool = True
) -> Outcome:
    """Register a link that waits for it; afterwards ``link`` shows what is stored.

    One worker at a time: the attempt is leased by a conditional UPDATE. No transaction is open during the call.

    Args:
        address: where the request came from that needs the record.
        timeout: seconds for a call; there are two of them only where the first was answered 409.
        force: also before ``next_attempt_at`` has come.
    """
    if link.state not in (State.PENDING, State.REPAIR):
        return _settled(link)
    backend = record_backend()
    if backend is None:
        return Outcome.UNCHANGED
    repairing = link.state == State.REPAIR
    if not _lease(link, force):
        if not _reread(link):
            return Outcome.UNCHANGED
        return _settled(link) if link.state not in (State.PENDING, State.REPAIR) else Outcome.BUSY
    try:
        try:
            user_id = _create(backend, link, address, timeout)
        except ResourceAlreadyExistsError:
            # Ours from a lost reply, or a stranger's: it may carry any phone, so it is never adopted here.
            renew_id(link)
            user_id = _create(backend, link, address, timeout)
    except VerigatorError as error:
        return failed(link, error)
    registered(link, user_id)
    return Outcome.REPAIRED if repairing else Outcome.REGISTERED


def _create(backend: BaseBackend, link: VerigatorUser, address: str | None, timeout: float | None) -> str:
    with protected_call(backend, limits.cause(link.user_id, digest("phone", link.phone_number), address), timeout):
        return backend.register(link.phone_number, link.id_in_service or "", timeout=timeout)


def _settled(link: VerigatorUser) -> Outcome:
    if link.state == State.FAILED:
        return Outcome.REFUSED
    return Outcome.UNCHANGED if link.state == State.REGISTERED else Outcome.NO_PHONE


def is_due(now: datetime) -> Q:
    return Q(next_attempt_at=None) | Q(next_attempt_at__lte=now)


def is_free(now: datetime) -> Q:
    """Nobody has the link's registration in hand."""
    return Q(leased_until=None) | Q(leased_until__lte=now)


def _leasable(now: datetime, force: bool) -> Q:
    waits = Q(state__in=(State.PENDING, State.REPAIR)) & is_free(now)
    return waits if force else waits & is_due(now)


def _lease(link: VerigatorUser, force: bool) -> bool:
    now = timezone.now()
    values: dict[str, Any] = {"leased_until": now + timedelta(seconds=LEASE_SECONDS)}
    if not link.id_in_service:
        values["id_in_service"] = new_id_in_service(link.user)
    # The id is part of the condition: it must not be replaced while a reply to it may still come.
    row = VerigatorUser.objects.filter(
        _leasable(now, force), pk=link.pk, phone_number=link.phone_number, id_in_service=link.id_in_service
    )
    # MariaDB ends one of two that wait for each other, as when a user is deleted just now.
    leased = once_more(lambda: row.update(**values))
    if leased:
        for name, value in values.items():
            setattr(link, name, value)
    return bool(leased)


def renew_id(link: VerigatorUser) -> None:
    fresh = new_id_in_service(link.user)

    @transaction.atomic(using=router.db_for_write(VerigatorUser))
    def work() -> None:
        if VerigatorUser.objects.filter(pk=link.pk, id_in_service=link.id_in_service).update(id_in_service=fresh):
            forget_remote(None, link.id_in_service)

    once_more(work)
    link.id_in_service = fresh


def _as_registered() -> dict[str, Any]:
    return {
        "state": State.REGISTERED,
        "registered_at": timezone.now(),
        "attempts": 0,
        "next_attempt_at": None,
        "leased_until": None,
        "last_error": "",
    }


def registered(link: VerigatorUser, user_id: str) -> None:
    values = {"verigator_id": user_id, **_as_registered()}

    @transaction.atomic(using=router.db_for_write(VerigatorUser))
    def work() -> int:
        return VerigatorUser.objects.filter(pk=link.pk, id_in_service=link.id_in_service).update(**values)

    try:
        written = once_more(work)
    except IntegrityError:
        # The provider gave a UserID that another link has: an answer to somebody else's question.
        failed(link, VerigatorError("the provider gave a UserID twice"))
        return
    if not written:  # the user is gone, or has another phone by now
        forget_remote(user_id, link.id_in_service)
        return
    for name, value in values.items():
        setattr(link, name, value)
    events.record("registered", link.user, signal=signals.registered, link=link)


def failed(link: VerigatorUser, error: VerigatorError) -> Outcome:
    now = timezone.now()
    values: dict[str, Any] = {"last_error": error.reason, "last_error_at": now, "leased_until": None}
    if error.status == _REFUSED_NUMBER and link.registered_at is None:
        # Only of a number that it never took before: whatever a provider says, nobody's second step is off by it.
        values |= {"state": State.FAILED, "next_attempt_at": None}
    elif isinstance(error, (CircuitOpenError, ProviderBusyError)):
        # Nobody was asked, so this was no attempt.
        values |= {"next_attempt_at": now + timedelta(seconds=error.retry_after or 0)}
    else:
        attempts = min(link.attempts + 1, _MOST_ATTEMPTS)
        values |= {"attempts": attempts, "next_attempt_at": now + _back_off(link.attempts, error)}
    mine = VerigatorUser.objects.filter(pk=link.pk, id_in_service=link.id_in_service)
    once_more(lambda: mine.update(**values))
    for name, value in values.items():
        setattr(link, name, value)
    events.record("registration_failed", link.user, level=logging.WARNING, **error.details)
    return Outcome.REFUSED if link.state == State.FAILED else Outcome.POSTPONED


def _back_off(attempts: int, error: VerigatorError) -> timedelta:
    # Jitter, so that what failed together does not come back together; a provider's wish is only stretched. It is
    # clamped here as well: a backend of the site's own may hand over what it was told.
    seconds = min(FIRST_RETRY_SECONDS * 2 ** min(attempts, 16), LAST_RETRY_SECONDS) * random.uniform(0.8, 1.2)  # noqa: S311
    wish = min(error.retry_after or 0, LAST_RETRY_SECONDS) * random.uniform(1.0, 1.2)  # noqa: S311
    return timedelta(seconds=max(seconds, wish))


def repair(link: VerigatorUser) -> None:
    """Note that the provider has lost this record: it is made anew, under a fresh id, from the phone in force."""
    mine = VerigatorUser.objects.filter(pk=link.pk, verigator_id=link.verigator_id, state=State.REGISTERED)
    lost = {"state": State.REPAIR, "verigator_id": None, "id_in_service": None, "next_attempt_at": None, "attempts": 0}
    once_more(lambda: mine.update(**lost))
    _reread(link)
    events.record("record_lost", link.user, level=logging.WARNING)


# --- many at a time ---------------------------------------------------------------------------------------------------


class _NotAll(Exception):  # noqa: N818 - no error; rolls a statement for many rows back
    """Some of the rows are not as the statement wants them, so each is looked at by itself."""


def lease_many(pks: Collection[int], *, force: bool) -> tuple[list[VerigatorUser], list[VerigatorUser]]:
    """Lease links for registration; return those leased, as they are stored, and the others.

    Two statements for all of them, where all can be leased and have their ids. Read after the lease: number and id of a
    row belong together, and an answer is written only where the id is still the same.
    """
    _give_ids(pks)
    now = timezone.now()
    using = router.db_for_write(VerigatorUser)
    rows = VerigatorUser.objects.filter(pk__in=pks)
    try:
        with transaction.atomic(using=using):
            leased = rows.filter(_leasable(now, force), id_in_service__isnull=False).update(
                leased_until=now + timedelta(seconds=LEASE_SECONDS)
            )
            if leased != len(pks):
                raise _NotAll
            return list(rows.select_related("user")), []
    except _NotAll:
        mine: list[VerigatorUser] = []
        others: list[VerigatorUser] = []
        for link in rows.select_related("user"):
            (mine if _lease(link, force) else others).append(link)
        return mine, others


def _give_ids(pks: Collection[int]) -> None:
    rows = VerigatorUser.objects.filter(pk__in=pks, id_in_service=None, state__in=(State.PENDING, State.REPAIR))
    fresh = [(link.pk, new_id_in_service(link.user)) for link in rows.select_related("user")]
    if fresh:
        with transaction.atomic(using=router.db_for_write(VerigatorUser)):
            for pk, name in fresh:
                VerigatorUser.objects.filter(pk=pk, id_in_service=None).update(id_in_service=name)


def release_many(links: Collection[VerigatorUser]) -> None:
    """Give back leases of links about which nobody was asked."""
    leases = {link.leased_until for link in links}
    VerigatorUser.objects.filter(pk__in=[link.pk for link in links], leased_until__in=leases).update(leased_until=None)


class _UserIds(Func):
    """The UserID for each row's ``id_in_service``. Django's Case builds a tree for each When, which costs more than all
    else that a registration in bulk does here."""

    def __init__(self, user_ids: Mapping[str, str]) -> None:
        super().__init__(F("id_in_service"), output_field=CharField())
        self.user_ids = user_ids

    def as_sql(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, list[Any]]:  # type: ignore[override]
        column, params = compiler.compile(self.source_expressions[0])
        pairs = [value for pair in self.user_ids.items() for value in pair]
        return f"CASE {column} {'WHEN %s THEN %s ' * len(self.user_ids)}END", [*params, *pairs]


def registered_many(answers: Collection[tuple[VerigatorUser, str]]) -> None:
    """Do what ``registered`` does, in one statement for all links; each by itself where that does not fit."""
    values = _as_registered()
    user_ids = {link.id_in_service or "": user_id for link, user_id in answers}
    using = router.db_for_write(VerigatorUser)
    rows = VerigatorUser.objects.filter(id_in_service__in=user_ids)
    try:
        with transaction.atomic(using=using):
            if rows.update(verigator_id=_UserIds(user_ids), **values) != len(answers):
                raise _NotAll
    except (_NotAll, IntegrityError):
        for link, user_id in answers:
            registered(link, user_id)
        return
    for link, user_id in answers:
        for name, value in {"verigator_id": user_id, **values}.items():
            setattr(link, name, value)
        events.record("registered", link.user, signal=signals.registered, link=link)


# --- deleting ---------------------------------------------------------------------------------------------------------


def forget_remote(verigator_id: str | None, id_in_service: str | None) -> None:
    """Note a record for deletion at the provider; part of the transaction under way, so a rollback keeps it."""
    if verigator_id or id_in_service:
        RemoteDeletion.objects.create(verigator_id=verigator_id or "", id_in_service=id_in_service or "")


def keep_records_in_force() -> None:
    """Take back deletions of records that a link has: noted by id_in_service, and then moved in by the UserID."""
    in_force = VerigatorUser.objects.filter(verigator_id=OuterRef("verigator_id"))
    RemoteDeletion.objects.filter(Exists(in_force), verigator_id__gt="").delete()


def deleted_remote(rows: Collection[RemoteDeletion]) -> None:
    """Note that the provider has these records no more."""
    for row in rows:
        logger.info("record_deleted verigator_id=%s", shown.field(row.verigator_id))
    RemoteDeletion.objects.filter(pk__in=[row.pk for row in rows]).delete()


def deletion_failed(row: RemoteDeletion, error: VerigatorError) -> None:
    """Have a deletion tried again later."""
    RemoteDeletion.objects.filter(pk=row.pk).update(
        attempts=min(row.attempts + 1, _MOST_ATTEMPTS),
        next_attempt_at=timezone.now() + _back_off(row.attempts, error),
        last_error=error.reason,
    )
