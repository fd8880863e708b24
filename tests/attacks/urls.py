"""The site with more ways in: a second admin, a password reset that logs in, a login form of its own making."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth import authenticate, get_user_model
from django.contrib.auth import login as auth_login
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.views import PasswordResetConfirmView
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from tests.site.models import User
from tests.site.urls import urlpatterns as site_urls


class BackOffice(admin.AdminSite):
    site_header = "Back office"


class WithPhone(UserAdmin):
    fieldsets = (*UserAdmin.fieldsets, ("Phone", {"fields": ["phone_number"]}))


back_office = BackOffice(name="back_office")
back_office.register(User, WithPhone)


@csrf_exempt
def api(request: HttpRequest) -> HttpResponse:
    """A data view of the site that looks at the session."""
    user = request.user
    return JsonResponse({"user": user.pk, "name": user.get_username()}, status=200 if user.is_authenticated else 401)


@csrf_exempt
def json_login(request: HttpRequest) -> HttpResponse:
    """Logs in as single-page sites do it."""
    user = authenticate(request, username=request.POST.get("username"), password=request.POST.get("password"))
    if user is None:
        return JsonResponse({"error": "no"}, status=400)
    auth_login(request, user)
    return JsonResponse({"user": user.pk})


def sign_up(request: HttpRequest) -> HttpResponse:
    """Makes a user with a phone, and logs the new user in."""
    user = get_user_model().objects.create_user("newcomer", password="x", phone_number="+37255540004")
    auth_login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return HttpResponse("welcome")


urlpatterns = [
    path("back-office/", back_office.urls),
    path("reset-and-in/<uidb64>/<token>/", PasswordResetConfirmView.as_view(post_reset_login=True, success_url="/")),
    path("api/", api),
    path("json-login/", json_login),
    path("sign-up/", sign_up),
    *site_urls,
]
