"""The app's models. None stores a PIN; only VerigatorUser and PhoneChange store a full phone number."""

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
