"""The site's URLs, with a password reset that logs its user in."""

from __future__ import annotations

from django.contrib.auth import views
from django.urls import path

from .urls import urlpatterns as site_urls

urlpatterns = [
    path(
        "reset/<uidb64>/<token>/",
        views.PasswordResetConfirmView.as_view(post_reset_login=True, success_url="/private/"),
    ),
    *site_urls,
]
