"""A site as gunicorn loads it; which one is in the environment."""

from __future__ import annotations

import json
import os

from django.core.wsgi import get_wsgi_application

from .sites import VARIABLE, Site

Site(**json.loads(os.environ[VARIABLE])).configure()
application = get_wsgi_application()
