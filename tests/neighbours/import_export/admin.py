from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from import_export.admin import ImportExportModelAdmin
from import_export.resources import ModelResource

from django_verigator.admin import sync_with_verigator
from tests.site.models import User


class UserResource(ModelResource):
    class Meta:
        model = User
        fields = ["id", "username", "phone_number"]


class UserAdmin(ImportExportModelAdmin, BaseUserAdmin):
    resource_classes = [UserResource]
    actions = [sync_with_verigator]


admin.site.unregister(User)
admin.site.register(User, UserAdmin)
