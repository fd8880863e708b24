"""What is stored. A PIN never is; a phone number in full only on the link, and on a change of it that is under way."""

from __future__ import annotations

from .challenge import Challenge
from .counter import Counter
from .credentials import RecoveryCode, TrustedBrowser
from .deletion import RemoteDeletion
from .link import PhoneChange, VerigatorUser, new_trust_version
from .sync import SyncRun

__all__ = [
    "Challenge",
    "Counter",
    "PhoneChange",
    "RecoveryCode",
    "RemoteDeletion",
    "SyncRun",
    "TrustedBrowser",
    "VerigatorUser",
    "new_trust_version",
]
