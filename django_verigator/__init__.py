"""Two-factor login for Django through Messente's Verigator (the Verification API)."""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:
    from django.http import HttpRequest

__version__ = "0.1.0"


def is_verified(request: HttpRequest) -> bool:
    """Whether the session behind this request has proved the second factor of the user who is logged in.

    False for a user who is logged in and owes no second step. Imports nothing, so that the sandbox and the client stay
    usable without Django: the middleware has put the answer on the request.
    """
    gate = getattr(request, "verigator", None)
    return gate is not None and bool(gate.is_verified())
