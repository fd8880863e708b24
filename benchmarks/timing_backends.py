"""For the control: answers that take as long as they happen to."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.hashers import PBKDF2PasswordHasher


class Hasher(PBKDF2PasswordHasher):
    """Django's own with fewer rounds: still most of the answer's time, so that a round left out shows."""

    iterations = 10_000


class TellTaleBackend(ModelBackend):
    """What many write by hand: no hash for a user who is not there."""

    def authenticate(self, request: Any, username: Any = None, password: Any = None, **kwargs: Any) -> Any:
        user = get_user_model()._default_manager.filter(username=username).first()
        return user if user is not None and user.check_password(password) and user.is_active else None
