"""Where a provider posts its delivery reports."""

from __future__ import annotations

from http import HTTPStatus

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_variables
from django.views.generic import View

from ..flows import reports
from .decorators import answer_when_database_gives_up, non_atomic


# The provider has no cookie and no CSRF token; whoever posts must know the signed address of one code.
@method_decorator(
    [non_atomic, answer_when_database_gives_up, csrf_exempt, login_not_required, sensitive_variables()], name="dispatch"
)
class ReportView(View):
    """Takes in what a provider posts about a message; asks no session and logs nobody in."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        # request.body would read as much as the site lets users upload.
        try:
            body = request.read(reports.MAX_BODY + 1)
        except UnreadablePostError:
            return HttpResponse(status=HTTPStatus.BAD_REQUEST)
        if len(body) > reports.MAX_BODY:
            return HttpResponse(status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        try:
            is_known = reports.receive(token, body)
        except ValueError:
            return HttpResponse(status=HTTPStatus.BAD_REQUEST)
        return HttpResponse(status=HTTPStatus.OK if is_known else HTTPStatus.NOT_FOUND)
