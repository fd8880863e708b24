"""Install other packages beside this app, and try it together with them.

python -m tests.neighbours --install DIRECTORY             all sites, in environments made below DIRECTORY
python -m tests.neighbours --install DIRECTORY allauth     one of them
python -m tests.neighbours allauth                         in the environment of this Python

Ends with an error when a test failed. A package that cannot be had is named at the end, as left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Site:
    """A folder beside this file: settings, URLs, tests; and the distributions that it needs, newest version each."""

    name: str
    packages: tuple[str, ...] = ()
    server: bool = False  # PostgreSQL at 127.0.0.1


# What can be installed together. Two packages that do not go together need an environment each.
ENVIRONMENTS: dict[str, tuple[Site, ...]] = {
    "newest": (
        Site("allauth", ("django-allauth[mfa,headless]", "djangorestframework")),
        Site("rest", ("djangorestframework", "djangorestframework-simplejwt", "dj-rest-auth")),
        # With the lite build, which is the one that this app needs.
        Site("phonenumber_field", ("django-phonenumber-field[phonenumberslite]",)),
        Site("otp", ("django-otp", "qrcode")),
        Site("axes", ("django-axes",)),
        Site("unfold", ("django-unfold",)),
        Site("jazzmin", ("django-jazzmin",)),
        Site("import_export", ("django-import-export",)),
        Site("routed"),
        Site("tenants", ("django-tenants", "psycopg[binary]"), server=True),
        Site("sentry", ("sentry-sdk",)),
        Site("wagtail", ("wagtail",)),
    ),
    # It refuses the newest django-phonenumber-field, and would be had in a version of 2013 beside it.
    "two-factor": (Site("two_factor", ("django-two-factor-auth",)),),
}
TESTS = ("pytest>=8.3", "pytest-django>=4.9", "responses>=0.25")


def installed(python: Path, sites: tuple[Site, ...]) -> list[Site]:
    """Install what the sites need; return those that can be tried."""
    wanted = [package for site in sites for package in site.packages]
    if _pip(python, "install", "--editable", str(ROOT), *TESTS, *wanted) == 0:
        return list(sites)
    # One by one, so that one that cannot be had takes no other with it.
    if _pip(python, "install", "--editable", str(ROOT), *TESTS) != 0:
        return []
    return [site for site in sites if not site.packages or _pip(python, "install", *site.packages) == 0]


def _pip(python: Path, *arguments: str) -> int:
    print("$ pip", *arguments, flush=True)
    return subprocess.run(
        [python, "-m", "pip", "--quiet", *arguments], check=False, stdin=subprocess.DEVNULL
    ).returncode


def versions(python: Path, packages: Sequence[str]) -> str:
    """Return what is tried, and where a newer version is held back by another package."""
    wanted = [package.partition("[")[0] for package in packages]
    code = "import sys; from importlib.metadata import version; print(*(version(name) for name in sys.argv[1:]))"
    have = _answer(python, "-c", code, *wanted).split()
    look = _answer(python, "-m", "pip", "install", "-q", "--dry-run", "--no-deps", "-U", "--report", "-", *wanted)
    found = [entry["metadata"] for entry in json.loads(look or '{"install": []}')["install"]]
    newer = {entry["name"].lower(): f" (the newest is {entry['version']})" for entry in found}
    return ", ".join(f"{name} {it}{newer.get(name.lower(), '')}" for name, it in zip(wanted, have, strict=True))


def has_server(python: Path) -> bool:
    code = "import sys, psycopg; psycopg.connect(host='127.0.0.1', user=sys.argv[1], dbname='postgres')"
    user = os.environ.get("PGUSER", "postgres")
    return subprocess.run([python, "-c", code, user], check=False, capture_output=True).returncode == 0


def _answer(python: Path, *arguments: str) -> str:
    return subprocess.run([python, *arguments], check=False, capture_output=True, text=True).stdout


def try_site(python: Path, site: Site) -> int:
    settings = f"tests.neighbours.{site.name}.settings"
    # Other people's warnings are theirs.
    options = ["-q", "--disable-warnings", f"--ds={settings}", "-W", "default", "-p", "no:cacheprovider"]
    where = f"tests/neighbours/{site.name}"
    return subprocess.run([python, "-m", "pytest", *options, where], cwd=ROOT, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.neighbours", description=__doc__.partition("\n")[0])
    parser.add_argument("--install", type=Path, metavar="DIRECTORY", help="where to make the environments")
    parser.add_argument("site", nargs="*", help="names of sites; none: all of them")
    options = parser.parse_args()
    known = [site.name for sites in ENVIRONMENTS.values() for site in sites]
    for name in options.site:
        if name not in known:
            parser.error(f"no site {name!r}; there are {', '.join(known)}")
    results: list[str] = []
    failed = False
    for environment, all_sites in ENVIRONMENTS.items():
        sites = tuple(site for site in all_sites if not options.site or site.name in options.site)
        if not sites:
            continue
        python, here = Path(sys.executable), list(sites)
        if options.install:
            print(f"=== environment {environment}", flush=True)
            subprocess.run([sys.executable, "-m", "venv", options.install / environment], check=True)
            python = (options.install / environment / "bin" / "python").absolute()
            here = installed(python, sites)
        if here:
            results.append(f"Python {platform.python_version()} and {versions(python, ['Django'])}:")
        for site in sites:
            if site not in here:
                results.append(f"LEFT OUT {site.name}: {', '.join(site.packages)} cannot be installed")
            elif site.server and not has_server(python):
                results.append(f"LEFT OUT {site.name}: there is no PostgreSQL at 127.0.0.1")
            else:
                print(f"=== {site.name}", flush=True)
                began = time.monotonic()
                code = try_site(python, site)
                failed = failed or code != 0
                took = f"{time.monotonic() - began:.0f} s"
                what = versions(python, site.packages) or "no package"
                results.append(f"{'FAILED' if code else 'passed'} {took:>5}  {site.name}: {what}")
    print("\n".join(["=== summary", *results]))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
