"""Render the phone page: the messages that arrived and the codes of the app.

The page is complete without its script, which only keeps it up to date.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from http import HTTPStatus
from importlib.resources import files
from string import Template
from typing import Any
from urllib.parse import quote

from .http_messages import HTTPError, Request, Response
from .phone_numbers import parse_phone_number
from .provider import Provider

CONTENT_TYPES = {
    "phone.css": "text/css",
    "phone.js": "text/javascript",
    "widget.css": "text/css",
    "widget.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
)

# One item of each list. The page also holds each with empty values, in <template> elements that its script fills.
MESSAGE = Template(
    '<li class="message" data-channel="$channel"><p class="meta"><span data-field="to">$to</span>'
    ' <time data-field="sent">$sent</time> <span class="badge" data-field="label">$label</span></p>'
    '<div class="message-body"><p class="bubble"><span data-field="before">$before</span>'
    '<strong data-field="pin">$pin</strong><span data-field="after">$after</span></p>'
    '<button type="button" class="copy" data-pin="$pin" aria-label="Copy PIN $pin" hidden>Copy</button></div></li>'
)
# How a message came, where that was not as an SMS. The script has the same.
LABELS = {"whatsapp": "WhatsApp", "viber": "Viber", "rcs": "RCS", "call": "Voice call"}
NOTICE = Template(
    '<li class="notice"><p class="push"><span class="badge" aria-hidden="true">App</span>'
    '<span data-field="text">$text</span></p><p class="meta"><span data-field="to">$to</span>'
    ' <time data-field="sent">$sent</time></p></li>'
)
DEVICE = Template(
    '<li class="device"><div class="identity"><strong data-field="issuer">$issuer</strong>'
    '<span data-field="account">$account</span><span data-field="number">$number</span></div>'
    '<p class="code" data-field="code">$code</p>'
    '<svg class="ring" viewBox="0 0 36 36" role="img" aria-label="$left seconds left">'
    '<circle cx="18" cy="18" r="15.5"/>'
    '<circle class="remaining" cx="18" cy="18" r="15.5" pathLength="30" stroke-dasharray="$left 30"/>'
    '<text x="18" y="22" data-field="left">$left</text></svg>'
    '<div class="actions">'
    '<button type="button" class="copy" data-pin="$code" aria-label="Copy the code" hidden>Copy</button>'
    '<button type="button" class="detach" hidden>Detach</button></div></li>'
)
MESSAGE_FIELDS = ("channel", "label", "to", "sent", "before", "pin", "after")
NUMBER_LINK = Template('<a href="$href"$current>$label</a>')


class PhonePage:
    """Serve ``/`` and the static files it needs."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        folder = files("django_verigator.sandbox") / "static"
        self._files = {name: (folder / name).read_bytes() for name in CONTENT_TYPES}
        self._index = Template((folder / "index.html").read_text(encoding="utf-8"))

    def handle(self, request: Request) -> Response:
        """Return the page or one of its files.

        Raises:
            HTTPError: 404, there is no such file; 405, the method is neither GET nor HEAD.
        """
        if request.method not in ("GET", "HEAD"):
            raise HTTPError(HTTPStatus.METHOD_NOT_ALLOWED, "This page can only be read", (("Allow", "GET, HEAD"),))
        if not request.segments:
            return self._phone_page(request)
        name = "/".join(request.segments[1:])
        if request.segments[0] != "static" or name not in CONTENT_TYPES:
            raise HTTPError(HTTPStatus.NOT_FOUND, "There is no such file")
        return Response(HTTPStatus.OK, self._files[name], f"{CONTENT_TYPES[name]}; charset=utf-8", HEADERS)

    def _phone_page(self, request: Request) -> Response:
        chosen = request.parameter("to")
        try:
            number = parse_phone_number(chosen) if chosen else ""
        except ValueError:
            number = ""
        phone = self._provider.phone(number)
        thread = _thread_html(phone["messages"], phone["devices"])
        html = self._index.substitute(
            shown_number=escape(number or "All numbers"),
            number=escape(number),
            numbers=_number_links_html(phone["numbers"], number),
            thread=thread,
            thread_hidden="" if thread else " hidden",
            empty_hidden=" hidden" if thread else "",
            devices="".join(DEVICE.substitute(_device_fields(device)) for device in phone["devices"]),
            message_template=MESSAGE.substitute(dict.fromkeys(MESSAGE_FIELDS, "")),
            notice_template=NOTICE.substitute(dict.fromkeys(("to", "sent", "text"), "")),
            device_template=DEVICE.substitute(dict.fromkeys(("issuer", "account", "number", "code", "left"), "")),
        )
        return Response(HTTPStatus.OK, html.encode("utf-8"), "text/html; charset=utf-8", HEADERS)


def _number_links_html(numbers: Iterable[str], chosen: str) -> str:
    links = [("/", "All", not chosen)]
    links += [(f"/?to={quote(number, safe='')}", number, number == chosen) for number in numbers]
    return "".join(
        NUMBER_LINK.substitute(
            href=escape(href), label=escape(label), current=' aria-current="page"' if current else ""
        )
        for href, label, current in links
    )


def _thread_html(messages: list[dict[str, Any]], devices: list[dict[str, Any]]) -> str:
    items = [(message["sent"], MESSAGE.substitute(_message_fields(message))) for message in messages]
    for device in devices:
        for notice in device["notices"]:
            fields = {"to": device["phone_number"], "sent": _time_of_day(notice["sent"]), "text": notice["text"]}
            items.append((notice["sent"], NOTICE.substitute(_escaped(fields))))
    return "".join(item for _, item in sorted(items, key=lambda pair: pair[0]))


def _message_fields(message: Mapping[str, Any]) -> dict[str, str]:
    pin = message["pin"]
    before, pin, after = str(message["text"]).partition(pin) if pin else (message["text"], "", "")
    return _escaped(
        {
            "channel": message["channel"],
            "label": LABELS.get(message["channel"], ""),
            "to": message["to"],
            "sent": _time_of_day(message["sent"]),
            "before": before,
            "pin": pin,
            "after": after,
        }
    )


def _device_fields(device: Mapping[str, Any]) -> dict[str, str]:
    return _escaped(
        {
            "issuer": device["issuer"],
            "account": device["account"] if device["account"] != device["phone_number"] else "",
            "number": device["phone_number"],
            "code": f"{device['code'][:3]} {device['code'][3:]}",
            "left": str(int(device["seconds_left"])),
        }
    )


def _time_of_day(sent: str) -> str:
    return f"{sent[11:19]} UTC"


def _escaped(values: Mapping[str, str]) -> dict[str, str]:
    return {key: escape(value) for key, value in values.items()}
