"""A session store that a site has made of another one, as Django's documentation shows."""

from __future__ import annotations

from . import sessions


class SessionStore(sessions.SessionStore):
    pass
