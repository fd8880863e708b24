from __future__ import annotations

from tests.neighbours.base_settings import *

INSTALLED_APPS += ["rest_framework", "rest_framework.authtoken", "rest_framework_simplejwt", "dj_rest_auth"]
REST_FRAMEWORK = {
    # Each class but the first believes a token. Tokens are given out behind the PIN alone: see urls.py.
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.SessionAuthentication",
        "rest_framework.authentication.TokenAuthentication",
        "rest_framework_simplejwt.authentication.JWTAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
}
REST_AUTH = {"USE_JWT": True, "JWT_AUTH_COOKIE": "jwt", "JWT_AUTH_REFRESH_COOKIE": "jwt-refresh"}
SIMPLE_JWT = {"SIGNING_KEY": "of the tests only, and long enough for its algorithm"}
ROOT_URLCONF = "tests.neighbours.rest.urls"
