"""The decorators of the second factor's pages."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_deny
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from .. import events
from ..db import RetriesExhaustedError
from .session_store import is_store_error, store_errors_marked

logger = logging.getLogger("django_verigator")


def answer_without_sessions(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Answer 503 where the site's session store fails; no user is logged in then."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            with store_errors_marked(request.session):
                return view(request, *args, **kwargs)
        except Exception as error:
            if not is_store_error(error):
                raise
            logger.error("session_failed error=%s", events.describe(error), exc_info=events.traceback_alone(error))
        # Plain text: the site's own error page may ask for the session.
        return _unavailable(gettext("We cannot sign you in at the moment. Try again in a little while."))

    return wrapper


def answer_when_database_gives_up(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Answer 503 where a write met a deadlock twice; it is rolled back as a whole."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except RetriesExhaustedError:
            return _unavailable(gettext("That did not work. Try again in a little while."))

    return wrapper


def _unavailable(text: str) -> HttpResponse:
    return HttpResponse(text, status=503, content_type="text/plain; charset=utf-8")


def non_atomic(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Exempt the view from ATOMIC_REQUESTS: no transaction may be open while the provider is asked."""
    # One decorator for all databases: of several, method_decorator keeps only what the last one put on the view.
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


def _csrf_protect(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Protect a view as Django's ``csrf_protect`` does, but refuse with the page and an explanation, not a bare 403.

    A login in another tab gives the browser a new token, so that a form opened before it posts an old one. What was
    posted is dropped.
    """

    @csrf_exempt  # else Django's middleware, which runs first, answers with its own page
    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        protection = CsrfViewMiddleware(_no_answer)
        protection.process_request(request)
        refused = protection.process_view(request, view, (), {})
        if refused is not None:
            request.method, request.POST = "GET", QueryDict()
            request.verigator_refused = refused  # type: ignore[attr-defined]
        response = view(request, *args, **kwargs)
        if refused is not None and response.status_code == HTTPStatus.OK:
            response.status_code = HTTPStatus.FORBIDDEN
        protection.process_response(request, response)
        return response

    return wrapper


def _no_answer(request: HttpRequest) -> HttpResponse:
    raise NotImplementedError


def is_out_of_date(request: HttpRequest) -> bool:
    """Whether the page replaces a form that was posted with an old CSRF token."""
    return hasattr(request, "verigator_refused")


METHODS = ["get", "post", "head", "options"]  # Django's FormView takes PUT for POST

PAGE_DECORATORS: list[Any] = [
    non_atomic,
    answer_when_database_gives_up,
    sensitive_post_parameters(),
    sensitive_variables(),  # for every frame below, down to the provider's call
    _csrf_protect,
    never_cache,
    xframe_options_deny,
]

# LoginView's own decorators are repeated: a decorator on a parent's dispatch is lost where a child overrides it.
ENTRANCE_DECORATORS = [login_not_required, answer_without_sessions, *PAGE_DECORATORS]


def with_referrer_policy(response: HttpResponseBase) -> HttpResponseBase:
    """Keep the page's address, which may carry ``?next=``, from other sites."""
    # Not "no-referrer": with it, browsers send "Origin: null" and Django's CSRF check refuses the form.
    response.headers["Referrer-Policy"] = "same-origin"
    return response
