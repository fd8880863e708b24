"""The users of the demo."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..models import User

PASSWORD = "flat white 67"
WALKER = "demo-walk-"


@dataclass(frozen=True)
class Person:
    username: str
    phone_number: str  # all from +44 7700 900000 to 900999, which Britain keeps for films and never gives out
    is_superuser: bool = False
    about: str = ""


PEOPLE = (
    Person("demo", "+447700900067", about="a customer"),
    Person("admin", "+447700900042", is_superuser=True, about="may use the admin"),
    Person("nophone", "", about="the password is enough, until the gift card asks for a phone"),
)


def prepare() -> None:
    """Make the users of the demo who are missing; their passwords are what the demo says."""
    User.objects.filter(username__startswith=WALKER).delete()  # left by a walk that was interrupted
    for person in PEOPLE:
        user = User.objects.filter(username=person.username).first()
        if user is None:
            create = User.objects.create_superuser if person.is_superuser else User.objects.create_user
            create(person.username, password=PASSWORD, phone_number=person.phone_number)
        elif not user.check_password(PASSWORD):
            user.set_password(PASSWORD)
            user.save(update_fields=["password"])


@contextmanager
def walker() -> Iterator[User]:
    """A user for one walk, with a number of the day: nobody's limits are used up, and nothing stays behind."""
    number = f"+447700900{random.randrange(100, 1000)}"  # noqa: S311 - nothing is secret about it
    user = User.objects.create_user(WALKER + secrets.token_hex(3), password=PASSWORD, phone_number=number)
    try:
        yield user
    finally:
        user.delete()
