from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django_otp.decorators import otp_required
from two_factor.urls import urlpatterns as two_factor_urls

from tests.neighbours.base_urls import pages


@otp_required
def vault(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"vault of {request.user.pk}")


urlpatterns = [
    path("", include(two_factor_urls)),
    path("phone/", include("django_verigator.urls_without_login")),
    path("vault/", vault),
    *pages,
]
