"""A site is upgraded while it runs: what the migrations add, the code from before does not trip over."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection, migrations, models
from django.db.migrations.loader import MigrationLoader

import django_verigator

FOLDER = Path(django_verigator.__file__).parent / "migrations"
LATER = sorted(path.stem for path in FOLDER.glob("0*.py"))[1:]
ADDITIVE = (migrations.CreateModel, migrations.AddIndex, migrations.AddConstraint)


@pytest.mark.threat("R31", "R32")
@pytest.mark.parametrize("name", LATER)
def test_migration__only_adds_what_old_code_can_do_without(name):
    for operation in import_module(f"django_verigator.migrations.{name}").Migration.operations:
        if isinstance(operation, migrations.AddField):
            field = operation.field
            # The old code's INSERT does not name the column.
            assert field.null or field.db_default is not models.NOT_PROVIDED, operation.describe()
        else:
            assert isinstance(operation, ADDITIVE), operation.describe()


@pytest.mark.threat("R31", "R32")
def test_old_code__writes_into_the_new_tables_and_the_way_back_is_open(transactional_db, django_user_model):
    user = django_user_model.objects.create_user("alice", phone_number="+37255500067")
    user.verigator.delete()
    old = MigrationLoader(connection).project_state([("django_verigator", "0001_initial")]).apps
    old.get_model("django_verigator", "VerigatorUser").objects.create(user_id=user.pk, phone_number="+37255500067")
    old.get_model("django_verigator", "RemoteDeletion").objects.create(verigator_id="an id")
    try:
        call_command("migrate", "django_verigator", "0001", verbosity=0)
        call_command("migrate", "django_verigator", verbosity=0)
    finally:
        call_command("migrate", verbosity=0)
    user.refresh_from_db()
    assert user.verigator.phone_number == "+37255500067"
    assert user.verigator.site_phone_digest == ""
