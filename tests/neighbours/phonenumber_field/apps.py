from django.apps import AppConfig


class PeopleConfig(AppConfig):
    name = "tests.neighbours.phonenumber_field"
    label = "people"
