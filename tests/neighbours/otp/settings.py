from __future__ import annotations

from tests.neighbours.base_settings import *

INSTALLED_APPS += ["django_otp", "django_otp.plugins.otp_totp", "django_otp.plugins.otp_static"]
MIDDLEWARE.insert(
    MIDDLEWARE.index("django_verigator.middleware.VerigatorMiddleware"),
    "django_otp.middleware.OTPMiddleware",  # behind Django's AuthenticationMiddleware, before ours
)
LOGIN_URL = OTP_LOGIN_URL = "/otp-login/"
ROOT_URLCONF = "tests.neighbours.otp.urls"
