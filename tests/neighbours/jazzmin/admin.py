from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin

from django_verigator.admin import SecondFactorMixin, sync_with_verigator
from tests.site.models import User

admin.site.unregister(User)


@admin.register(User)
class UserAdmin(SecondFactorMixin, BaseUserAdmin):
    actions = [sync_with_verigator]
