"""The pages of the second factor. A view picks a form and a redirect; every rule is in ``flows``."""

from __future__ import annotations

from .account import BrowsersView, PhoneView, RecoveryCodesView, SecurityView
from .enrolment import EnrolView
from .login import LoginView
from .pin import CancelView, RecoveryView, ResendView, VerifyView
from .reports import ReportView

__all__ = [
    "BrowsersView",
    "CancelView",
    "EnrolView",
    "LoginView",
    "PhoneView",
    "RecoveryCodesView",
    "RecoveryView",
    "ReportView",
    "ResendView",
    "SecurityView",
    "VerifyView",
]
