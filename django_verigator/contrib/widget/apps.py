"""The app: its template adds the widget to the PIN page."""

from __future__ import annotations

from django.apps import AppConfig


class WidgetConfig(AppConfig):
    name = "django_verigator.contrib.widget"
    label = "verigator_widget"
