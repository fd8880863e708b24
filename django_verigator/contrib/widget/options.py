"""The setting VERIGATOR_WIDGET: the API account, and the widget's address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from ...client import widget

NAME = "VERIGATOR_WIDGET"


@dataclass(frozen=True)
class Options:
    """The API account. Give the site one of its own: an answer for one site is good for all that share an account."""

    username: str
    password: str = field(repr=False)
    endpoint: str = widget.ENDPOINT


def current() -> Options:
    """Return the options in force.

    Raises:
        ImproperlyConfigured: they cannot be used as they stand. The message repeats no value.
    """
    raw = getattr(settings, NAME, None)
    known = {each.name for each in fields(Options)}
    if not isinstance(raw, Mapping) or not {"username", "password"} <= set(raw) <= known:
        raise ImproperlyConfigured(f'{NAME} must be a dict with "username", "password" and perhaps "endpoint".')
    options = Options(**raw)
    try:
        widget.request_url(options.username, options.password, "https://localhost/", endpoint=options.endpoint)
    except ValueError as error:
        raise ImproperlyConfigured(f"{NAME}: {error}.") from None
    return options
