"""Two-factor login for Django by phone: a PIN by SMS, WhatsApp or a call, or a code from an app."""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:
    from django.http import HttpRequest

__version__ = "0.1.0"


def is_verified(request: HttpRequest) -> bool:
    """Whether the session behind this request has proved the second factor of the user who is logged in.

    False for a user who is logged in and need not use two-factor authentication. The middleware puts the answer on the
    request, so that this package imports no Django: the client and the sandbox work without it.
    """
    guard = getattr(request, "verigator", None)
    return guard is not None and bool(guard.is_verified())
