"""PINs of our own, for a provider that only sends texts.

The PIN is made here and goes out in a text. What stays is the reference, which the challenge keeps: a random part, the
time at which the PIN expires, and the digest of both with the PIN, keyed with SECRET_KEY. The PIN itself is not kept.
Tries, single use and limits are those of the flows, as for the PIN of any provider.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace

from django.core.checks import CheckMessage
from django.utils.crypto import constant_time_compare

from ..client import SecretText, Transport
from ..client.http import Client
from ..client.number_verification import PIN_PLACE
from ..client.options import ConnectionArguments, Unpack, require_seconds, takes_connection_options
from ..client.secrets import SecretBody
from ..constants import METHOD_SMS
from ..digests import digest, digests
from ..exceptions import ConnectionFailedError, NoSuchResourceError, VerigatorError
from ..hidden import HiddenText
from .base import BaseBackend, Checked, HttpBackend, Recipient, Started
from .pin_options import TEMPLATE, PinOptions

logger = logging.getLogger("django_verigator")

_KIND = "own_pin"
_REFERENCE = re.compile(r"(?P<random>[0-9a-f]{32})\.(?P<expires>[0-9]{1,12})\.(?P<digest>[0-9a-f]{64})\Z")
_HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+\Z")


class TextBackend(BaseBackend):
    """Makes and checks the PINs itself; a subclass sends the text, in ``send_text``.

    Args:
        pin_length: digits of the PIN, 4 to 16. Default: PIN_LENGTH.
        validity: seconds for which the PIN is good, 1800 at most. Default: CHALLENGE_SECONDS.
        template: the text, with ``<PIN>`` in it.
        domain: the site's domain, as in its address. Phones then offer the PIN to this site alone, by a last line of
            the text (WICG, "Origin-bound one-time codes delivered via SMS").
        total_timeout: seconds that a text may take to be sent.
    """

    methods: tuple[str, ...] = (METHOD_SMS,)
    checks_pins_itself = True

    def __init__(
        self,
        alias: str,
        *,
        pin_length: int | None = None,
        validity: int | None = None,
        template: str | None = None,
        domain: str = "",
        total_timeout: float = BaseBackend.total_timeout,
    ) -> None:
        super().__init__(alias)
        self.pins = PinOptions.from_options(pin_length, validity, template)
        if domain != "" and not (isinstance(domain, str) and _HOST.match(domain)):
            raise ValueError('domain must be a host name with a dot, in small letters, as "shop.example"')
        self.domain = domain
        require_seconds(total_timeout=total_timeout)
        self.total_timeout = total_timeout

    def send_text(self, phone_number: str, text: str, *, timeout: float) -> str | None:
        """Send a text, once.

        Args:
            phone_number: E.164.
            text: holds the PIN, and must get into no log and no exception.
            timeout: seconds that it may take in all.

        Returns:
            The gateway's id of the message, or None.

        Raises:
            VerigatorError: its ``sent`` says whether the text may be on its way. Any other exception counts as one that
                does not know.
        """
        raise NotImplementedError

    def send_code(self, recipient: Recipient, method: str, text: str, *, timeout: float) -> Started:
        """Send a text by ``method``, and return how it went; for subclasses that can do more than texts."""
        message_id = self.send_text(recipient.phone_number, text, timeout=timeout)
        return Started(METHOD_SMS, message_id="" if message_id is None else str(message_id))

    def start(self, recipient: Recipient, method: str, *, timeout: float | None = None) -> Started:
        pin = HiddenText(f"{secrets.randbelow(10**self.pins.pin_length):0{self.pins.pin_length}}")
        random, expires = secrets.token_hex(16), str(int(time.time()) + self.pins.validity)
        reference = f"{random}.{expires}.{digest(_KIND, _signed(random, expires, pin))}"
        text = self._text(pin)
        seconds = self.total_timeout if timeout is None else timeout
        try:
            started = self.send_code(recipient, method, text, timeout=seconds)
        except VerigatorError as known:
            error = known
            # What it was made of may be the error of a library, with the text in it.
            error.__cause__ = error.__context__ = None
        except Exception as problem:  # noqa: BLE001 - a gateway's library has errors of its own
            error = _unexpected(problem)
        else:
            return replace(started, reference=reference)
        if error.sent:  # The text may arrive.
            error.reference = reference
        # Not from the except clause: a context would carry frames that hold the text.
        raise error

    def _text(self, pin: str) -> str:
        text = HiddenText((self.pins.template or TEMPLATE).replace(PIN_PLACE, pin))
        return HiddenText(f"{text}\n\n@{self.domain} #{pin}") if self.domain else text

    def check(self, recipient: Recipient, pin: str, reference: str, *, timeout: float | None = None) -> Checked:
        found = _REFERENCE.match(reference)
        if found is None:
            raise NoSuchResourceError("no code was started", sent=False)
        if int(found["expires"]) <= time.time():
            return Checked(False, expired=True)
        known = digests(_KIND, _signed(found["random"], found["expires"], pin))
        return Checked(any(constant_time_compare(found["digest"], each) for each in known))

    def system_checks(self) -> list[CheckMessage]:
        return [*super().system_checks(), *self.pins.system_checks(self.alias)]


class HttpTextBackend(HttpBackend, TextBackend):
    """The same for a gateway that is asked over HTTP; ``send_text`` asks it with ``self.ask``.

    Args:
        endpoint: the gateway's address; ``http`` only on loopback.
        headers: headers of each request; secret ones as ``SecretText``.
        pin_length, validity, template, domain: see ``TextBackend``.
        connection: see ``django_verigator.client.ConnectionOptions``.
    """

    @takes_connection_options
    def __init__(
        self,
        alias: str,
        endpoint: str,
        *,
        headers: Mapping[str, str] | None = None,
        pin_length: int | None = None,
        validity: int | None = None,
        template: str | None = None,
        domain: str = "",
        **connection: Unpack[ConnectionArguments],
    ) -> None:
        self._transport = Transport(endpoint, headers=headers or {}, **connection)
        pins = {"pin_length": pin_length, "validity": validity, "template": template, "domain": domain}
        super().__init__(alias, Client(self._transport), self._transport.endpoint, **pins)

    def ask(
        self,
        method: str,
        path: str,
        read: Callable[[bytes], str],
        body: SecretBody | None = None,
        *,
        query: SecretText | None = None,
        timeout: float,
    ) -> str:
        """Send a request once, whatever its method, and return what ``read`` makes of a 2xx.

        Args:
            read: is given the body; raises BadAnswer for one that it does not like, or the VerigatorError that it
                stands for.
            query: is put behind the path where no log sees it.
            timeout: seconds that it may take in all.

        Raises:
            VerigatorError: there was no answer that can be used; HTTP statuses become its subclasses.
        """
        with self._transport.within(timeout):
            return self._transport.exchange(method, path, read, body, query=query, once=True)


def _signed(random: str, expires: str, pin: str) -> str:
    return HiddenText(f"{random}.{expires}.{pin}")


def _unexpected(problem: Exception) -> VerigatorError:
    place = traceback.extract_tb(problem.__traceback__)[-1]
    where = f"{os.path.basename(place.filename)}, line {place.lineno}"
    logger.error("send_text_failed error=%s where=%s", type(problem).__name__, where)
    return ConnectionFailedError(f"send_text raised {type(problem).__name__} in {where}")
