from __future__ import annotations

from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django_otp.admin import OTPAdminSite
from django_otp.decorators import otp_required
from django_otp.views import LoginView

from tests.neighbours.base_urls import pages

site = OTPAdminSite(OTPAdminSite.name)
site.register(Group)


@otp_required
def vault(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"vault of {request.user.pk}")


async def avault(request: HttpRequest) -> HttpResponse:
    user = await request.auser()
    return HttpResponse("vault" if user.is_verified() else "closed")


urlpatterns = [
    path("accounts/", include("django_verigator.urls_without_login")),
    path("otp-login/", LoginView.as_view(template_name="admin/login.html")),
    path("otp-admin/", site.urls),
    path("vault/", vault),
    path("avault/", avault),
    *pages,
]
