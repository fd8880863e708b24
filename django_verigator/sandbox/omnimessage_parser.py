"""Check the body of a send and turn it into an ``Omnimessage``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

from .omnimessages import CHANNELS, DEFAULT_SENDER, ChannelMessage, Omnimessage
from .phone_numbers import parse_phone_number

MAX_MESSAGES = 10
MAX_TEXT = 4096
MAX_URL = 2048
MAX_SECONDS = 30 * 24 * 3600
_CHOICES = {"text_store": ("plaintext", "sha256", "nostore"), "priority": ("low", "regular", "high")}
# The words of Messente's documentation and those of its OpenAPI file.
_AUTOCONVERT = ("on", "full", "off", "true", "false")
_OTHER_CONTENT = {
    "viber": ("image_url", "video", "template", "carousel"),
    "whatsapp": ("image", "video", "audio", "document", "sticker"),
    "rcs": ("rich_card", "content_info"),
}


class FieldError(ValueError):
    """Report which field is wrong.

    Attributes:
        source: the field, as in ``messages.0.sender``. The form is chosen here; Messente's documents do not say.
        is_missing: it is not there.
    """

    def __init__(self, source: str, detail: str, *, is_missing: bool = False) -> None:
        super().__init__(f"{source} {detail}")
        self.source = source
        self.is_missing = is_missing


def parse_omnimessage(data: Mapping[str, Any], account: str, now: float, senders: Collection[str]) -> Omnimessage:
    """Return the message that ``data`` describes.

    Args:
        now: seconds since 1970.
        senders: the sender names that are activated; empty for any.

    Raises:
        FieldError: a field is wrong or missing.
    """
    try:
        to = parse_phone_number(_text(data, "to"))
    except FieldError:
        raise
    except ValueError:
        raise FieldError("to", "is no phone number") from None
    for key, choices in _CHOICES.items():
        if data.get(key) not in (None, *choices):
            raise FieldError(key, f"must be one of {', '.join(choices)}")
    messages = data.get("messages")
    if messages is None:
        raise FieldError("messages", "is missing", is_missing=True)
    if not isinstance(messages, list) or not 0 < len(messages) <= MAX_MESSAGES:
        raise FieldError("messages", f"must be a list of 1 to {MAX_MESSAGES} messages")
    parsed = [_message(each, f"messages.{place}", senders) for place, each in enumerate(messages)]
    return Omnimessage(account, to, parsed, _due(data, now), _dlr_url(data))


def _message(data: Any, place: str, senders: Collection[str]) -> ChannelMessage:
    if not isinstance(data, dict):
        raise FieldError(place, "must be an object")
    channel = data.get("channel")
    if channel not in CHANNELS:
        raise FieldError(f"{place}.channel", f"must be one of {', '.join(CHANNELS)}", is_missing=channel is None)
    sender = data.get("sender")
    if sender is None and channel == "rcs":
        raise FieldError(f"{place}.sender", "is missing", is_missing=True)
    if sender is not None and (not isinstance(sender, str) or not sender or (senders and sender not in senders)):
        raise FieldError(f"{place}.sender", "is not activated")
    for key in ("ttl", "validity"):
        value = data.get(key)
        if value is not None and (type(value) is not int or not 1 <= value <= MAX_SECONDS):
            raise FieldError(f"{place}.{key}", "must be a positive whole number")
    if data.get("ttl") is not None and data.get("validity") is not None:
        raise FieldError(f"{place}.ttl", "and validity exclude each other")
    if data.get("autoconvert") not in (None, *_AUTOCONVERT):
        raise FieldError(f"{place}.autoconvert", f"must be one of {', '.join(_AUTOCONVERT)}")
    return ChannelMessage(channel, _content(data, channel, place), sender or DEFAULT_SENDER)


def _content(data: Mapping[str, Any], channel: str, place: str) -> str:
    """Return what the phone shows."""
    if channel == "whatsapp" and data.get("template") is not None:
        return _template_text(data["template"], f"{place}.template")
    if channel == "whatsapp" and data.get("text") is not None:
        text = data["text"]
        return _text(text if isinstance(text, dict) else {}, "body", f"{place}.text.")
    if data.get("text") is None:
        other = next((key for key in _OTHER_CONTENT.get(channel, ()) if data.get(key) is not None), None)
        if other:
            return f"[{other}]"
    return _text(data, "text", f"{place}.")


def _template_text(template: Any, place: str) -> str:
    """Return what fills a template, with its name and language; the sandbox knows no template's own text."""
    if not isinstance(template, dict) or not isinstance(template.get("components"), list):
        raise FieldError(place, "must be an object with components")
    language = template.get("language")
    code = _text(language if isinstance(language, dict) else {}, "code", f"{place}.language.")
    filled = []
    for component in template["components"]:
        parameters = component.get("parameters") or [] if isinstance(component, dict) else None
        if not isinstance(parameters, list) or not all(isinstance(each, dict) for each in parameters):
            raise FieldError(f"{place}.components", "must be objects with parameters")
        if component.get("type") == "body":
            filled += [_text(each, "text", f"{place}.components.") for each in parameters]
    return f"{', '.join(filled)} (template {_text(template, 'name', f'{place}.')}, {code})"


def _text(data: Mapping[str, Any], key: str, place: str = "") -> str:
    value = data.get(key)
    if value is None:
        raise FieldError(f"{place}{key}", "is missing", is_missing=True)
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT:
        raise FieldError(f"{place}{key}", f"must be a text of at most {MAX_TEXT} characters")
    return value


def _due(data: Mapping[str, Any], now: float) -> float:
    text = data.get("time_to_send")
    if text is None:
        return now
    try:
        # Python 3.10 does not know the Z. Without a zone it is UTC, says the OpenAPI file.
        time = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
        time = time if time.tzinfo else time.replace(tzinfo=timezone.utc)
        return max(now, time.timestamp())
    except (ValueError, OverflowError):
        raise FieldError("time_to_send", "must be a time in the form of ISO 8601") from None


def _dlr_url(data: Mapping[str, Any]) -> str:
    url = data.get("dlr_url")
    if url is None:
        return ""
    try:
        is_url = (
            isinstance(url, str) and len(url) <= MAX_URL and bool(urlsplit(url).hostname and urlsplit(url).port != 0)
        )
    except ValueError:
        is_url = False
    if not is_url or urlsplit(url).scheme not in ("http", "https") or not url.isascii() or not url.isprintable():
        raise FieldError("dlr_url", "must be an http or https address")
    return str(url)
