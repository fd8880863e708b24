from __future__ import annotations

import sentry_sdk
from sentry_sdk.scrubber import DEFAULT_DENYLIST, EventScrubber

from tests.neighbours.base_settings import *

OURS = ["pin", "code", "phone", "phone_number"]
SENTRY = {
    "dsn": "https://key@sentry.example/1",
    "event_scrubber": EventScrubber(denylist=[*DEFAULT_DENYLIST, *OURS], recursive=True),
}
sentry_sdk.init(**SENTRY)
ROOT_URLCONF = "tests.neighbours.axes.urls"
