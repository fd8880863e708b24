"""Kills a site's process at random points, and looks whether one sync puts everything right again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection
from django.utils import timezone

from django_verigator.client import Api
from django_verigator.flows import support
from django_verigator.models import Challenge, PhoneChange, RemoteDeletion, SyncRun, VerigatorUser
from django_verigator.records import sync
from django_verigator.sandbox import Sandbox

ROOT = Path(__file__).parents[2]
ACCOUNT = {"username": "kills", "password": "a password"}
LATENCY = 0.02  # seconds; so that a kill often hits a call
LIVES = {"register": 0.06, "change": 0.4, "delete": 0.03, "sync": 0.2}
"""For how many seconds at most a process lives that begins with an act: about as long as that takes."""


def configuration(sandbox: Sandbox) -> dict[str, Any]:
    """Return VERIGATOR for a site whose provider is this sandbox."""
    api = Api(**ACCOUNT, endpoint=sandbox.url)
    service = api.services.create("localhost", "kills")
    api.close()
    options = {**ACCOUNT, "endpoint": sandbox.url, "service_id": service.id}
    backend = "django_verigator.backends.verigator.VerigatorBackend"
    return {
        "BACKENDS": {"default": {"BACKEND": backend, "OPTIONS": options}},
        "NOTIFY": False,
        "STAND_IN": True,
    }


class TroubleError(AssertionError):
    """Something was lost, doubled or left over; or the killed process had failed before."""


class Driver:
    """One site, one sandbox, many short lives.

    Attributes:
        hit: how often a kill came in which act.
        found: how often something was unfinished after a kill, by kind.
    """

    def __init__(self, sandbox: Sandbox, seed: int) -> None:
        self.sandbox = sandbox
        self._chance = random.Random(seed)
        self.hit: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        order = {
            "database": str(connection.settings_dict["NAME"]),
            "verigator": settings.VERIGATOR,
            "sandbox": sandbox.url,
        }
        self._nursery = subprocess.Popen(
            [sys.executable, "-m", "tests.crashes.worker", json.dumps(order)],
            cwd=ROOT,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *error: object) -> None:
        self._nursery.kill()
        self._nursery.communicate()

    def kill(self) -> None:
        """Let a process live for a moment, kill it, and see that one sync is enough."""
        self._live_and_die()
        self.settle()

    def settle(self) -> None:
        """Let so much time pass that leases end, sync once, and look.

        Raises:
            TroubleError: the sync could not put everything right.
        """
        self._note_what_is_unfinished()
        _let_a_minute_pass()
        if self._chance.random() < 0.5:
            _let_an_hour_pass()
        report = sync.sync_all(workers=2)
        if not report.is_complete or report.unknown:
            raise TroubleError(f"the sync found what it could not put right: {report}")
        self.look()

    def _live_and_die(self) -> None:
        nursery = self._nursery
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        first = self._chance.choice(list(LIVES))
        nursery.stdin.write(f"{self._chance.randrange(2**32)} {first}\n")
        nursery.stdin.flush()
        process = int(nursery.stdout.readline())
        time.sleep(self._chance.uniform(0, LIVES[first]))
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        act = nursery.stdout.readline().strip()
        if act == "failed":
            raise TroubleError("the process failed before it was killed; see standard error")
        self.hit[act] += 1

    def _note_what_is_unfinished(self) -> None:
        states = VerigatorUser.State
        known = set(VerigatorUser.objects.exclude(verigator_id=None).values_list("verigator_id", flat=True))
        known |= set(PhoneChange.objects.exclude(verigator_id=None).values_list("verigator_id", flat=True))
        known |= set(RemoteDeletion.objects.values_list("verigator_id", flat=True))
        kinds = {
            "a user without a link": get_user_model().objects.filter(verigator=None).exists(),
            "a registration written down": VerigatorUser.objects.filter(state=states.PENDING).exists(),
            "a record whose UserID never arrived": not self._records().keys() <= known,
            "a phone on its way": PhoneChange.objects.exists(),
            "a deletion written down": RemoteDeletion.objects.exists(),
            "a sync under way": SyncRun.objects.filter(slot__isnull=False).exists(),
        }
        self.found.update(kind for kind, is_there in kinds.items() if is_there)
        self.found["nothing"] += not any(kinds.values())

    def _records(self) -> dict[str, tuple[str, str]]:
        """The provider's records: UserID -> (id_in_service, phone number)."""
        rows: Any = self.sandbox.store.rows("SELECT id, id_in_service, phone_number FROM user")
        return {user_id: (name, number) for user_id, name, number in rows}

    def look(self) -> None:
        """Compare the provider's records with the links.

        Raises:
            TroubleError: something is lost, doubled or left over.
        """
        records = self._records()
        users = {user.pk: user for user in get_user_model().objects.select_related("verigator")}
        links = {link.user_id: link for link in VerigatorUser.objects.all()}
        _expect("every user has a link", users.keys(), links.keys())
        _expect("every link is registered", {link.state for link in links.values()} - {"registered"}, set())
        in_force = {link.verigator_id: (link.id_in_service, link.phone_number) for link in links.values()}
        changes = PhoneChange.objects.all()
        on_the_way = {
            user_id: record
            for user_id, record in records.items()
            if record in {(change.id_in_service, change.phone_number) for change in changes}
        }
        _expect("the provider has each link's record and each change's, and no other", records, in_force | on_the_way)
        named = Counter(records[user_id][0].rpartition("-")[0] for user_id in in_force)
        _expect("each user has one record", named, Counter(user.username for user in users.values()))
        _expect("nothing is left to delete", RemoteDeletion.objects.count(), 0)
        for user in users.values():
            link = links[user.pk]
            if link.phone_number != user.phone_number and link.confirmed_at is None:
                raise TroubleError(f"user {user.pk} has another phone, which nobody confirmed")
        _expect(
            "no row is of a deleted user", set(Challenge.objects.values_list("user", flat=True)) - set(users), set()
        )


def _expect(what: str, found: Any, wanted: Any) -> None:
    if found != wanted:
        raise TroubleError(f"{what}:\nfound  {found}\nwanted {wanted}")


def _let_a_minute_pass() -> None:
    """A killed process holds its leases no longer than that."""
    past = timezone.now() - timedelta(seconds=1)
    VerigatorUser.objects.filter(leased_until__isnull=False).update(leased_until=past)
    SyncRun.objects.filter(slot__isnull=False).update(lease_until=past)


def _let_an_hour_pass() -> None:
    """A phone that nobody confirmed is given up, and pruned."""
    PhoneChange.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    support.prune()
