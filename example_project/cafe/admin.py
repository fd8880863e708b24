from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin

from django_verigator.admin import second_step, sync_with_verigator

from .models import User


@admin.register(User)
class CafeUserAdmin(UserAdmin):
    # Django's own UserAdmin gets the action and the column by itself; an admin of one's own lists them.
    actions = (sync_with_verigator,)
    list_display = ("username", "email", second_step, "is_staff")
    list_select_related = ("verigator",)
    readonly_fields = (second_step,)
    fieldsets = (*UserAdmin.fieldsets, ("Phone", {"fields": ("phone_number", second_step)}))
    add_fieldsets = (*UserAdmin.add_fieldsets, ("Phone", {"fields": ("phone_number",)}))
