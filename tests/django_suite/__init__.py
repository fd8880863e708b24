"""Django's own tests with this app in the site. ``python -m tests.django_suite --django 5.2``; see docs/testing.md."""
