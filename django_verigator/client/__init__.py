"""Clients for Messente's Verification API (``Api``) and Number Verification API (``NumberVerification``).

They need ``requests`` and nothing of Django.

from django_verigator.client import Api

api = Api("username", "password")
user = api.users.create(service_id, "+37251234567", "alice")
method = api.auth.initiate(service_id, user.id, api.auth.METHOD_SMS)
if api.auth.verify(service_id, user.id, "0042"):
    ...
"""

from .answers import BadAnswer
from .arguments import is_loopback
from .http import Transport, before_request
from .masked import SecretText, json_body
from .number_verification import NumberVerification
from .results import Service, StartedMethod, User, Verification
from .verigator import Api, Auth, Services, Users

__all__ = [
    "Api",
    "Auth",
    "BadAnswer",
    "NumberVerification",
    "SecretText",
    "Service",
    "Services",
    "StartedMethod",
    "Transport",
    "User",
    "Users",
    "Verification",
    "before_request",
    "is_loopback",
    "json_body",
]
