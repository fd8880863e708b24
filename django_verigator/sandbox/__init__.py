"""Run a local stand-in for the providers: real HTTP, their rules, no SMS and no call.

``python -m django_verigator.sandbox --username U --password P`` runs it as a program; tests run it in a thread::

    with Sandbox(username="u", password="p") as sandbox:
        ...  # the application under test talks to sandbox.url
        pin = sandbox.last_pin("+3725555555")

The sandbox needs only the standard library and imports nothing from the rest of the package.
"""

from __future__ import annotations

from .faults import FaultError
from .sandbox import Sandbox, SandboxError

__all__ = ["FaultError", "Sandbox", "SandboxError"]
