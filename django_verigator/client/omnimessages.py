"""The messages of the Omnichannel API, as its client takes and returns them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..hidden import HiddenText

CHANNELS = SMS, VIBER, WHATSAPP, RCS = ("sms", "viber", "whatsapp", "rcs")


@dataclass(frozen=True, slots=True)
class WhatsAppTemplate:
    """An approved authentication template. WhatsApp delivers free text only to somebody who has written to the sender
    within the last day.

    Attributes:
        name: the template's name in the account.
        language: its language, as "en" or "en_US".
    """

    name: str
    language: str

    def as_json(self, pin: str) -> dict[str, Any]:
        """Return the template filled with a PIN.

        protocol: WhatsAppTemplate in Messente's OpenAPI file. The PIN stands in the text and, once more, in the button
        that copies it, which has the type "url" (Meta's documentation of authentication templates).
        """
        pins = [{"type": "text", "text": pin}]
        components = [
            {"type": "body", "parameters": pins},
            {"type": "button", "sub_type": "url", "index": 0, "parameters": pins},
        ]
        return {"name": self.name, "language": {"code": self.language}, "components": components}


@dataclass(frozen=True, slots=True)
class ChannelMessage:
    """What is sent on one channel.

    Attributes:
        channel: one of ``CHANNELS``.
        text: holds the PIN.
        sender: whom it comes from, activated in the account; None: the account's own. RCS needs one.
        ttl: seconds after which the channel counts as failed, and the next is tried; None: the provider's.
        template: WhatsApp alone: send this, filled with ``pin``, in place of the text.
        pin: for ``template``.

    Raises:
        ValueError: an attribute cannot be used.
    """

    channel: str
    text: str
    sender: str | None = None
    ttl: int | None = None
    template: WhatsAppTemplate | None = None
    pin: str = ""

    def __post_init__(self) -> None:
        if self.channel not in CHANNELS:
            raise ValueError(f"channel must be one of {', '.join(CHANNELS)}")
        if self.channel == RCS and not self.sender:
            raise ValueError("rcs needs a sender")
        if self.template is not None and not (self.channel == WHATSAPP and self.pin):
            raise ValueError("a template is for whatsapp alone, and needs a pin")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.channel}>"

    def as_json(self) -> dict[str, Any]:
        """Return the message as the API takes it.

        protocol: SMS, Viber, WhatsApp and Rcs in Messente's OpenAPI file.
        """
        text = HiddenText(self.text)
        content: dict[str, Any] = {"text": text}
        if self.template is not None:
            content = {"template": self.template.as_json(HiddenText(self.pin))}
        elif self.channel == WHATSAPP:
            content = {"text": {"body": text, "preview_url": False}}
        given = {"channel": self.channel, "sender": self.sender, "ttl": self.ttl, **content}
        return {key: value for key, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Omnimessage:
    """A message that the provider has taken.

    Attributes:
        id: names it in a report.
        message_ids: the id of the message on each channel.
    """

    id: str
    message_ids: Mapping[str, str]
