from __future__ import annotations

from django.urls import include, path

from tests.neighbours.base_urls import pages

urlpatterns = [path("accounts/", include("django_verigator.urls")), *pages]
