from __future__ import annotations

import datetime as dt

from django.db import models
from django.utils import timezone


class Job(models.Model):
    """A regular job: when it's due, how its last run ended, and which process runs it now.

    apikeys/jobs/schedule.py says what a job does and how often.
    """

    name = models.CharField(max_length=50, primary_key=True)
    next_at = models.DateTimeField("next run", default=timezone.now)
    began_at = models.DateTimeField("last run", null=True)
    duration = models.DurationField(null=True)
    is_ok = models.BooleanField("succeeded", null=True)
    output = models.TextField(default="", db_default="")
    # The process that runs it; it must prolong its lease, or another one may run the job.
    runner = models.CharField(max_length=100, default="", db_default="")
    leased_until = models.DateTimeField(null=True)

    class Meta:
        db_table = "jobs"
        ordering = ("name",)
        default_permissions = ("view",)
        permissions = (("run_job", "Can run jobs now"),)

    def __str__(self) -> str:
        return self.name

    @property
    def is_running(self) -> bool:
        return self.leased_until is not None and self.leased_until > timezone.now()

    def is_overdue(self, grace: dt.timedelta) -> bool:
        """Whether nothing has run it, although it has been due for longer than `grace`."""
        return not self.is_running and self.next_at + grace < timezone.now()
