"""All pages but the login page, in place of ``urls`` on a site whose login page is another package's."""

from __future__ import annotations

from . import urls

app_name = urls.app_name

urlpatterns = [page for page in urls.urlpatterns if page.name != "login"]
