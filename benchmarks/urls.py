"""The pages that are compared: ours, Django's own, and a two-step login written by hand without any limit."""

from __future__ import annotations

from typing import Any

from django.contrib import auth
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import include, path

from django_verigator.backends import Recipient, backends
from django_verigator.decorators import verified_required
from django_verigator.flows.session import session_guard
from django_verigator.models import VerigatorUser


def by_hand_password(request: HttpRequest) -> HttpResponse:
    form = AuthenticationForm(request, request.POST)
    if not form.is_valid():
        return HttpResponse(status=400)
    link = VerigatorUser.objects.get(user=form.get_user())
    backends.default.start(Recipient(link.verigator_id or ""), "sms")
    request.session["pending"] = link.pk
    return HttpResponseRedirect("/by-hand/pin/")


def by_hand_pin(request: HttpRequest) -> HttpResponse:
    link = VerigatorUser.objects.select_related("user").get(pk=request.session["pending"])
    if not backends.default.check(Recipient(link.verigator_id or ""), request.POST["pin"], "").verified:
        return HttpResponse(status=400)
    auth.login(request, link.user, backend="django.contrib.auth.backends.ModelBackend")
    _let_pass(request, link)
    return HttpResponseRedirect("/guarded/")


class PlainLoginView(LoginView):
    """Django's own view; the session is let past our middleware, which is not what is measured here."""

    def form_valid(self, form: Any) -> HttpResponse:
        response = super().form_valid(form)
        session_guard(self.request).allowed_pk = self.request.session[auth.SESSION_KEY]
        return response


def _let_pass(request: HttpRequest, link: VerigatorUser) -> None:
    session_guard(request).allowed_pk = request.session[auth.SESSION_KEY]


@login_required
def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse("plain")


def public(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(VerigatorUser.objects.count()))


@verified_required
def guarded(request: HttpRequest) -> HttpResponse:
    return HttpResponse("guarded")


urlpatterns = [
    path("accounts/", include("django_verigator.urls")),
    path("plain/login/", PlainLoginView.as_view()),
    path("by-hand/password/", by_hand_password),
    path("by-hand/pin/", by_hand_pin),
    path("plain/", plain),
    path("public/", public),
    path("guarded/", guarded),
]
