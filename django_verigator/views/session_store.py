"""Errors of the site's session store, told apart from every other error of a view."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, wraps
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.contrib.sessions.backends.base import CreateError, UpdateError

_CALLS = ("load", "save", "create", "exists", "delete", "cycle_key", "flush")

# CreateError and UpdateError are the store's protocol: ``create()`` tries another key on the first, and a site may
# handle the second. TypeError and ValueError come from a value in the session that cannot be stored.
_PASSED_ON = (CreateError, UpdateError, TypeError, ValueError)


def is_store_error(error: Exception) -> bool:
    """Whether the site's session store raised this within ``store_errors_marked``."""
    return isinstance(error, (CreateError, UpdateError)) or hasattr(error, "_verigator_session_store")


@contextmanager
def store_errors_marked(session: Any) -> Iterator[None]:
    """Mark what the store of ``session`` raises for ``is_store_error``, until the block ends.

    A session whose class cannot be exchanged is left alone.
    """
    # Not type(): that of a lazy session is its wrapper's.
    store = session.__class__
    with suppress(TypeError):
        session.__class__ = _marking_subclass(store)
    try:
        yield
    finally:
        if session.__class__ is not store:
            session.__class__ = store


@cache
def _marking_subclass(store: type) -> type:
    """Return a subclass of ``store`` whose calls mark what they raise, under the same name.

    ``SessionBase.key_salt`` signs a session's data with the name of its class.
    """
    names_of_store = {"__module__": store.__module__, "__qualname__": store.__qualname__, "__doc__": store.__doc__}
    subclass: type = type(store)(store.__name__, (store,), names_of_store)
    for call in _CALLS:
        for name in (call, f"a{call}"):
            if hasattr(store, name):
                setattr(subclass, name, _marking(subclass, name, getattr(store, name)))
    return subclass


def _marking(subclass: type, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    if iscoroutinefunction(method):

        @wraps(method)
        async def marked_async(session: Any, *args: Any, **kwargs: Any) -> Any:
            with _marked():
                return await getattr(super(subclass, session), name)(*args, **kwargs)

        return marked_async

    @wraps(method)
    def marked(session: Any, *args: Any, **kwargs: Any) -> Any:
        with _marked():
            return getattr(super(subclass, session), name)(*args, **kwargs)

    return marked


@contextmanager
def _marked() -> Iterator[None]:
    try:
        yield
    except _PASSED_ON:
        raise
    except Exception as error:
        error._verigator_session_store = True  # type: ignore[attr-defined]
        raise
