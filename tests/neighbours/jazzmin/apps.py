from django.apps import AppConfig


class SkinConfig(AppConfig):
    name = "tests.neighbours.jazzmin"
    label = "skin"
