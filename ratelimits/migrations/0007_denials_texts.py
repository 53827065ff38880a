import config.base.validators
import django.core.validators
import django.db.models.deletion
import config.base.patterns
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ratelimits', '0006_folded_names'),
    ]

    operations = [
        migrations.RenameModel('Refusal', 'Denial'),
        migrations.AlterModelTable('Denial', 'rate_limit_denials'),
        migrations.RenameIndex('Denial', 'rate_limit_denials_newest', old_name='rate_limit_refusals_newest'),
        migrations.RenameField('Outage', 'let_through', 'allowed'),
        migrations.RenameField('Outage', 'refused', 'denied'),
        migrations.AlterField(
            model_name='denial',
            name='rate_limit',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='denials', to='ratelimits.ratelimit'),
        ),
        migrations.AlterField(
            model_name='outage',
            name='allowed',
            field=models.PositiveBigIntegerField(db_default=0, default=0),
        ),
        migrations.AlterField(
            model_name='outage',
            name='began_at',
            field=models.DateTimeField(verbose_name='started'),
        ),
        migrations.AlterField(
            model_name='outage',
            name='denied',
            field=models.PositiveBigIntegerField(db_default=0, default=0),
        ),
        migrations.AlterField(
            model_name='ratelimit',
            name='limit',
            field=models.PositiveIntegerField(help_text='Requests per period.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(2147483647)]),
        ),
        migrations.AlterField(
            model_name='ratelimit',
            name='method',
            field=models.CharField(blank=True, choices=[(None, 'Any method'), ('GET', 'GET'), ('POST', 'POST'), ('PUT', 'PUT'), ('PATCH', 'PATCH'), ('DELETE', 'DELETE'), ('OPTIONS', 'OPTIONS')], db_default='', default='', help_text='GET includes HEAD.', max_length=10),
        ),
        migrations.AlterField(
            model_name='ratelimit',
            name='mode',
            field=models.CharField(choices=[('enforce', 'Enforce'), ('observe', 'Observe only')], db_default='enforce', default='enforce', help_text='In observe mode, requests are counted and reported, but never denied.', max_length=10),
        ),
        migrations.AlterField(
            model_name='ratelimit',
            name='name',
            field=models.CharField(blank=True, help_text='Clients see it in the RateLimit header. Leave empty to generate a name.', max_length=100, validators=[config.base.validators.validate_name]),
        ),
        migrations.AlterField(
            model_name='ratelimit',
            name='path',
            field=models.CharField(help_text='For example /orders, /orders/{id} or /orders/*. {name} matches one segment, and * everything below.', max_length=255, validators=[config.base.patterns.validate_pattern]),
        ),
        migrations.AlterField(
            model_name='ratelimit',
            name='period',
            field=models.PositiveIntegerField(db_default=60, default=60, help_text='In seconds, up to 2,678,400 (31 days). A calendar month ignores it.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(2678400)]),
        ),
        migrations.AlterField(
            model_name='ratelimit',
            name='window',
            field=models.CharField(choices=[('rolling', 'Rolling'), ('fixed', 'Fixed'), ('month', 'Calendar month')], db_default='rolling', default='rolling', help_text='Rolling spreads requests evenly. Fixed and calendar month are quotas that reset by the UTC clock.', max_length=10),
        ),
        migrations.AlterConstraint(
            model_name='ratelimit',
            name='rate_limits_live_name_unique',
            constraint=models.UniqueConstraint(condition=models.Q(('deleted_at__isnull', True)), fields=('name',), name='rate_limits_live_name_unique', violation_error_code='unique', violation_error_message='Another rate limit has this name. Choose a different name.'),
        ),
        migrations.AlterConstraint(
            model_name='ratelimit',
            name='rate_limits_live_rule_unique',
            constraint=models.UniqueConstraint(condition=models.Q(('deleted_at__isnull', True)), fields=('tier', 'method', 'path', 'window', 'period'), name='rate_limits_live_rule_unique', violation_error_code='unique', violation_error_message='This tier already has a rate limit with this path, method, window and period. Edit that one instead.'),
        ),
        migrations.AlterConstraint(
            model_name='ratelimit',
            name='rate_limits_limit_positive',
            constraint=models.CheckConstraint(condition=models.Q(('limit__gte', 1)), name='rate_limits_limit_positive', violation_error_message='Enter a limit of 1 or more.'),
        ),
        migrations.AlterConstraint(
            model_name='ratelimit',
            name='rate_limits_period_in_range',
            constraint=models.CheckConstraint(condition=models.Q(('period__gte', 1), ('period__lte', 2678400)), name='rate_limits_period_in_range', violation_error_message='Enter a period from 1 to 2,678,400 seconds (31 days).'),
        ),
        migrations.AlterConstraint(
            model_name='ratelimit',
            name='rate_limits_window_known',
            constraint=models.CheckConstraint(condition=models.Q(('window__in', ['rolling', 'fixed', 'month'])), name='rate_limits_window_known', violation_error_message='Choose rolling, fixed or month.'),
        ),
        migrations.AlterConstraint(
            model_name='ratelimit',
            name='rate_limits_mode_known',
            constraint=models.CheckConstraint(condition=models.Q(('mode__in', ['enforce', 'observe'])), name='rate_limits_mode_known', violation_error_message='Choose enforce or observe.'),
        ),
        migrations.AlterConstraint(
            model_name='ratelimit',
            name='rate_limits_path_rooted',
            constraint=models.CheckConstraint(condition=models.Q(('path__startswith', '/')), name='rate_limits_path_rooted', violation_error_message='Start the path with a slash.'),
        ),
    ]
