"""Runs Django's runtests.py, with this app among the apps and the middlewares that every test has, or without it.

python runner.py with|plain ARGUMENTS OF RUNTESTS...        in the folder of Django's tests
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path("runtests.py").resolve()
SETTINGS = "verigator_suite"
AUTHENTICATION = '    "django.contrib.auth.middleware.AuthenticationMiddleware",\n'
LAST_APP = '    "django.contrib.staticfiles",\n]\n'
# Most of Django's URLs are those of one test, and its settings have no time zones.
SILENCED = "    settings.SILENCED_SYSTEM_CHECKS = [\n"
OURS_SILENCED = SILENCED + '        "verigator.E006",\n        "verigator.W002",\n        "verigator.W004",\n'

# What every test has. Nobody has a phone, so nobody owes the step: all must go on as without the app.
APP_SETTINGS = """
from test_sqlite import *

VERIGATOR = {
    "BACKENDS": {"default": {"BACKEND": "django_verigator.backends.locmem.LocMemBackend"}},
    "PHONE": None,
    "STAND_IN": True,
}
"""


def main() -> None:
    mode = sys.argv.pop(1)
    text = SCRIPT.read_text(encoding="utf-8")
    if mode == "with":
        SCRIPT.with_name(f"{SETTINGS}.py").write_text(APP_SETTINGS, encoding="utf-8")
        for old, new in (
            (AUTHENTICATION, AUTHENTICATION + '    "django_verigator.middleware.VerigatorMiddleware",\n'),
            (SILENCED, OURS_SILENCED),
            (LAST_APP, LAST_APP.replace("]", '    "django_verigator",\n]')),
        ):
            if text.count(old) != 1:
                sys.exit(f"{SCRIPT} has changed: no single {old!r}")
            text = text.replace(old, new)
        sys.argv.append(f"--settings={SETTINGS}")
        sys.path.append(str(ROOT))
    sys.path[0] = str(SCRIPT.parent)
    sys.argv[0] = str(SCRIPT)
    exec(compile(text, str(SCRIPT), "exec"), {"__name__": "__main__", "__file__": str(SCRIPT)})  # noqa: S102


if __name__ == "__main__":
    main()
