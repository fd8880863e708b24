"""Names that more than one layer needs."""

from __future__ import annotations

METHOD_SMS = "sms"
METHOD_TOTP = "totp"
# Ways of a proof that no provider has a part in.
METHOD_RECOVERY = "recovery"
METHOD_BROWSER = "browser"
