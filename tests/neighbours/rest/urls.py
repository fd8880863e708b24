from __future__ import annotations

from django.http import HttpRequest
from django.urls import include, path
from rest_framework.authentication import SessionAuthentication
from rest_framework.decorators import api_view, authentication_classes
from rest_framework.response import Response
from rest_framework_simplejwt.tokens import RefreshToken
from rest_framework_simplejwt.views import TokenRefreshView

from tests.neighbours.base_urls import pages


@api_view(["POST"])
@authentication_classes([SessionAuthentication])  # who is logged in here has given the PIN
def make_token(request: HttpRequest) -> Response:
    refresh = RefreshToken.for_user(request.user)
    return Response({"refresh": str(refresh), "access": str(refresh.access_token)})


@api_view()
def orders(request: HttpRequest) -> Response:
    return Response({"user": request.user.pk})


urlpatterns = [
    path("accounts/", include("django_verigator.urls")),
    path("api/token/", make_token),
    path("api/token/refresh/", TokenRefreshView.as_view()),
    path("api/orders/", orders),
    path("api-auth/", include("rest_framework.urls")),
    path("rest-auth/", include("dj_rest_auth.urls")),
    *pages,
]
