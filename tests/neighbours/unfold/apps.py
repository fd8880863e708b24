from django.apps import AppConfig


class PeopleConfig(AppConfig):
    name = "tests.neighbours.unfold"
    label = "people"
