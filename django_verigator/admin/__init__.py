"""What support sees and does in the admin. Nothing here shows a PIN or a full number."""

from __future__ import annotations

from .actions import issue_recovery_code, reset_second_factor, sync_with_verigator, unlock
from .challenges import ChallengeAdmin
from .links import VerigatorUserAdmin
from .users import SecondFactorMixin, add_action_to_user_admin

__all__ = [
    "ChallengeAdmin",
    "SecondFactorMixin",
    "VerigatorUserAdmin",
    "issue_recovery_code",
    "reset_second_factor",
    "sync_with_verigator",
    "unlock",
]

add_action_to_user_admin()
