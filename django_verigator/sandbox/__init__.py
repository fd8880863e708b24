"""A local stand-in for the provider: real HTTP, real rules, no SMS.

``python -m django_verigator.sandbox --username U --password P`` runs it; tests run it in a thread::

    with Sandbox(username="u", password="p") as sandbox:
        ...  # the application under test talks to sandbox.url
        pin = sandbox.last_pin("+3725555555")

It needs the standard library alone and knows nothing of the rest of the package.
"""

from __future__ import annotations

from django_verigator.sandbox.rules import Rules
from django_verigator.sandbox.sandbox import Sandbox, SandboxError

__all__ = ["Rules", "Sandbox", "SandboxError"]
