"""Render the Verification Widget: ask for a number and for the PIN sent to it, and send the browser back to the site.

Nothing is kept between the pages: each form carries the site's signed request.
"""

from __future__ import annotations

from html import escape
from http import HTTPStatus
from importlib.resources import files
from string import Template
from urllib.parse import SplitResult, parse_qsl, urlsplit

from .allowed_hosts import HOST, is_loopback
from .constants import EXPIRED, INVALID, THROTTLED, VERIFIED
from .http_messages import HTTPError, Request, Response
from .phone_numbers import parse_phone_number
from .widget import CANCELLED, Widget, WidgetError, WidgetRequest

WIDGET_PREFIX = "widget"
FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 20
MAX_VALUE = 2000
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; base-uri 'none'; form-action $target;"
    " frame-ancestors 'none'"
)
REFUSALS = {
    INVALID: "This PIN is not right.",
    EXPIRED: "This PIN is too old. Ask for a new one.",
    THROTTLED: "Too many wrong PINs. Ask for a new one.",
    "": "There is no PIN to check. Ask for a new one.",
}

NUMBER_STEP = Template(
    '<h1>Confirm your phone</h1><p class="hint">We send a PIN to your number.</p>'
    '<form method="post" action="/widget/send">$hidden<label for="number">Phone number</label>'
    '<input id="number" name="number" type="tel" autocomplete="tel" value="$number" required autofocus'
    ' aria-describedby="error"><p id="error" class="error" role="alert">$error</p>'
    '<button type="submit">Send me a PIN</button></form>$cancel'
)
PIN_STEP = Template(
    '<h1>Type your PIN</h1><p class="hint">We sent it to <b>$number</b>.'
    ' <a href="/?to=$link" target="_blank" rel="noopener">Look at that phone</a></p>'
    '<form method="post" action="/widget/check">$hidden<label for="pin">PIN</label>'
    '<input id="pin" name="pin" inputmode="numeric" autocomplete="one-time-code" required autofocus'
    ' aria-describedby="error"><p id="error" class="error" role="alert">$error</p>'
    '<button type="submit">Confirm</button></form>'
    '<form method="post" action="/widget/">$request<button class="quiet" type="submit">Use another number</button>'
    "</form>"
    "$cancel"
)
CANCEL = Template(
    '<form method="post" action="/widget/cancel">$hidden<button class="quiet" type="submit">Cancel</button></form>'
)
RETURN_STEP = Template(
    '<h1>$title</h1><p class="hint">You go back to <b>$host</b>.</p>'
    '<form id="return" method="post" action="$action">$hidden<button type="submit">Go back to the site</button></form>'
)
ERROR = Template(
    '<h1>This request cannot be used</h1><p class="error" role="alert">$error</p>'
    '<p class="hint">Go back to the site that sent you here.</p>'
)


