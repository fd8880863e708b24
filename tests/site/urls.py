from __future__ import annotations

from datetime import timedelta

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth import login as auth_login
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import include, path

import django_verigator
from django_verigator.decorators import verified_required


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


def whoami_then_login(request: HttpRequest, name: str) -> HttpResponse:
    """Asks who is logged in, and then logs somebody else in."""
    str(request.user)
    return magic_link(request, name)


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
    path("whoami-then-login/<str:name>/", whoami_then_login),
]
