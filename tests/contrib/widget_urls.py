"""The test site with the widget's pages."""

from __future__ import annotations

from django.urls import include, path

from tests.site.urls import urlpatterns as site

urlpatterns = [path("accounts/widget/", include("django_verigator.contrib.widget.urls")), *site]
