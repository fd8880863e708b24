from __future__ import annotations

from django.urls import include, path
from wagtail import urls as wagtail_urls
from wagtail.admin import urls as wagtailadmin_urls

from tests.neighbours.base_urls import pages

urlpatterns = [
    path("accounts/", include("django_verigator.urls")),
    path("cms/", include(wagtailadmin_urls)),
    *pages,
    path("", include(wagtail_urls)),  # the last one: it takes every address
]
