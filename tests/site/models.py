"""A custom user model with a phone, a proxy and a child of it."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.db import models


class User(AbstractUser):
    phone_number = models.CharField(max_length=40, blank=True, default="")


class Member(User):
    class Meta:
        proxy = True


class Courier(User):
    vehicle = models.CharField(max_length=20)
