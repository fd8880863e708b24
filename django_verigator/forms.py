"""What users type: cleaned to one form, or refused with a message; never passed on as typed."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.forms.boundfield import BoundField
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.debug import sensitive_variables

from . import phone
from .cleaning import plain_text
from .exceptions import Refused
from .flows import account
from .hidden import HiddenText
from .messages import explain

__all__ = ["EnrolForm", "PasswordForm", "PhoneField", "PinField", "PinForm", "RecoveryField", "RecoveryForm"]

# Not \d, which takes digits of other scripts, nor $, which takes a newline behind the last digit.
_PIN = re.compile(r"[0-9]{4,16}\Z")

_LONGEST_PIN = 40  # as typed

_BETWEEN_DIGITS = re.compile(r"(?<=[0-9])[ -]+(?=[0-9])")


class _FocusedField(BoundField):
    """The field with the focus when its page opens: a screen reader then reads the page's status as its description."""

    @property
    def aria_describedby(self) -> str:
        return f"vg-status {super().aria_describedby or ''}".strip()


class _HiddenInput(forms.TextInput):
    """Hides what is typed from error reports, also in Django's frames around ``clean()``."""

    def value_from_datadict(self, *args: Any) -> Any:
        value = super().value_from_datadict(*args)
        return HiddenText(value) if isinstance(value, str) else value


class PinField(forms.CharField):
    """A PIN, as text to keep leading zeros; takes any script's digits, with blanks, dashes or a full stop around."""

    widget = _HiddenInput(
        attrs={
            "autocomplete": "one-time-code",
            "inputmode": "numeric",
            "autocapitalize": "off",
            "spellcheck": "false",
            "autofocus": True,
        }
    )
    bound_field_class = _FocusedField
    default_error_messages = {
        "required": _("Type the PIN."),
        "invalid": _("A PIN has 4 to 16 digits and nothing else."),
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=_LONGEST_PIN, **kwargs)

    @sensitive_variables()
    def clean(self, value: Any) -> str:
        pin = HiddenText(value or "")
        if len(pin) <= _LONGEST_PIN:
            pin = HiddenText(_BETWEEN_DIGITS.sub("", plain_text(pin).strip(" .")))
        if not pin:
            raise ValidationError(self.error_messages["required"], code="required")
        if not _PIN.match(pin):
            raise ValidationError(self.error_messages["invalid"], code="invalid")
        return pin


class PinForm(forms.Form):
    """Asks for the PIN and, where the site allows it, whether to trust this browser.

    Args:
        trust_days: for how many days the browser may be trusted; 0 leaves the question out.
        by_app: whether the Verigator app shows the PIN, which it calls a code.
    """

    pin = PinField(label=_("PIN"))
    trust = forms.BooleanField(required=False, label_suffix="")

    def __init__(self, *args: Any, trust_days: int = 0, by_app: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if by_app:
            self.fields["pin"].label = _("Code")
        if trust_days:
            self.fields["trust"].label = ngettext(
                "Do not ask again in this browser for %(days)d day",
                "Do not ask again in this browser for %(days)d days",
                trust_days,
            ) % {"days": trust_days}
        else:
            del self.fields["trust"]


class RecoveryField(forms.CharField):
    """A recovery code, hidden from error reports."""

    bound_field_class = _FocusedField

    @sensitive_variables()
    def clean(self, value: Any) -> str:
        return HiddenText(super().clean(value))


class RecoveryForm(forms.Form):
    """Asks for a recovery code."""

    code = RecoveryField(
        label=_("Recovery code"),
        max_length=64,
        widget=_HiddenInput(
            attrs={"autocomplete": "off", "autocapitalize": "characters", "spellcheck": "false", "autofocus": True}
        ),
    )


class PhoneField(forms.CharField):
    """A phone number in international form; cleaned to E.164."""

    widget = _HiddenInput(attrs={"autocomplete": "tel", "inputmode": "tel", "placeholder": "+372 5555 5555"})
    default_error_messages = {
        "invalid": _("Type the number in international form: + and the country code first, then the number."),
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=phone.MAX_INPUT, **kwargs)

    def clean(self, value: Any) -> str:
        try:
            return phone.normalise(HiddenText(super().clean(value)))
        except phone.InvalidPhoneError:
            raise ValidationError(self.error_messages["invalid"], code="invalid") from None


class PasswordForm(forms.Form):
    """Asks for the password again, before a change to what protects the account.

    Args:
        request: the page's request; its session stays valid if a newer hasher stores the password again.
        user: the owner of the password.
        needs_password: False for a user who has none, or has just given it.
    """

    password = forms.CharField(
        label=_("Password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )

    def __init__(
        self, *args: Any, request: HttpRequest, user: AbstractBaseUser, needs_password: bool, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.request = request
        self.user = user
        if not needs_password:
            del self.fields["password"]

    @sensitive_variables()
    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        try:
            is_right = account.confirm_password(self.request, self.user, password)
        except Refused as refused:
            raise ValidationError(explain(refused), code="limit") from None
        if not is_right:
            raise ValidationError(_("The password is not right."), code="password")
        return ""


class EnrolForm(PasswordForm):
    """Asks for the phone number to use from now on."""

    phone = PhoneField(label=_("Phone number"))
    field_order = ("phone", "password")


def mark_wrong(form: forms.Form) -> None:
    """Tell assistive technology that what was typed is wrong, where the page says so and not the form."""
    for name in {"pin", "code"} & set(form.fields):
        form.fields[name].widget.attrs["aria-invalid"] = "true"
