from django.db import migrations, models

import django_verigator.models


class Migration(migrations.Migration):
    """The attribute has another name, the column keeps its own: code from before can go on writing it."""

    dependencies = [
        ('django_verigator', '0006_challenge_last_form'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RenameField('challenge', 'epoch', 'trust_version'),
                migrations.RenameField('trustedbrowser', 'epoch', 'trust_version'),
                migrations.RenameField('verigatoruser', 'epoch', 'trust_version'),
                migrations.AlterField(
                    model_name='challenge',
                    name='trust_version',
                    field=models.CharField(db_column='epoch', editable=False, max_length=32),
                ),
                migrations.AlterField(
                    model_name='trustedbrowser',
                    name='trust_version',
                    field=models.CharField(db_column='epoch', editable=False, max_length=32),
                ),
                migrations.AlterField(
                    model_name='verigatoruser',
                    name='trust_version',
                    field=models.CharField(db_column='epoch', default=django_verigator.models.new_trust_version, editable=False, max_length=32),
                ),
            ],
        ),
    ]
