from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_verigator import conf, shown
from django_verigator.backends.verigator import VerigatorBackend
from django_verigator.client import Api
from django_verigator.exceptions import ResourceAlreadyExistsError, VerigatorError


class Command(BaseCommand):
    help = "Create this site's service at the provider, once, and print what to put into the settings."
    # The settings lack the id of the service that this command creates.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("domain", help="the site's domain, for instance www.example.com")
        parser.add_argument("name", help="the name users see as the issuer in the Verigator app")
        parser.add_argument("--backend", metavar="ALIAS", help="entry of BACKENDS; default: the first one")
        parser.add_argument("--if-missing", action="store_true", help="do nothing where the settings name one already")

    def handle(self, *args: Any, domain: str, name: str, backend: str | None, if_missing: bool, **options: Any) -> None:
        entries = conf.current().BACKENDS
        alias = backend or next(iter(entries))
        if alias not in entries:
            raise CommandError(f'VERIGATOR["BACKENDS"] has no entry "{alias}".')
        if not issubclass(conf.resolve(entries[alias]["BACKEND"]), VerigatorBackend):  # type: ignore[arg-type]
            raise CommandError(f'VERIGATOR["BACKENDS"]["{alias}"] needs no service: only Verigator has them.')
        given = entries[alias].get("OPTIONS", {})
        if not (given.get("username") and given.get("password")):
            raise CommandError(f'Set "username" and "password" of VERIGATOR["BACKENDS"]["{alias}"]["OPTIONS"] first.')
        if given.get("service_id") and if_missing:
            self.stdout.write(f"There is a service already: {given['service_id']}")
            return
        known = {key: given[key] for key in ("endpoint", "proxies", "ca_bundle") if key in given}
        try:
            service = Api(given["username"], given["password"], **known).services.create(domain, name)
        except ResourceAlreadyExistsError:
            raise CommandError(f'The provider has a service "{name}" already. Choose another name.') from None
        except (VerigatorError, ValueError) as error:
            raise CommandError(f"The service was not created: {error}") from None
        created, service_id = shown.one_line(service.name), shown.one_line(service.id)
        self.stdout.write(self.style.SUCCESS(f'Service "{created}" created. Put this into the settings:'))
        self.stdout.write(f'\n    VERIGATOR["BACKENDS"]["{alias}"]["OPTIONS"]["service_id"] = "{service_id}"\n')
