from __future__ import annotations

from django.contrib.auth.forms import UserCreationForm

from django_verigator.forms import PhoneField

from .models import User


class SignUpForm(UserCreationForm):
    phone_number = PhoneField(label="Phone number")

    class Meta(UserCreationForm.Meta):
        model = User
        fields = ("username", "phone_number")
