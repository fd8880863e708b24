"""Messente's Omnichannel API: PINs of our own, by SMS, Viber, WhatsApp or RCS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn
from urllib.parse import urlsplit

from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as CheckWarning

from .. import check_ids, conf
from ..client import BadAnswer, ChannelMessage, MessageStatus, Omnichannel, WhatsAppTemplate, is_loopback
from ..client.deliveries import parse_posted_status
from ..client.number_verification import MAX_VALIDITY, PIN_PLACE
from ..client.omnichannel import ENDPOINT, PRIORITIES, TEXT_STORES
from ..client.omnimessages import CHANNELS, RCS, SMS, WHATSAPP
from ..client.options import ConnectionArguments, Unpack, takes_connection_options
from ..constants import METHOD_SMS, METHOD_WHATSAPP
from ..hidden import HiddenText
from .base import DeliveryReport, HttpBackend, Recipient, Started, require_credentials
from .deliveries import merge_statuses
from .pin_options import TEMPLATE, checked_channels, checked_integer, checked_text
from .texts import TextBackend

VERIGATOR_TEMPLATE = f"{PIN_PLACE} is your verification code"
"""The text that Messente's new product of the name Verigator, where it is enabled, sends over channels of its choice.

protocol: Messente docs, verigator: exactly this text, with 1 to 10 digits, in a message by SMS.
"""
_VERIGATOR_DIGITS = 10
_MAX_NAME = 255


class OmnichannelBackend(HttpBackend, TextBackend):
    """Makes and checks the PINs itself, and sends them over one or more channels, the next where one fails.

    Args:
        username, password: the API credentials.
        endpoint: the provider's address; ``http`` only on loopback, where it means the sandbox.
        channels: "sms", "viber", "whatsapp" and "rcs", in the order in which they are tried. But WhatsApp comes first
            where it is asked for (by METHOD, or by the user), else last. WAYS must allow it; the others count as "sms".
        sender: whom the texts come from; must be activated on the account. Default: the account's; "rcs" needs one.
        ttl: seconds after which a channel has failed, and the next is tried. Default: the provider's.
        priority: "low", "regular" or "high".
        text_store: how the provider keeps the text, and with it the PIN: "nostore", "sha256" or "plaintext".
        whatsapp_template, whatsapp_language: an approved authentication template, and its language. Default: the text
            goes as it is, which WhatsApp delivers only to somebody who has just written to the sender.
        report_base: the site's address (``https://shop.example``), in front of the path that the provider posts reports
            to; "" for none, so that it is only asked.
        pin_length, validity, template, domain: see ``TextBackend``.
        connection: see ``django_verigator.client.ConnectionOptions``.
    """

    reports_delivery = True

    @takes_connection_options
    def __init__(
        self,
        alias: str,
        *,
        username: str = "",
        password: str = "",
        endpoint: str = ENDPOINT,
        channels: Sequence[str] = (SMS,),
        sender: str | None = None,
        ttl: int | None = None,
        priority: str = "high",
        text_store: str = "nostore",
        whatsapp_template: str | None = None,
        whatsapp_language: str = "en",
        report_base: str = "",
        pin_length: int | None = None,
        validity: int | None = None,
        template: str | None = None,
        domain: str = "",
        **connection: Unpack[ConnectionArguments],
    ) -> None:
        require_credentials(username, password)
        self.channels = checked_channels(channels, CHANNELS)
        self.sender = checked_text("sender", sender)
        if RCS in self.channels and not self.sender:
            raise ValueError("sender must be set for the channel rcs")
        self.ttl = checked_integer("ttl", ttl, 1, MAX_VALIDITY)
        self.priority = _checked_choice("priority", priority, PRIORITIES)
        self.text_store = _checked_choice("text_store", text_store, TEXT_STORES)
        name = checked_text("whatsapp_template", whatsapp_template)
        language = checked_text("whatsapp_language", whatsapp_language) or ""
        self.whatsapp_template = WhatsAppTemplate(name, language) if name else None
        self.report_base = _checked_base(report_base)
        self.api = Omnichannel(username, password, endpoint, **connection)
        pins = {"pin_length": pin_length, "validity": validity, "template": template, "domain": domain}
        super().__init__(alias, self.api, self.api.endpoint, **pins)
        self.methods = tuple(sorted({_method_of(channel) for channel in self.channels}))
        if template == VERIGATOR_TEMPLATE and (domain or self.pins.pin_length > _VERIGATOR_DIGITS):
            raise ValueError(f"with this template leave domain out, and have at most {_VERIGATOR_DIGITS} digits")

    def send_text(self, phone_number: str, text: str, *, timeout: float) -> str:
        return self.send_code(Recipient("", phone_number), METHOD_SMS, text, timeout=timeout).message_id

    def send_code(self, recipient: Recipient, method: str, text: str, *, timeout: float) -> Started:
        channels = self._channels_for(method)
        with self.api.within(timeout):
            sent = self.api.send(
                recipient.phone_number,
                [self._channel_message(channel, text) for channel in channels],
                priority=self.priority,
                dlr_url=recipient.report_url or None,
                text_store=self.text_store,
            )
        return Started(_method_of(channels[0]), message_id=sent.id, channel=channels[0])

    def _channels_for(self, method: str) -> list[str]:
        """Return the channels that WAYS allows, in their order, those of the method in front."""
        ways = conf.current().WAYS
        allowed = [channel for channel in self.channels if _method_of(channel) in ways]
        return sorted(allowed or self.channels, key=lambda channel: _method_of(channel) != method)

    def _channel_message(self, channel: str, text: str) -> ChannelMessage:
        if channel != WHATSAPP or self.whatsapp_template is None:
            return ChannelMessage(channel, text, self.sender, self.ttl)
        place = (self.pins.template or TEMPLATE).index(PIN_PLACE)
        pin = HiddenText(text[place : place + self.pins.pin_length])
        return ChannelMessage(channel, text, self.sender, self.ttl, self.whatsapp_template, pin)

    def report(self, message_id: str, *, timeout: float | None = None) -> DeliveryReport:
        with self.api.within(timeout):
            statuses = self.api.report(message_id)
        return merge_statuses(
            statuses, is_last={each.channel for each in statuses} >= set(self._channels_for(METHOD_SMS))
        )

    def read_report(self, body: bytes) -> tuple[str, DeliveryReport]:
        try:
            message_id, status = parse_posted_status(body)
        except BadAnswer as problem:
            reason = str(problem)
        else:
            return message_id, merge_statuses([status], is_last=self._is_last(status))
        raise ValueError(reason)

    def _is_last(self, status: MessageStatus) -> bool:
        """Whether certainly no channel comes behind this one, however the code was asked for."""
        return all(self._channels_for(method)[-1] == status.channel for method in self.methods)

    def system_checks(self) -> list[CheckMessage]:
        found = super().system_checks()
        if SMS not in self.channels:
            text = "no channel is sms, so users without the others' apps get no PIN."
            hint = 'Add "sms" as the last channel.'
            found.append(self._warning(text, hint))
        if WHATSAPP in self.channels and METHOD_WHATSAPP not in conf.current().WAYS:
            text = "WAYS does not allow WhatsApp, which is among its channels, and is not used."
            hint = 'Add "whatsapp" to WAYS, or leave it out of channels.'
            found.append(self._message(Error, text, hint, id=check_ids.OPTIONS_CONTRADICT_SETTINGS))
        if WHATSAPP in self.channels and self.whatsapp_template is None:
            text = "WhatsApp delivers its texts only to users who have just written to the sender."
            hint = "Set whatsapp_template to an approved authentication template."
            found.append(self._warning(text, hint))
        return found

    def _warning(self, text: str, hint: str) -> CheckMessage:
        return self._message(CheckWarning, text, hint, id=check_ids.CHANNEL_MAY_NOT_REACH)


def _method_of(channel: str) -> str:
    return METHOD_WHATSAPP if channel == WHATSAPP else METHOD_SMS


def _refuse(name: str, wanted: str) -> NoReturn:
    raise ValueError(f"{name} must be {wanted}")


def _checked_choice(name: str, value: str, choices: Sequence[str]) -> str:
    """Return the value; raise ValueError unless it is one of the choices."""
    if value in choices:
        return value
    _refuse(name, f"one of {', '.join(choices)}")


def _checked_base(base: str) -> str:
    """Return the address without the slash at its end; raise ValueError unless it is "" or one of a site."""
    if base == "":
        return ""
    try:
        parts = urlsplit(base) if isinstance(base, str) and base.isascii() and base.isprintable() else urlsplit("")
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    is_bare = host and not (parts.username or parts.password or set(" ?#") & set(base))
    if not is_bare or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))):
        _refuse("report_base", 'the address of the site, as "https://shop.example"; http on loopback only')
    return base.rstrip("/")
