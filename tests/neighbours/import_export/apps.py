from django.apps import AppConfig


class ImportingConfig(AppConfig):
    name = "tests.neighbours.import_export"
    label = "importing"