class WidgetPage:
    """Serve ``/widget/`` and the steps below it.

    Args:
        allow_remote: send browsers back to sites on other machines too; else this would be an open redirect.
    """

    def __init__(self, widget: Widget, *, allow_remote: bool) -> None:
        self._widget = widget
        self._allow_remote = allow_remote
        self._page = Template((files("django_verigator.sandbox") / "static" / "widget.html").read_text("utf-8"))
        self._steps = {"send": self._send, "check": self._check, "cancel": self._cancel}

    def handle(self, request: Request) -> Response:
        """Return the page of a step.

        Raises:
            HTTPError: 404, there is no such step; 405, the step does not take this method.
        """
        names = request.segments[1:]
        step = self._steps.get("/".join(names), self._open)
        if names and step == self._open:
            raise HTTPError(HTTPStatus.NOT_FOUND, "There is no such step")
        allowed = ("POST",) if names else ("GET", "HEAD", "POST")
        if request.method not in allowed:
            raise HTTPError(HTTPStatus.METHOD_NOT_ALLOWED, "Not for this step", (("Allow", ", ".join(allowed)),))
        try:
            fields = _fields(request)
            asked = self._widget.read(fields)
            target = self._target(asked.callback_url)
        except WidgetError as error:
            return self._respond(ERROR.substitute(error=escape(str(error))), status=HTTPStatus.BAD_REQUEST)
        return step(asked, fields, target)

    def _open(self, asked: WidgetRequest, fields: dict[str, str], target: SplitResult) -> Response:
        return self._number_step(asked, asked.phone or "")

    def _send(self, asked: WidgetRequest, fields: dict[str, str], target: SplitResult) -> Response:
        typed = fields.get("number", "")
        try:
            number = parse_phone_number(typed)
        except ValueError as error:
            return self._number_step(asked, typed, f"Sorry, {error}.")
        return self._pin_step(asked, number, self._widget.send(asked, number))

    def _check(self, asked: WidgetRequest, fields: dict[str, str], target: SplitResult) -> Response:
        verification_id = fields.get("verification_id", "")
        result, number = self._widget.check(asked, verification_id, fields.get("pin", "").strip())
        if result == VERIFIED:
            return self._return_step("Your phone is confirmed", asked, VERIFIED, number, target)
        if result == INVALID:
            return self._pin_step(asked, number, verification_id, REFUSALS[result])
        return self._number_step(asked, number or asked.phone or "", REFUSALS[result])

    def _cancel(self, asked: WidgetRequest, fields: dict[str, str], target: SplitResult) -> Response:
        return self._return_step("Cancelled", asked, CANCELLED, asked.phone or "", target)

    def _number_step(self, asked: WidgetRequest, number: str, error: str = "") -> Response:
        hidden = _hidden(_as_fields(asked))
        cancel = CANCEL.substitute(hidden=hidden)
        return self._respond(
            NUMBER_STEP.substitute(hidden=hidden, number=escape(number), error=escape(error), cancel=cancel)
        )

    def _pin_step(self, asked: WidgetRequest, number: str, verification_id: str, error: str = "") -> Response:
        request = _hidden(_as_fields(asked))
        return self._respond(
            PIN_STEP.substitute(
                hidden=request + _hidden({"verification_id": verification_id}),
                request=request,
                number=escape(number),
                link=escape(number.replace("+", "%2B")),
                error=escape(error),
                cancel=CANCEL.substitute(hidden=request),
            )
        )

    def _return_step(self, title: str, asked: WidgetRequest, status: str, number: str, target: SplitResult) -> Response:
        content = RETURN_STEP.substitute(
            title=title,
            host=escape(target.netloc),
            action=escape(asked.callback_url),
            hidden=_hidden(self._widget.answer(asked, status, number)),
        )
        return self._respond(content, form_action=f"{target.scheme}://{target.netloc}")

    def _target(self, callback_url: str) -> SplitResult:
        """Return the parts of the address to go back to.

        Raises:
            WidgetError: the browser may not be sent there.
        """
        try:
            parts = urlsplit(callback_url)
        except ValueError:
            raise WidgetError("The callback_url cannot be read") from None
        host = HOST.fullmatch(parts.netloc.lower())
        readable = callback_url.isascii() and callback_url.isprintable() and not set(" \\;,'\"") & set(parts.netloc)
        if parts.scheme not in ("http", "https") or host is None or not readable:
            raise WidgetError("The callback_url is no http address")
        if not (self._allow_remote or is_loopback(host[1])):
            raise WidgetError("The callback_url must lead to this machine; see --allow-remote")
        return parts

    def _respond(self, content: str, *, form_action: str = "'self'", status: int = HTTPStatus.OK) -> Response:
        policy = Template(CONTENT_SECURITY_POLICY).substitute(target=form_action)
        headers = (
            ("Content-Security-Policy", policy),
            # Not "no-referrer": with it, browsers send "Origin: null" with the forms.
            ("Referrer-Policy", "same-origin"),
            ("X-Frame-Options", "DENY"),
        )
        html = self._page.substitute(content=content)
        return Response(status, html.encode("utf-8", "replace"), "text/html; charset=utf-8", headers)


def _fields(request: Request) -> dict[str, str]:
    """Return the parameters of query and form together.

    Raises:
        WidgetError: there are too many, one is too long, or one of the site's comes twice.
    """
    texts = [request.query]
    if request.method == "POST" and request.content_type == FORM:
        texts.append(request.body.decode("utf-8", "replace"))
    try:
        pairs = [pair for text in texts for pair in parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)]
    except ValueError:
        raise WidgetError("There are too many parameters") from None
    fields = dict(pairs)
    if any(len(value) > MAX_VALUE for value in fields.values()):
        raise WidgetError("A parameter is too long")
    if len(fields) < len(pairs):
        raise WidgetError("A parameter comes twice")
    return fields


def _as_fields(asked: WidgetRequest) -> dict[str, str]:
    # Without the keys that the site has not sent: an empty one takes part in the signature.
    return {key: value for key, value in asked._asdict().items() if value is not None}


def _hidden(fields: dict[str, str]) -> str:
    return "".join(f'<input type="hidden" name="{key}" value="{escape(value)}">' for key, value in fields.items())
