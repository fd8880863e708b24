"""The ids of the system checks; a site silences one with ``SILENCED_SYSTEM_CHECKS``."""

from __future__ import annotations

SETTINGS_INVALID = "verigator.E001"
"""VERIGATOR is missing, or one of its keys is wrong."""

BACKEND_UNUSABLE = "verigator.E002"
"""A backend cannot be built: no credentials, http outside loopback, and the like."""

STAND_IN_WITHOUT_DEBUG = "verigator.E003"
"""A stand-in backend with DEBUG off."""

MIDDLEWARE_MISSING = "verigator.E004"
"""The middleware is missing."""

MIDDLEWARE_MISPLACED = "verigator.E005"
"""The middleware is in the wrong place."""

URLS_MISSING = "verigator.E006"
"""The URLs are not included."""

TWO_RECORD_BACKENDS = "verigator.E007"
"""More than one backend keeps user records."""

STAND_INS_ALLOWED = "verigator.E008"
"""STAND_IN is set (``check --deploy``)."""

PHONE_LEADS_NOWHERE = "verigator.E009"
"""PHONE is a path that leads nowhere."""

USER_MODEL_LACKS_FIELDS = "verigator.E010"
"""REQUIRED or EXEMPT_GROUPS needs what the user model does not have."""

TWO_DATABASES = "verigator.E011"
"""A database router puts the app's tables and the users into different databases."""

OPTIONS_CONTRADICT_SETTINGS = "verigator.E020"
"""A backend's options contradict the other settings."""

NO_METHOD_LEFT = "verigator.E021"
"""METHOD is none of WAYS, or no backend can send by it."""

ENDPOINT_PRIVATE = "verigator.E023"
"""A backend's endpoint is a private address."""

NOBODY_REQUIRED = "verigator.W001"
"""REQUIRED is "none"."""

LOGIN_URL_ELSEWHERE = "verigator.W002"
"""LOGIN_URL does not lead to a login page that asks for the second factor."""

LOGIN_NOT_COVERED = "verigator.W003"
"""A password, or a token obtained with it, works without a session (Django REST framework)."""

USE_TZ_OFF = "verigator.W004"
"""USE_TZ is False."""

NO_TRUSTED_PROXIES = "verigator.W005"
"""TRUSTED_PROXIES is empty (``check --deploy``)."""

PHONE_LEFT_OUT = "verigator.W006"
"""PHONE is not set, and the user model has no phone_number."""

LIMIT_VOID = "verigator.W007"
"""A limit is so high that it bounds nothing, or another limit is always reached first."""

NUMBERS_UNUSABLE = "verigator.W008"
"""Some users have a number that cannot be used (``check --deploy``)."""

MIDDLEWARE_BETWEEN = "verigator.W009"
"""Another middleware is between AuthenticationMiddleware and VerigatorMiddleware."""

SECOND_LOGIN_PAGE = "verigator.W010"
"""This app's login page bypasses the second factor of another package."""

PHONE_FINDS_NOTHING = "verigator.W011"
"""PHONE finds no number for any of the newest users (``check --deploy``)."""

TWO_PHONENUMBERS = "verigator.W012"
"""Both phonenumbers and phonenumberslite are installed, in different versions."""

BACKEND_WAITS_TOO_LONG = "verigator.W020"
"""A backend may wait longer than a web server lets a request wait."""

PROVIDER_RESENDS = "verigator.W021"
"""A backend's provider resends codes by itself."""

CALLS_REACH_VOICE_MAIL = "verigator.W023"
"""A backend's calls read the PIN to whoever answers, also to a voice mail."""

CREDENTIALS_IN_ADDRESSES = "verigator.W022"
"""A backend puts credentials and PINs into URLs."""

CHANNEL_MAY_NOT_REACH = "verigator.W024"
"""A backend's channels do not reach every phone: none is SMS, or WhatsApp without a template."""
