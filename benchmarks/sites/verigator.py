"""The login of django_verigator, as the package has it."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from django_verigator.decorators import verified_required


@verified_required
def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("page")


def public(request: HttpRequest) -> HttpResponse:
    """A page for everybody that asks the database."""
    return HttpResponse(str(User.objects.count()))


urlpatterns = [
    path("accounts/", include("django_verigator.urls")),
    path("page/", page),
    path("public/", public),
]
