from __future__ import annotations

from allauth.headless.contrib.rest_framework.authentication import XSessionTokenAuthentication
from django.http import HttpRequest
from django.urls import include, path
from rest_framework.decorators import api_view, authentication_classes, permission_classes
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response

from tests.neighbours.base_urls import pages


@api_view()
@authentication_classes([XSessionTokenAuthentication])
@permission_classes([IsAuthenticated])
def orders(request: HttpRequest) -> Response:
    return Response({"user": request.user.pk})


urlpatterns = [
    path("accounts/", include("allauth.urls")),
    path("_allauth/", include("allauth.headless.urls")),
    path("accounts/", include("django_verigator.urls_without_login")),
    path("api/orders/", orders),
    *pages,
]
