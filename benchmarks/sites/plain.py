"""Django's own login: the floor."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.urls import path


@login_required
def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("page")


urlpatterns = [
    path("accounts/login/", LoginView.as_view(template_name="form.html")),
    path("page/", page),
]
