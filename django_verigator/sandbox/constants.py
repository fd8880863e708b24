"""Name the words that both of the provider's APIs share."""

from __future__ import annotations

SMS, TOTP = METHODS = ("sms", "totp")
# The results of a check, from the tests of Messente's Python client and its number-verification client.
VERIFIED, INVALID, EXPIRED, THROTTLED = "VERIFIED", "INVALID", "EXPIRED", "THROTTLED"
PIN_PLACEHOLDER = "<PIN>"
DEFAULT_TEXT = f"Your Verification PIN code is {PIN_PLACEHOLDER}"
