"""Pages of a site of its own: what is for users only, and what it shows of them."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

from tests.site.urls import private, public, verified, whoami

pages = [
    path("admin/", admin.site.urls),
    path("public/", public),
    path("private/", private),
    path("verified/", verified),
    path("whoami/", whoami),
]
urlpatterns = pages
