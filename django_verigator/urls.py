"""The pages of the second factor: ``path("accounts/", include("django_verigator.urls"))``."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "verigator"

urlpatterns = [
    path("login/", views.LoginView.as_view(), name="login"),
    path("verify/", views.VerifyView.as_view(), name="verify"),
    path("verify/resend/", views.ResendView.as_view(), name="resend"),
    path("verify/cancel/", views.CancelView.as_view(), name="cancel"),
    path("verify/report/<str:token>/", views.ReportView.as_view(), name="report"),
    path("verify/recovery/", views.RecoveryView.as_view(), name="recovery"),
    path("enrol/", views.EnrolView.as_view(), name="enrol"),
    path("security/", views.SecurityView.as_view(), name="security"),
    path("security/phone/", views.PhoneView.as_view(), name="phone"),
    path("security/phone/confirm/", views.VerifyView.as_view(), name="phone_confirm"),
    path("security/recovery-codes/", views.RecoveryCodesView.as_view(), name="recovery_codes"),
    path("security/browsers/", views.BrowsersView.as_view(), name="browsers"),
]
