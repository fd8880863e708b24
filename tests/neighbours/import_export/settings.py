from __future__ import annotations

from tests.neighbours.base_settings import *

INSTALLED_APPS += ["import_export", "tests.neighbours.import_export"]
ROOT_URLCONF = "tests.neighbours.axes.urls"
