from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandParser
from django.db.models import Count, Sum
from django.utils import timezone

from django_verigator import conf, phone, shown
from django_verigator.backends import Circuit, backends
from django_verigator.management.users import find_user
from django_verigator.models import Challenge, RemoteDeletion, VerigatorUser

from ...flows import lockout, policy, recovery
from ...records import links, site_phones
from ...records.provider import record_backend


class Command(BaseCommand):
    help = "Show how many users are registered, waiting, to repair, refused; or one user's state."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", nargs="?", help="show this user")

    def handle(self, *args: Any, username: str | None, **options: Any) -> None:
        if username is None:
            self._show_all()
        else:
            self._show_user(username)

    def _show_all(self) -> None:
        for alias in backends:
            try:
                state = f"{type(backends[alias]).__name__}, circuit {Circuit(alias).describe()}"
            except ImproperlyConfigured as error:
                state = f"cannot be used: {error}"
            self.stdout.write(f"provider {alias}: {state}")
        counts = dict(VerigatorUser.objects.values_list("state").annotate(Count("pk")).order_by())
        for state in VerigatorUser.State:
            self.stdout.write(f"{state.label}: {counts.get(state.value, 0)}")
        unlinked = get_user_model()._default_manager.filter(verigator=None).count()
        self.stdout.write(f"users without a link: {unlinked}")
        unusable = VerigatorUser.objects.without_usable_number().count()
        self.stdout.write(f"with a number that cannot be used, asked for another one at login: {unusable}")
        stopped = VerigatorUser.objects.filter(consecutive_failures__gte=conf.consecutive_failures()).count()
        self.stdout.write(f"stopped after too many wrong PINs: {stopped}")
        for delivery, count, price in self._deliveries():
            cost = f", price {price}" if price is not None else ""
            self.stdout.write(f"messages of the last 24 hours that were {delivery}: {count}{cost}")
        where = "the provider" if record_backend() else "a provider that BACKENDS does not list"
        self.stdout.write(f"to be deleted at {where}: {RemoteDeletion.objects.count()}")

    def _deliveries(self) -> Any:
        """Yield how many messages came how far, and for how much, as the providers report it."""
        since = timezone.now() - timedelta(days=1)
        reported = Challenge.objects.filter(created_at__gte=since).exclude(delivery="")
        return reported.values_list("delivery").annotate(Count("pk"), Sum("price")).order_by("delivery")

    def _show_user(self, username: str) -> None:
        user = find_user(username)
        link = links.find(user)
        number = links.number_to_take_over(link, user)
        # As the next login finds it; nothing is written.
        next_link = links.new(user) if number or link is None else link
        is_required = policy.is_second_factor_required(user, next_link)
        self.stdout.write(f"{shown.user(user)}: {'owes the second step' if is_required else 'owes no second step'}")
        if number:
            self.stdout.write(f"number on the site, taken over at the next login: {phone.mask(number)}")
        if link is None:
            self.stdout.write("no link yet; verigator_sync or the next login writes it")
            return
        self.stdout.write(f"state: {link.get_state_display()}")
        self.stdout.write(f"phone: {link.masked_phone or 'none'}")
        self.stdout.write(f"phone confirmed: {link.confirmed_at or 'never'}")
        if proposed := site_phones.changed_number(user, link):
            self.stdout.write(f"number on the site, not confirmed: {phone.mask(proposed)}")
        self.stdout.write(f"UserID: {shown.one_line(link.verigator_id or 'none')}")
        if link.last_error:
            self.stdout.write(f"last error: {link.last_error} at {link.last_error_at}")
        until = lockout.locked_until(user.pk)
        self.stdout.write(f"locked until: {until or 'not locked'}")
        if link.consecutive_failures >= conf.consecutive_failures():
            self.stdout.write("stopped after too many wrong PINs in a row; verigator_reset --unlock ends that")
        self.stdout.write(f"recovery codes left: {recovery.count_unused(user)}")
        last = Challenge.objects.filter(user_id=user.pk).order_by("-created_at").first()
        if last is not None:
            self.stdout.write(f"last challenge: {last.get_outcome_display()} at {last.created_at}")
            if last.delivery:
                how = " ".join(filter(None, (last.delivery_channel, last.delivery_error)))
                self.stdout.write(f"its message: {last.delivery}{f' ({shown.one_line(how)})' if how else ''}")
