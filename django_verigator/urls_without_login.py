"""All pages but the login page, for sites whose login page is another package's: include this in place of ``urls``."""

from __future__ import annotations

from . import urls

app_name = urls.app_name

urlpatterns = [page for page in urls.urlpatterns if page.name != "login"]
