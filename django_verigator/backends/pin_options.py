"""The options of backends that say how long a PIN is, how long it is good, and in what text it comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.core.checks import CheckMessage, Error

from .. import check_ids, conf
from ..client.number_verification import MAX_PIN_LENGTH, MAX_VALIDITY, MIN_PIN_LENGTH, PIN_PLACE

TEMPLATE = f"Your Verification PIN code is {PIN_PLACE}"
MAX_TEXT = 255  # characters


@dataclass(frozen=True, slots=True)
class PinOptions:
    """Attributes:
    pin_length: digits.
    validity: seconds for which the PIN is good.
    template: the text, with ``<PIN>`` in it, or None.
    """

    pin_length: int
    validity: int
    template: str | None

    @classmethod
    def from_options(cls, pin_length: int | None, validity: int | None, template: str | None) -> PinOptions:
        """Return the options, with PIN_LENGTH and CHALLENGE_SECONDS for what is None.

        Raises:
            ValueError: an option cannot be used.
        """
        config = conf.current()
        template = checked_text("template", template)
        if template is not None and PIN_PLACE not in template:
            raise ValueError(f"template must hold {PIN_PLACE}, where the PIN is put")
        return cls(
            checked_integer("pin_length", pin_length, MIN_PIN_LENGTH, MAX_PIN_LENGTH) or config.PIN_LENGTH,
            checked_integer("validity", validity, 1, MAX_VALIDITY) or config.LIMITS.CHALLENGE_SECONDS,
            template,
        )

    def system_checks(self, alias: str) -> list[CheckMessage]:
        found: list[CheckMessage] = []
        config = conf.current()
        if self.validity < config.LIMITS.CHALLENGE_SECONDS:
            text = "its PINs expire before CHALLENGE_SECONDS are over."
            hint = "Leave validity out, or make it at least as long."
            found.append(_contradiction(alias, text, hint))
        if self.pin_length < config.PIN_LENGTH:
            text = "its PINs are shorter than PIN_LENGTH, and more easily guessed than the limits assume."
            hint = "Leave pin_length out, or make it at least as long."
            found.append(_contradiction(alias, text, hint))
        return found


def _contradiction(alias: str, text: str, hint: str) -> CheckMessage:
    return Error(f'VERIGATOR["BACKENDS"]["{alias}"]: {text}', hint=hint, id=check_ids.OPTIONS_CONTRADICT_SETTINGS)


def checked_channels(channels: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return the channels; raise ValueError unless they are some of the known ones, each at most once."""
    if isinstance(channels, (list, tuple)) and channels:
        chosen = [channel for channel in known if channel in channels]
        if len(chosen) == len(channels):
            return tuple(channels)
    raise ValueError(f"channels must be a list of {', '.join(known)}, each at most once")


def checked_integer(name: str, value: int | None, least: int, most: int) -> int | None:
    """Return the value; raise ValueError unless it is None or an integer in the range."""
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} must be an integer from {least} to {most}")
    return value


def checked_text(name: str, value: str | None) -> str | None:
    """Return the value; raise ValueError unless it is None or a text that is not blank."""
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT:
        raise ValueError(f"{name} must be a text of at most {MAX_TEXT} characters")
    return value
