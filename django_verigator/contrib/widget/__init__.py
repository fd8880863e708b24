"""A first or a new phone confirmed on Messente's Verification Widget, in place of a PIN of ours (docs/widget.md).

    INSTALLED_APPS = ["django_verigator.contrib.widget", "django_verigator", ...]  # above: it adds to a template
    VERIGATOR_WIDGET = {"username": "...", "password": "..."}
    path("accounts/widget/", include("django_verigator.contrib.widget.urls"))

The browser goes there with a one-time state in the address to come back to. It comes back by a POST of another site,
which carries no cookie: ``answers`` checks the signature, and the browser is sent on to a page of ours, by GET and so
with its cookies. There ``confirmation`` decides.
"""
