from __future__ import annotations

from tests.neighbours.base_settings import *

INSTALLED_APPS.remove("tests.site")
INSTALLED_APPS += ["phonenumber_field", "tests.neighbours.phonenumber_field"]
AUTH_USER_MODEL = "people.User"
PHONENUMBER_DEFAULT_REGION = "EE"
VERIGATOR["PHONE"] = "phone_number"
ROOT_URLCONF = "tests.neighbours.phonenumber_field.urls"
