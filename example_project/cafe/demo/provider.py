"""The sandbox as this site's provider: started here, kept in a file, its service made once."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from django.conf import settings

from django_verigator.client import Api
from django_verigator.sandbox import Sandbox

DOMAIN = "cafe.example"
NAME = "Corner Café"


def open_sandbox(port: int) -> Sandbox:
    """Return the sandbox, not started yet.

    Raises:
        SandboxError: the port is taken, or the file is not a sandbox's.
    """
    options = settings.SANDBOX_OPTIONS
    return Sandbox(username=options["username"], password=options["password"], port=port, db=str(settings.SANDBOX_DB))


def api(sandbox: Sandbox) -> Api:
    options = settings.SANDBOX_OPTIONS
    return Api(options["username"], options["password"], sandbox.url)


def service_id(sandbox: Sandbox) -> str:
    """Return the id of this site's service; made now if the sandbox has none, and noted for settings.py."""
    # The provider's API can make a service, but not look one up by its name; the sandbox's own memory can.
    found = sandbox.store.row("SELECT id FROM service WHERE name = ?", [NAME])
    service = str(found[0]) if found else api(sandbox).services.create(DOMAIN, NAME).id
    settings.SANDBOX_SERVICE_ID.write_text(f"{service}\n")
    return service


def verigator_setting(sandbox: Sandbox, service: str) -> dict[str, Any]:
    """Return the setting VERIGATOR with this sandbox as its provider."""
    setting = deepcopy(settings.VERIGATOR)
    setting["BACKENDS"]["default"]["OPTIONS"] |= {"endpoint": sandbox.url, "service_id": service}
    return setting
