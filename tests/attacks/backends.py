"""A directory that knows passwords of its own, as LDAP or a social login would."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend


class DirectoryBackend(ModelBackend):
    def authenticate(self, request: Any, username: Any = None, password: Any = None, **kwargs: Any) -> Any:
        from django.contrib.auth import get_user_model

        if password == "known to the directory":
            return get_user_model().objects.get(username=username)
        return None
