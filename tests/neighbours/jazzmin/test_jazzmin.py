"""django-jazzmin."""

from tests.neighbours.admin_tests import *
