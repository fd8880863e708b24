"""Clients of Messente's Verification API (``Api``), Number Verification API (``NumberVerification``) and Omnichannel
API (``Omnichannel``), and of Twilio Verify (``TwilioVerify``).

Each can be used alone: it needs ``requests`` and no Django project. ``__all__`` lists what other code may use:

from django_verigator.client import Api

api = Api("username", "password")
user = api.users.create(service_id, "+37251234567", "alice")
method = api.auth.initiate(service_id, user.id, api.auth.METHOD_SMS)
if api.auth.verify(service_id, user.id, "0042"):
    ...
"""

from .answers import BadAnswer
from .deliveries import MessageStatus
from .http import Transport, before_request
from .lines import line_reader
from .number_verification import NumberVerification
from .omnichannel import Omnichannel
from .omnimessages import ChannelMessage, Omnimessage, WhatsAppTemplate
from .options import ConnectionOptions, is_loopback
from .results import Service, StartedMethod, User, Verification
from .secrets import SecretText, form_text, json_body
from .twilio_verify import StartedVerification, TwilioVerify
from .verigator import Api, Auth, Services, Users

__all__ = [
    "Api",
    "Auth",
    "BadAnswer",
    "ChannelMessage",
    "ConnectionOptions",
    "MessageStatus",
    "NumberVerification",
    "Omnichannel",
    "Omnimessage",
    "SecretText",
    "Service",
    "Services",
    "StartedMethod",
    "StartedVerification",
    "Transport",
    "TwilioVerify",
    "User",
    "Users",
    "Verification",
    "WhatsAppTemplate",
    "before_request",
    "form_text",
    "is_loopback",
    "json_body",
    "line_reader",
]
