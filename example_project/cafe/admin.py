from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin

from django_verigator.admin import SecondFactorMixin, sync_with_verigator

from .models import User


@admin.register(User)
class CafeUserAdmin(SecondFactorMixin, UserAdmin):
    # Django's own UserAdmin gets the action by itself; an admin of one's own lists it.
    actions = (sync_with_verigator,)
    list_display = ("username", "email", "is_staff")
    fieldsets = (*UserAdmin.fieldsets, ("Phone", {"fields": ("phone_number",)}))
    add_fieldsets = (*UserAdmin.add_fieldsets, ("Phone", {"fields": ("phone_number",)}))
