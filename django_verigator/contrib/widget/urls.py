"""The pages of the widget: ``path("accounts/widget/", include("django_verigator.contrib.widget.urls"))``."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "verigator_widget"

urlpatterns = [
    path("", views.OpenView.as_view(), name="open"),
    path("answer/<str:state>/", views.AnswerView.as_view(), name="answer"),
    path("confirm/", views.ConfirmView.as_view(), name="confirm"),
]
