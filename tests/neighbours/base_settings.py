"""A site with nothing but Django and this app, for the others to add to."""

from __future__ import annotations

from tests.settings import *

ROOT_URLCONF = "tests.neighbours.base_urls"
