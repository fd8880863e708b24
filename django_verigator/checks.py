"""System checks: what would otherwise be found out by the first user who logs in.

=================  =============================================================
verigator.E001     VERIGATOR is missing, or a key of it is wrong
verigator.E002     a backend cannot be built: credentials missing, http outside loopback, ...
verigator.E003     a stand-in backend with DEBUG off
verigator.E004     the middleware is missing
verigator.E005     the middleware stands in the wrong place
verigator.E006     the URLs are not included
verigator.E007     more than one backend keeps user records
verigator.E008     STAND_IN is set (``check --deploy``)
verigator.E009     PHONE is a path that leads nowhere
verigator.E010     REQUIRED or EXEMPT_GROUPS needs what the user model does not have
verigator.E011     a router puts the app's tables and the users into different databases
verigator.E020     a backend's options contradict the other settings
verigator.E021     ALLOW_SMS is False, and no backend can ask the app, or METHOD does not ask it
verigator.E023     a backend's endpoint is a private address
verigator.W001     REQUIRED is "none"
verigator.W002     LOGIN_URL does not lead to a login page with the second step
verigator.W003     a password, or a token for it, lets in without a session (Django REST framework)
verigator.W004     USE_TZ is False
verigator.W005     TRUSTED_PROXIES is empty (``check --deploy``)
verigator.W006     PHONE is left out, and the user model has no phone_number
verigator.W007     a limit is so high that it bounds nothing, or another one makes it void
verigator.W008     users have a number that cannot be used (``check --deploy``)
verigator.W009     a middleware stands between AuthenticationMiddleware and ours
verigator.W010     our login page is a way past another package's second factor
verigator.W011     PHONE finds no number at any of the newest users (``check --deploy``)
verigator.W012     phonenumbers and phonenumberslite are both installed, in different versions
verigator.W020     a backend may wait longer than a web server lets a request wait
verigator.W021     a backend's provider sends again by itself
verigator.W022     a backend has credentials and PINs in addresses
=================  =============================================================
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.middleware import (
    AuthenticationMiddleware,
    LoginRequiredMiddleware,
    RemoteUserMiddleware,
)
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, router
from django.db.models import ForeignObjectRel
from django.urls import NoReverseMatch, URLPattern, get_resolver, reverse
from django.utils.module_loading import import_string

from . import conf
from .backends import BaseBackend, build, stand_ins_allowed
from .constants import METHOD_TOTP
from .middleware import VerigatorMiddleware
from .records import links, site_phones
from .views import LoginView, match_url

TAG = "verigator"
_USERS_TRIED = 100
# They keep no user: Django's own; django-otp's hangs something on whoever it is.
_MAY_STAND_BETWEEN = ("django.", "django_otp.")
# What lets in with a password alone, or with a token given for it, and makes no session that the middleware could see.
_TOKEN_APPS = ("rest_framework.authtoken", "rest_framework_simplejwt", "knox")
_BELIEVERS = (
    "rest_framework.authentication.",
    "rest_framework_simplejwt.",
    "knox.",
    "dj_rest_auth.",
    "oauth2_provider.",
    "allauth.headless.",
)
_SESSION_CLASSES = (
    "rest_framework.authentication.BaseAuthentication",
    "rest_framework.authentication.SessionAuthentication",
)
# What gives out a token for a password, and tells nobody of the login.
_TOKEN_VIEWS = (
    "rest_framework.authtoken.views.ObtainAuthToken",
    "rest_framework_simplejwt.views.TokenObtainPairView",
    "rest_framework_simplejwt.views.TokenObtainSlidingView",
    "oauth2_provider.views.base.TokenView",
)
_OTHER_FACTORS = ("allauth.account", "two_factor", "django_otp")


def register() -> None:
    checks.register(check_settings, checks.Tags.security, TAG)
    checks.register(check_middleware, checks.Tags.security, TAG)
    checks.register(check_urls, checks.Tags.security, TAG)
    checks.register(check_logins, checks.Tags.security, TAG)
    checks.register(check_packages, checks.Tags.compatibility, TAG)
    checks.register(check_deploy, checks.Tags.security, TAG, deploy=True)


def check_settings(**kwargs: Any) -> list[checks.CheckMessage]:
    raw = getattr(settings, conf.NAME, None)
    if raw is None:
        return [
            checks.Error(
                "VERIGATOR is not set.",
                hint='Set VERIGATOR = {"BACKENDS": {"default": {"BACKEND": "...", "OPTIONS": {...}}}}.',
                id="verigator.E001",
            )
        ]
    found = conf.problems(raw)
    if found:
        hint = "See the settings table in the README."
        return [checks.Error(message, hint=hint, id="verigator.E001") for _, message in found]
    messages = [*_check_callables(), *_check_phone(), *_check_user_model(), *_check_databases()]
    if not settings.USE_TZ and settings.TIME_ZONE != "UTC":
        messages.append(
            checks.Warning(
                "USE_TZ is False: when the clock goes back an hour, PINs that have expired become good again.",
                hint='Set USE_TZ = True, or TIME_ZONE = "UTC".',
                id="verigator.W004",
            )
        )
    if conf.current().REQUIRED == "none":
        messages.append(
            checks.Warning(
                'VERIGATOR["REQUIRED"] is "none": nobody is asked for a second step.',
                hint='This is the emergency switch. Set it back to "enrolled" when the emergency is over.',
                id="verigator.W001",
            )
        )
    return [*messages, *_check_limits(), *_check_backends()]


def _check_limits() -> list[checks.CheckMessage]:
    return [
        checks.Warning(
            f'VERIGATOR["LIMITS"]: {problem}.', hint="See docs/limits.md for how to choose them.", id="verigator.W007"
        )
        for problem in conf.loose_limits(conf.current().LIMITS)
    ]


def _check_callables() -> list[checks.CheckMessage]:
    config = conf.current()
    named: dict[str, Any] = {"DISPATCHER": config.DISPATCHER, "ID_IN_SERVICE": config.ID_IN_SERVICE}
    if config.REQUIRED not in conf.REQUIRED_WORDS:
        named["REQUIRED"] = config.REQUIRED
    if isinstance(config.PHONE, str) and ":" in config.PHONE:
        named["PHONE"] = config.PHONE
    found: list[checks.CheckMessage] = []
    for key, value in named.items():
        try:
            if value is not None:
                conf.resolve(value)
        except ImproperlyConfigured as error:
            found.append(checks.Error(f'VERIGATOR["{key}"]: {error}', id="verigator.E001"))
    return found


def _check_phone() -> list[checks.CheckMessage]:
    config = conf.current()
    source = config.PHONE
    dead_end = _dead_end(source) if isinstance(source, str) and ":" not in source else ""
    if not dead_end:
        return []
    if "PHONE" in getattr(settings, conf.NAME):
        return [
            checks.Error(
                f'VERIGATOR["PHONE"]: {dead_end}, so nobody would have a phone.',
                hint='Name an attribute of the user ("profile.phone"), or a function with a colon ("shop.phones:of").',
                id="verigator.E009",
            )
        ]
    if config.REQUIRED == "none":
        return []
    return [
        checks.Warning(
            f'VERIGATOR["PHONE"] is left out, and {dead_end}: nobody has a phone until enrolling one.',
            hint="Say where the numbers are; or set it to None, if the site keeps none and users enrol theirs.",
            id="verigator.W006",
        )
    ]


def _dead_end(path: str) -> str:
    """Say what is missing on a path from the user; "" if it leads somewhere, as far as models can tell."""
    cls: Any = get_user_model()
    for name in path.split("."):
        field = _fields(cls).get(name)
        if field is None and not hasattr(cls, name):
            return f'{cls.__name__} has no "{name}"'
        if field is None and inspect.isroutine(getattr(cls, name)):
            return f"{cls.__name__}.{name} is a method, and a path calls none"
        cls = getattr(field, "related_model", None)
        if field is not None and (field.one_to_many or field.many_to_many):
            cls = getattr(getattr(field.model, name, None), "related_manager_cls", None)
        if not isinstance(cls, type):
            return ""
    return ""


def _fields(cls: Any) -> dict[str | None, Any]:
    # By the names that instances know; that of a relation from elsewhere may be another one in queries.
    fields = cls._meta.get_fields() if hasattr(cls, "_meta") else ()
    return {f.get_accessor_name() if isinstance(f, ForeignObjectRel) else f.name: f for f in fields}


def _check_user_model() -> list[checks.CheckMessage]:
    config = conf.current()
    found: list[checks.CheckMessage] = []
    for key, is_used, names in (
        ("REQUIRED", config.REQUIRED == "staff", ("is_staff", "is_superuser")),
        ("EXEMPT_GROUPS", bool(config.EXEMPT_GROUPS), ("groups",)),
    ):
        missing = [name for name in names if not hasattr(get_user_model(), name)]
        if is_used and missing:
            found.append(
                checks.Error(
                    f'VERIGATOR["{key}"] cannot be used: the user model has no {", ".join(missing)}.',
                    hint='Say who owes the second step in a function of yours: "REQUIRED": "shop.rules.is_required".',
                    id="verigator.E010",
                )
            )
    return found


def _check_databases() -> list[checks.CheckMessage]:
    try:
        users = router.db_for_write(get_user_model())
        ours = {router.db_for_write(model) for model in apps.get_app_config("django_verigator").get_models()}
    except Exception:  # noqa: BLE001 - a router of the site may want to know more than there is outside a request
        return []
    if ours <= {users}:
        return []
    return [
        checks.Error(
            "DATABASE_ROUTERS puts the tables of django_verigator and the users into different databases.",
            hint=f'Have the router put both into "{users}": each login reads and writes them together.',
            id="verigator.E011",
        )
    ]


def _check_backends() -> list[checks.CheckMessage]:
    found: list[checks.CheckMessage] = []
    built: list[BaseBackend] = []
    for alias in conf.current().BACKENDS:
        try:
            backend = build(alias)
        except ImproperlyConfigured as error:
            found.append(checks.Error(str(error), hint="See docs/backends.md.", id="verigator.E002"))
            continue
        built.append(backend)
        found += backend.system_checks()
        if backend.is_stand_in and not stand_ins_allowed():
            found.append(
                checks.Error(
                    f'VERIGATOR["BACKENDS"]["{alias}"] is a stand-in for tests and development, and DEBUG is off.',
                    hint='Configure a real provider; a test run may set VERIGATOR["STAND_IN"] = True.',
                    id="verigator.E003",
                )
            )
    if sum(backend.keeps_users for backend in built) > 1:
        found.append(
            checks.Error(
                'More than one entry of VERIGATOR["BACKENDS"] keeps user records.',
                hint="A link holds one UserID: list at most one such provider.",
                id="verigator.E007",
            )
        )
    config = conf.current()
    if not config.ALLOW_SMS and config.METHOD != METHOD_TOTP:
        found.append(
            checks.Error(
                f'VERIGATOR["ALLOW_SMS"] is False, and METHOD is "{config.METHOD}".',
                hint='Nobody could log in. Allow text messages, or set METHOD to "totp".',
                id="verigator.E021",
            )
        )
    elif built and not config.ALLOW_SMS and not any(METHOD_TOTP in backend.methods for backend in built):
        found.append(
            checks.Error(
                'VERIGATOR["ALLOW_SMS"] is False, and no entry of BACKENDS can ask for a code of the app.',
                hint="Nobody could log in. Allow text messages, or list a provider that has an app.",
                id="verigator.E021",
            )
        )
    return found


def check_middleware(**kwargs: Any) -> list[checks.CheckMessage]:
    classes = [_load(path) for path in settings.MIDDLEWARE]
    ours = _first(classes, VerigatorMiddleware)
    if ours is None:
        return [
            checks.Error(
                "django_verigator.middleware.VerigatorMiddleware is not in MIDDLEWARE.",
                hint="Add it after AuthenticationMiddleware. Without it the admin and every other login bypass "
                "the second step.",
                id="verigator.E004",
            )
        ]
    found: list[checks.CheckMessage] = []
    authentication = _first(classes, AuthenticationMiddleware)
    if authentication is None or authentication > ours:
        found.append(_misplaced("AuthenticationMiddleware must stand before it"))
    remote_user = _first(classes, RemoteUserMiddleware)
    if remote_user is not None and remote_user > ours:
        found.append(_misplaced("RemoteUserMiddleware must stand before it"))
    login_required = _first(classes, LoginRequiredMiddleware)
    if login_required is not None and login_required < ours:
        found.append(_misplaced("LoginRequiredMiddleware must stand after it"))
    between = slice(ours if authentication is None else authentication + 1, ours)
    for path, middleware in zip(settings.MIDDLEWARE[between], classes[between], strict=True):
        if not path.startswith(_MAY_STAND_BETWEEN) and _first([middleware], RemoteUserMiddleware) is None:
            found.append(
                checks.Warning(
                    f"{path} stands between AuthenticationMiddleware and VerigatorMiddleware: what it keeps of "
                    "request.user may be a user who has not given the PIN.",
                    hint="Put VerigatorMiddleware directly behind AuthenticationMiddleware. Silence this where the "
                    "other one logs users in, or puts them on the request, and does nothing else with them.",
                    id="verigator.W009",
                )
            )
    return found


def _misplaced(rule: str) -> checks.Error:
    return checks.Error(
        "django_verigator.middleware.VerigatorMiddleware stands in the wrong place of MIDDLEWARE.",
        hint=f"{rule}.",
        id="verigator.E005",
    )


def _load(path: str) -> Any:
    try:
        return import_string(path)
    except ImportError:  # Django reports it by itself
        return None


def _first(classes: Sequence[Any], wanted: type) -> int | None:
    places = (place for place, cls in enumerate(classes) if isinstance(cls, type) and issubclass(cls, wanted))
    return next(places, None)


def check_urls(**kwargs: Any) -> list[checks.CheckMessage]:
    if not getattr(settings, "ROOT_URLCONF", None):
        return []
    try:
        reverse("verigator:verify")
    except NoReverseMatch:
        return [
            checks.Error(
                "The URLs of django_verigator are not included.",
                hint='Add path("accounts/", include("django_verigator.urls")) to your URLconf.',
                id="verigator.E006",
            )
        ]
    found = _check_second_door()
    login_page = _page(settings.LOGIN_URL)
    if _is_ours(login_page) or (login_page is not None and not _is_included("verigator:login")):
        return found
    return [
        *found,
        checks.Warning(
            "LOGIN_URL does not lead to django_verigator's login page.",
            hint='Set LOGIN_URL = "verigator:login", so that nobody is logged in before the PIN is right. '
            "Elsewhere the user is logged in for a moment, and caught after it.",
            id="verigator.W002",
        ),
    ]


def _check_second_door() -> list[checks.CheckMessage]:
    others = [app for app in _OTHER_FACTORS if apps.is_installed(app)]
    if not others or not _is_ours(_page("verigator:login")):
        return []
    return [
        checks.Warning(
            f"Our login page is a second door beside {', '.join(others)}: who owes no PIN gets in there with the "
            "password alone, past a second factor, a confirmed address or a limit of theirs.",
            hint='Include "django_verigator.urls_without_login" in place of "django_verigator.urls", and set LOGIN_URL '
            "to their login page.",
            id="verigator.W010",
        )
    ]


def _page(name: str) -> Any:
    match = match_url(name)
    return match.func if match is not None else None


def _is_ours(view: Any) -> bool:
    cls = getattr(view, "view_class", None)
    return cls is not None and issubclass(cls, LoginView)


def _is_included(name: str) -> bool:
    try:
        reverse(name)
    except NoReverseMatch:
        return False
    return True


def check_logins(**kwargs: Any) -> list[checks.CheckMessage]:
    found = [app for app in settings.INSTALLED_APPS if any(f"{app}.".startswith(f"{name}.") for name in _TOKEN_APPS)]
    rest = getattr(settings, "REST_FRAMEWORK", None)
    if rest is not None or "rest_framework" in settings.INSTALLED_APPS:
        # Left out, it is SessionAuthentication and BasicAuthentication.
        classes = (rest or {}).get(
            "DEFAULT_AUTHENTICATION_CLASSES", ["rest_framework.authentication.BasicAuthentication"]
        )
        found += [_names(cls)[0] for cls in classes if _believes(cls)]
    for cls, arguments in _views():
        classes = arguments.get("authentication_classes", getattr(cls, "authentication_classes", ()))
        found += [_names(each)[0] for each in classes if _believes(each)]
        if set(_names(cls)) & set(_TOKEN_VIEWS) or _is_silent_login(cls):
            found.append(_names(cls)[0])
    found = list(dict.fromkeys(found))
    if not found:
        return []
    return [
        checks.Warning(
            f"The second step does not cover {', '.join(found)}: a password, or a token for it, lets in without one.",
            hint="Let the API take SessionAuthentication alone. Or give tokens out in a view that takes no name and no "
            "password and makes the token for request.user, as docs/checks.md shows. Or silence this where no user who "
            "owes the second step can use it.",
            id="verigator.W003",
        )
    ]


def _views() -> Iterator[tuple[type, dict[str, Any]]]:
    """Yield the class of each view of the site that has one, with the arguments of its ``as_view()``."""

    def walk(patterns: Iterable[Any]) -> Iterator[Any]:
        for pattern in patterns:
            if isinstance(pattern, URLPattern):
                yield pattern.callback
            else:
                yield from walk(pattern.url_patterns)

    for view in walk(get_resolver().url_patterns if getattr(settings, "ROOT_URLCONF", None) else ()):
        cls = getattr(view, "cls", None) or getattr(view, "view_class", None)  # Django REST framework's, Django's
        if isinstance(cls, type):
            yield cls, getattr(view, "initkwargs", None) or getattr(view, "view_initkwargs", {})


def _names(cls: Any) -> list[str]:
    """Return the dotted paths of a class (or of the one that a path leads to) and of its bases."""
    if isinstance(cls, str):
        found = _load(cls)
        return [cls, *(_names(found)[1:] if isinstance(found, type) else ())]
    return [f"{each.__module__}.{each.__qualname__}" for each in cls.__mro__]


def _believes(cls: Any) -> bool:
    """Whether a class for authentication lets in with a password, or a token, and no session."""
    return any(name.startswith(_BELIEVERS) and name not in _SESSION_CLASSES for name in _names(cls))


def _is_silent_login(cls: type) -> bool:
    # Else dj-rest-auth logs in as Django does, and the middleware takes back what it was about to hand out.
    tells = getattr(settings, "REST_AUTH", {}).get("SESSION_LOGIN", True)
    return not tells and "dj_rest_auth.views.LoginView" in _names(cls)


def check_packages(**kwargs: Any) -> list[checks.CheckMessage]:
    found: dict[str, str] = {}
    for name in ("phonenumbers", "phonenumberslite"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if len(set(found.values())) < 2:
        return []
    both = " and ".join(f"{name} {version}" for name, version in found.items())
    return [
        checks.Warning(
            f"{both} are both installed: they are one module, which has files of either now.",
            hint="Install both in the same version. Remove neither without installing the other one anew "
            "(pip install --force-reinstall).",
            id="verigator.W012",
        )
    ]


def check_deploy(**kwargs: Any) -> list[checks.CheckMessage]:
    raw = getattr(settings, conf.NAME, None)
    if not isinstance(raw, dict):
        return []
    found: list[checks.CheckMessage] = []
    if not raw.get("TRUSTED_PROXIES"):
        found.append(
            checks.Warning(
                'VERIGATOR["TRUSTED_PROXIES"] is empty: behind a reverse proxy no limit counts by address.',
                hint="Name the addresses of your proxies; where there is none, name one that is never used "
                '("127.0.0.1").',
                id="verigator.W005",
            )
        )
    if raw.get("STAND_IN"):
        found.append(
            checks.Error(
                'VERIGATOR["STAND_IN"] is set: anybody who can read the stand-in can log in as anybody.',
                hint="Remove it from the settings that serve real users.",
                id="verigator.E008",
            )
        )
    try:
        return [*found, *_check_numbers(), *_check_phone_of_users()]
    except (DatabaseError, ImproperlyConfigured):  # no tables yet; or wrong settings, as E001 says
        return found


def _check_phone_of_users() -> list[checks.CheckMessage]:
    config = conf.current()
    if config.PHONE is None or config.REQUIRED == "none" or _check_phone():
        return []
    users = get_user_model()._default_manager.order_by("-pk")
    relations = site_phones.phone_relations()
    tried = 0
    for user in (users.select_related(*relations) if relations else users)[:_USERS_TRIED]:
        if site_phones.phone_of(user) != "":
            return []
        tried += 1
    if not tried:
        return []
    return [
        checks.Warning(
            f'VERIGATOR["PHONE"] finds no number at the {tried} newest users.',
            hint="Look at one of them with verigator_status. If the site keeps the numbers elsewhere, say where; if it "
            "keeps none, set PHONE to None.",
            id="verigator.W011",
        )
    ]


def _check_numbers() -> list[checks.CheckMessage]:
    unusable = links.without_usable_number().count()
    if not unusable:
        return []
    return [
        checks.Warning(
            f"{unusable} users have a number that cannot be used, and are asked for another one at their next login.",
            hint="Mend the numbers where the site keeps them, and run verigator_sync; see docs/registration.md.",
            id="verigator.W008",
        )
    ]
