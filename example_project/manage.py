#!/usr/bin/env python
"""The example site's commands; start with ``python example_project/manage.py demo``."""

from __future__ import annotations

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cafe.settings")
    execute_from_command_line(sys.argv)
