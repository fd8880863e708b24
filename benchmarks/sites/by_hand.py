"""The least that a login of two steps can be: no limits, no log, no table, nothing to notice an attack by.

The user's id at the provider is in ``last_name``. The client is the same as in the package, so that it makes no
difference here.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import auth
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden, HttpResponseRedirect
from django.shortcuts import render
from django.urls import path

from .. import provider
from . import PAGE, VERIFY

options: dict[str, str] = getattr(settings, "PROVIDER", {})
api, service_id = provider.api(options), options["service_id"]


class PinForm(forms.Form):
    pin = forms.CharField(max_length=4)


class PasswordView(LoginView):
    template_name = "form.html"

    def form_valid(self, form: Any) -> HttpResponse:
        user = form.get_user()
        self.request.session["pending"] = [user.pk, user.backend]
        api.auth.initiate(service_id, user.last_name, "sms")
        return HttpResponseRedirect(VERIFY)


def pin_page(request: HttpRequest) -> HttpResponse:
    form = PinForm(request.POST or None)
    if not form.is_valid():
        return render(request, "form.html", {"form": form})
    pk, backend = request.session.pop("pending")
    user = auth.get_user_model().objects.get(pk=pk)
    if not api.auth.verify(service_id, user.last_name, form.cleaned_data["pin"]):
        return HttpResponseForbidden()
    auth.login(request, user, backend)
    request.session["verified"] = True
    return HttpResponseRedirect(PAGE)


@login_required
def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("page") if request.session.get("verified") else HttpResponseForbidden()


urlpatterns = [
    path("accounts/login/", PasswordView.as_view()),
    path("accounts/verify/", pin_page),
    path("page/", page),
]
