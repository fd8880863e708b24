from __future__ import annotations

from django.urls import include, path
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_simplejwt.authentication import JWTAuthentication


class Orders(APIView):
    authentication_classes = [JWTAuthentication]

    def get(self, request: object) -> Response:
        return Response({})


urlpatterns = [
    path("accounts/", include("django_verigator.urls")),
    path("api/", include([path("orders/", Orders.as_view())])),
]
