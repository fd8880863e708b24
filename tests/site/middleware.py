from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth import get_user, get_user_model, login


class LogAliceIn:
    """A site's own middleware that logs somebody in, behind ours."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        user = get_user_model().objects.get(username="alice")
        login(request, user, backend="django.contrib.auth.backends.ModelBackend")
        return self.get_response(request)


class LogAliceInOnce(LogAliceIn):
    """The same, but only where nobody is logged in."""

    def __call__(self, request: Any) -> Any:
        return self.get_response(request) if request.user.is_authenticated else super().__call__(request)


class ReadsTheUser(LogAliceIn):
    """A site's own middleware that puts the user itself on the request, where Django puts a lazy one."""

    def __call__(self, request: Any) -> Any:
        request.user = get_user(request)
        return self.get_response(request)
