"""The phone page: what arrived, and the app's running codes. It is whole without its script, which keeps it fresh."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from http import HTTPStatus
from importlib.resources import files
from string import Template
from typing import Any
from urllib.parse import quote

from django_verigator.sandbox.desk import Desk, number_in
from django_verigator.sandbox.exchange import Refusal, Reply, Request

STATIC = {"phone.css": "text/css", "phone.js": "text/javascript", "icon.svg": "image/svg+xml"}
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (("Content-Security-Policy", POLICY), ("Referrer-Policy", "no-referrer"), ("X-Frame-Options", "DENY"))

# One item of each list. The page also holds them empty, in <template> elements, for the script to fill.
MESSAGE = Template(
    '<li class="message"><p class="meta"><span data-field="to">$to</span> <time data-field="sent">$sent</time></p>'
    '<div class="said"><p class="bubble"><span data-field="before">$before</span><strong data-field="pin">$pin</strong>'
    '<span data-field="after">$after</span></p>'
    '<button type="button" class="copy" data-pin="$pin" aria-label="Copy PIN $pin" hidden>Copy</button></div></li>'
)
NOTICE = Template(
    '<li class="notice"><p class="push"><span class="badge" aria-hidden="true">App</span>'
    '<span data-field="text">$text</span></p><p class="meta"><span data-field="to">$to</span>'
    ' <time data-field="sent">$sent</time></p></li>'
)
DEVICE = Template(
    '<li class="device"><div class="who"><strong data-field="issuer">$issuer</strong>'
    '<span data-field="account">$account</span><span data-field="number">$number</span></div>'
    '<p class="code" data-field="code">$code</p>'
    '<svg class="ring" viewBox="0 0 36 36" role="img" aria-label="$left seconds left">'
    '<circle cx="18" cy="18" r="15.5"/>'
    '<circle class="rest" cx="18" cy="18" r="15.5" pathLength="30" stroke-dasharray="$left 30"/>'
    '<text x="18" y="22" data-field="left">$left</text></svg>'
    '<div class="acts">'
    '<button type="button" class="copy" data-pin="$code" aria-label="Copy the code" hidden>Copy</button>'
    '<button type="button" class="detach" hidden>Detach</button></div></li>'
)
CHIP = Template('<a href="$href"$current>$label</a>')


class Page:
    """``/`` and the files it needs."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        folder = files("django_verigator.sandbox") / "static"
        self._files = {name: (folder / name).read_bytes() for name in STATIC}
        self._index = Template((folder / "index.html").read_text(encoding="utf-8"))

    def answer(self, request: Request) -> Reply:
        """Raises Refusal."""
        if request.method not in ("GET", "HEAD"):
            raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "This page can only be read", (("Allow", "GET, HEAD"),))
        if not request.segments:
            return self._phone(request)
        name = "/".join(request.segments[1:])
        if request.segments[0] != "static" or name not in STATIC:
            raise Refusal(HTTPStatus.NOT_FOUND, "There is no such file")
        return Reply(HTTPStatus.OK, self._files[name], f"{STATIC[name]}; charset=utf-8", HEADERS)

    def _phone(self, request: Request) -> Reply:
        chosen = request.parameter("to")
        try:
            number = number_in(chosen) if chosen else ""
        except ValueError:
            number = ""
        shown = self._desk.phone(number)
        thread = _thread(shown["messages"], shown["devices"])
        html = self._index.substitute(
            whose=escape(number or "All numbers"),
            number=escape(number),
            numbers=_chips(shown["numbers"], number),
            thread=thread,
            thread_hidden="" if thread else " hidden",
            empty_hidden=" hidden" if thread else "",
            devices="".join(DEVICE.substitute(_device(each)) for each in shown["devices"]),
            message_shape=MESSAGE.substitute(dict.fromkeys(("to", "sent", "before", "pin", "after"), "")),
            notice_shape=NOTICE.substitute(dict.fromkeys(("to", "sent", "text"), "")),
            device_shape=DEVICE.substitute(dict.fromkeys(("issuer", "account", "number", "code", "left"), "")),
        )
        return Reply(HTTPStatus.OK, html.encode("utf-8"), "text/html; charset=utf-8", HEADERS)


def _chips(numbers: Iterable[str], chosen: str) -> str:
    links = [("/", "All", not chosen)]
    links += [(f"/?to={quote(number, safe='')}", number, number == chosen) for number in numbers]
    return "".join(
        CHIP.substitute(href=escape(href), label=escape(label), current=' aria-current="page"' if current else "")
        for href, label, current in links
    )


def _thread(messages: list[dict[str, Any]], devices: list[dict[str, Any]]) -> str:
    items = [(message["sent"], MESSAGE.substitute(_message(message))) for message in messages]
    for device in devices:
        for notice in device["notices"]:
            shown = {"to": device["phone_number"], "sent": _clock_time(notice["sent"]), "text": notice["text"]}
            items.append((notice["sent"], NOTICE.substitute(_escaped(shown))))
    return "".join(item for _, item in sorted(items, key=lambda pair: pair[0]))


def _message(message: Mapping[str, Any]) -> dict[str, str]:
    before, pin, after = str(message["text"]).partition(message["pin"])
    return _escaped(
        {"to": message["to"], "sent": _clock_time(message["sent"]), "before": before, "pin": pin, "after": after}
    )


def _device(device: Mapping[str, Any]) -> dict[str, str]:
    return _escaped(
        {
            "issuer": device["issuer"],
            "account": device["account"] if device["account"] != device["phone_number"] else "",
            "number": device["phone_number"],
            "code": f"{device['code'][:3]} {device['code'][3:]}",
            "left": str(int(device["seconds_left"])),
        }
    )


def _clock_time(sent: str) -> str:
    return f"{sent[11:19]} UTC"


def _escaped(values: Mapping[str, str]) -> dict[str, str]:
    return {key: escape(value) for key, value in values.items()}
