from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from django_verigator.admin import ChallengeAdmin, SecondFactorMixin, VerigatorUserAdmin, sync_with_verigator
from django_verigator.models import Challenge, VerigatorUser

from .models import User


@admin.register(User)
class UserAdmin(SecondFactorMixin, BaseUserAdmin, ModelAdmin):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    actions = [sync_with_verigator]


admin.site.unregister(VerigatorUser)
admin.site.unregister(Challenge)


@admin.register(VerigatorUser)
class PhoneLinkAdmin(VerigatorUserAdmin, ModelAdmin):
    pass


@admin.register(Challenge)
class SignInAdmin(ChallengeAdmin, ModelAdmin):
    pass
