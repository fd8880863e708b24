from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    authenticate,
    get_user_model,
    logout,
)
from django.contrib.auth import login as auth_login
from django.contrib.auth.decorators import login_required
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template import engines
from django.urls import include, path
from django.views.decorators.http import require_POST

import django_verigator
from django_verigator.decorators import verified_required

DJANGO_S_KEYS = (SESSION_KEY, BACKEND_SESSION_KEY, HASH_SESSION_KEY)


def public(request: HttpRequest) -> HttpResponse:
    return HttpResponse("public")


def whoami(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"user={request.user.pk} verified={django_verigator.is_verified(request)}")


def cart(request: HttpRequest) -> HttpResponse:
    request.session["cart"] = request.session.get("cart", 0) + 1
    return HttpResponse(str(request.session["cart"]))


def in_template(request: HttpRequest) -> HttpResponse:
    template = engines["django"].from_string("{{ verigator.is_verified }}")
    return HttpResponse(template.render({}, request))


@login_required
def private(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"private of {request.user.pk}")


@verified_required
def verified(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"verified {request.user.pk}")


@verified_required
async def averified(request: HttpRequest) -> HttpResponse:
    user = await request.auser()
    return HttpResponse(f"verified {user.pk} {django_verigator.is_verified(request)}")


@verified_required(max_age=timedelta(minutes=5))
def recent(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"recent {request.user.pk}")


@verified_required(max_age=timedelta(minutes=5))
async def arecent(request: HttpRequest) -> HttpResponse:
    return HttpResponse("recent")


async def aprivate(request: HttpRequest) -> HttpResponse:
    user = await request.auser()
    return HttpResponse(f"user={user.pk}")


def magic_link(request: HttpRequest, name: str) -> HttpResponse:
    """Logs a user in without a password, as sign-up and magic-link code does."""
    user = get_user_model().objects.get(username=name)
    auth_login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return HttpResponse("welcome")


def login_with_a_message(request: HttpRequest, name: str) -> HttpResponse:
    """Logs a user in, says so, and sets cookies: two for looks, and one that is worth a login."""
    magic_link(request, name)
    messages.success(request, "Welcome back")
    response = HttpResponseRedirect("/messages/")
    for cookie, value in (("theme", "dark"), (settings.LANGUAGE_COOKIE_NAME, "et"), ("jwt", "a token")):
        response.set_cookie(cookie, value)
    return response


def show_messages(request: HttpRequest) -> HttpResponse:
    return HttpResponse(" ".join(str(message) for message in messages.get_messages(request)))


def whoami_then_login(request: HttpRequest, name: str) -> HttpResponse:
    """Asks who is logged in, and then logs somebody else in."""
    str(request.user)
    return magic_link(request, name)


def session_of_its_own(request: HttpRequest) -> HttpResponse:
    """Logs in to a session that it puts on the request, and takes it off again, as APIs for mobile apps do."""
    user = authenticate(request, username=request.POST.get("username"), password=request.POST.get("password"))
    if user is None:
        return HttpResponse("wrong", status=HTTPStatus.UNAUTHORIZED)
    outer, outer_user = request.session, request.user
    request.session = SessionStore()
    auth_login(request, user)
    request.session.save()
    token = request.session.session_key
    request.session, request.user = outer, outer_user
    return JsonResponse({"token": token})


def by_session_token(request: HttpRequest) -> HttpResponse:
    """Says who is logged in to the session whose key comes in a header."""
    session = SessionStore(request.headers.get("X-Session-Token"))
    return HttpResponse(f"user={session.get('_auth_user_id')}")


def token_alone(request: HttpRequest) -> HttpResponse:
    """Tells of a login that no session knows, and hands out a token for it."""
    user = authenticate(request, username=request.POST.get("username"), password=request.POST.get("password"))
    if user is None:
        return HttpResponse("wrong", status=HTTPStatus.UNAUTHORIZED)
    user_logged_in.send(sender=type(user), request=request, user=user)
    return HttpResponse("token")


@login_required
def token_for_me(request: HttpRequest) -> HttpResponse:
    """The same for who is logged in already."""
    user_logged_in.send(sender=type(request.user), request=request, user=request.user)
    return HttpResponse("token")


@require_POST
def logout_keeping_the_cart(request: HttpRequest) -> HttpResponse:
    """Logs out and keeps what the site has put into the session."""
    kept = {key: value for key, value in request.session.items() if key not in DJANGO_S_KEYS}
    logout(request)
    request.session.update(kept)
    return HttpResponse("logged out")


urlpatterns = [
    path("admin/", admin.site.urls),
    path("accounts/", include("django_verigator.urls")),
    path("plain/", include("django.contrib.auth.urls")),
    path("public/", public),
    path("whoami/", whoami),
    path("cart/", cart),
    path("in-template/", in_template),
    path("private/", private),
    path("verified/", verified),
    path("averified/", averified),
    path("aprivate/", aprivate),
    path("recent/", recent),
    path("arecent/", arecent),
    path("magic/<str:name>/", magic_link),
    path("login-with-a-message/<str:name>/", login_with_a_message),
    path("messages/", show_messages),
    path("session-of-its-own/", session_of_its_own),
    path("by-session-token/", by_session_token),
    path("token-alone/", token_alone),
    path("token-for-me/", token_for_me),
    path("logout-keeping-the-cart/", logout_keeping_the_cart),
    path("whoami-then-login/<str:name>/", whoami_then_login),
]
