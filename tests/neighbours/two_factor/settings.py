from __future__ import annotations

from tests.neighbours.base_settings import *

INSTALLED_APPS += [
    "django_otp",
    "django_otp.plugins.otp_static",
    "django_otp.plugins.otp_totp",
    "two_factor",
]
MIDDLEWARE.insert(
    MIDDLEWARE.index("django_verigator.middleware.VerigatorMiddleware"),
    "django_otp.middleware.OTPMiddleware",  # behind Django's AuthenticationMiddleware, before ours
)
LOGIN_URL = "two_factor:login"
ROOT_URLCONF = "tests.neighbours.two_factor.urls"
