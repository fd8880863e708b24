from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.db import models


class User(AbstractUser):
    """Django's user with a phone number, which the setting PHONE names."""

    phone_number = models.CharField("phone number", max_length=20, blank=True)
