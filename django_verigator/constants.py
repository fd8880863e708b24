"""The methods of a proof, as they are stored and logged."""

from __future__ import annotations

METHOD_SMS = "sms"
METHOD_TOTP = "totp"
METHOD_CALL = "call"
METHOD_WHATSAPP = "whatsapp"
# Without a provider.
METHOD_RECOVERY = "recovery"
METHOD_BROWSER = "browser"
