"""The way to the widget and back."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponseRedirect, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_deny
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.generic import View

from ...exceptions import Reason, Refused
from ...views.decorators import is_out_of_date, non_atomic, with_referrer_policy
from ...views.pin import VerifyView
from . import answers, confirmation
from .answers import CANCELLED
from .confirmation import NotConfirmed

FORM = "application/x-www-form-urlencoded"
_TEXTS = {
    CANCELLED: _("You have cancelled on Messente's page. Ask for a PIN, or go there again."),
    "number": _("Another number was confirmed on Messente's page. Ask for a PIN, or go there again."),
    "number_again": _("This number was confirmed on Messente's page before. Ask for a PIN this time."),
}
_OTHERWISE = _("Messente's page has not confirmed your number. Ask for a PIN, or go there again.")


class WidgetPage(VerifyView):
    """The PIN page with a word about the widget."""

    word = ""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs)
        return {**context, "refusal": self.word or context["refusal"]}

    def show(self, error: NotConfirmed) -> HttpResponseBase:
        """Show the PIN page with the reason why the number is not confirmed."""
        self.word = str(_TEXTS.get(error.problem, _OTHERWISE))
        return self.refuse(Refused(Reason.UNCLEAR))


class OpenView(WidgetPage):
    """Sends the browser to the widget; a GET opens nothing."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        return super().get(request) if is_out_of_date(request) else redirect("verigator:verify")

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        try:
            return HttpResponseRedirect(confirmation.open_widget(request, self.challenge))
        except Refused as refused:
            return self.refuse(refused)


# The widget posts from another site: without a CSRF token, and without our cookies, which are SameSite=Lax. Nothing is
# decided here, and the session is not touched.
@method_decorator(
    [
        login_not_required,
        csrf_exempt,
        non_atomic,
        sensitive_post_parameters(),
        sensitive_variables(),
        never_cache,
        xframe_options_deny,
    ],
    name="dispatch",
)
class AnswerView(View):
    """Takes what comes back from the widget, and has the browser come again by GET: with its cookies."""

    http_method_names = ["get", "post"]

    def get(self, request: HttpRequest, state: str) -> HttpResponseBase:
        return self._send_on(state, request.GET)

    def post(self, request: HttpRequest, state: str) -> HttpResponseBase:
        return self._send_on(state, request.POST if request.content_type == FORM else QueryDict())

    def _send_on(self, state: str, given: QueryDict) -> HttpResponseBase:
        answer = answers.seal(answers.read(state, given))
        following = f"{reverse('verigator_widget:confirm')}?{urlencode({'answer': answer})}"
        if str(settings.SESSION_COOKIE_SAMESITE).lower() == "strict":
            # Browsers keep such cookies back on a redirect too, where another site began it; a page of ours gets them.
            context = {"answer": answer, "following": following}
            return with_referrer_policy(render(self.request, "verigator_widget/return.html", context))
        response = HttpResponseRedirect(following)
        response.status_code = HTTPStatus.SEE_OTHER  # the one that always turns a POST into a GET
        return with_referrer_policy(response)


class ConfirmView(WidgetPage):
    """Completes the confirmation in the browser that has opened the widget, and in no other."""

    http_method_names = ["get"]

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        answer = answers.unseal(request.GET.get("answer", ""))
        if answer is None:
            return redirect("verigator:verify")
        try:
            return HttpResponseRedirect(self.landing(confirmation.complete(request, self.challenge, answer)))
        except NotConfirmed as error:
            return self.show(error)
        except Refused as refused:
            return self.refuse(refused)
