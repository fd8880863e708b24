"""What a value of a setting must be: stated beside the default, where the key is declared."""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field
from typing import Any

from .. import phone

MOST_WORKERS = 64
REQUIRED_WORDS = ("enrolled", "staff", "all", "none")
METHODS = ("sms", "totp", "call", "whatsapp")
_REGION = re.compile(r"[A-Z]{2}\Z")
_UNBOUNDED = 10**9


@dataclass(frozen=True, slots=True)
class Rule:
    """What a key accepts.

    Attributes:
        accepts: whether a value can be used.
        wanted: the same in words, after "must be".
    """

    accepts: Callable[[Any], bool]
    wanted: str

    @property
    def as_metadata(self) -> dict[str, Rule]:
        return {"rule": self}


def setting(default: Any, rule: Rule) -> Any:
    """Declare a key of VERIGATOR."""
    return field(default=default, metadata=rule.as_metadata)


def limit(default: int, *, at_most: int = 0, loose_above: int = 0) -> Any:
    """Declare a key of VERIGATOR["LIMITS"], a positive integer.

    Args:
        at_most: more is an error; 0 for any number.
        loose_above: more holds nobody back, whatever the site, so that a check warns; 0 for no warning.
    """
    rule = integer(1, at_most or _UNBOUNDED)
    wanted = f"a positive integer of at most {at_most}" if at_most else "a positive integer"
    return field(default=default, metadata={"rule": Rule(rule.accepts, wanted), "loose_above": loose_above})


def rule_of(declared: Field[Any]) -> Rule:
    rule: Rule = declared.metadata["rule"]
    return rule


def integer(least: int, most: int) -> Rule:
    def accepts(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most

    return Rule(accepts, f"an integer from {least} to {most}")


def one_of(choices: Iterable[str]) -> Rule:
    return Rule(tuple(choices).__contains__, f"one of {choices}")


def words(what: str) -> Rule:
    return Rule(_is_words, f"a list of {what}")


def _is_words(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(word, str) and word for word in value)


def _is_path(value: object) -> bool:
    return callable(value) or (isinstance(value, str) and bool(value))


def _is_required_rule(value: object) -> bool:
    return callable(value) or (isinstance(value, str) and (value in REQUIRED_WORDS or "." in value))


def _is_rate(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and (value == 0 or 0.1 <= value <= 10_000)


def _is_networks(value: object) -> bool:
    if not isinstance(value, (list, tuple)):
        return False
    try:
        [ipaddress.ip_network(entry) for entry in value]
    except (ValueError, TypeError):
        return False
    return True


def _is_backends(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(entry, Mapping)
        and isinstance(entry.get("BACKEND"), str)
        and isinstance(entry.get("OPTIONS", {}), Mapping)
        for entry in value.values()
    )


def _optional(rule: Rule, wanted: str) -> Rule:
    return Rule(lambda value: value is None or rule.accepts(value), wanted)


BOOLEAN = Rule(lambda value: isinstance(value, bool), "True or False")
DICT = Rule(lambda value: isinstance(value, Mapping), "a dict")
ENTRIES = Rule(_is_backends, 'a dict of {"BACKEND": "dotted.path", "OPTIONS": {...}}')
PATH = Rule(_is_path, "a dotted path")
OPTIONAL_PATH = _optional(PATH, "a callable or the dotted path of one")
OPTIONAL_PATH_TO_PHONE = _optional(PATH, "an attribute path, a callable, the dotted path of one, or None")
OPTIONAL_DATE = Rule(lambda value: value is None or isinstance(value, datetime.date), "a date")
REQUIRED_RULE = Rule(_is_required_rule, f"one of {REQUIRED_WORDS}, a callable, or the dotted path of one")
RATE = Rule(_is_rate, "0, or a number from 0.1 to 10000")
NETWORKS = Rule(_is_networks, "a list of IP addresses or networks")
WAYS = Rule(lambda value: _is_words(value) and bool(value) and set(value) <= set(METHODS), f"a list of {METHODS}")
REGIONS = Rule(lambda value: _is_words(value) and all(map(_REGION.match, value)), 'a list of regions such as "EE"')
NUMBER_TYPES = Rule(lambda value: _is_words(value) and set(value) <= set(phone.TYPES), f"a list of {phone.TYPES}")
