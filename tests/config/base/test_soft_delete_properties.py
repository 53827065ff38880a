"""Property-based test of soft delete: names stay unique among live rows, and no row is lost or restored."""

from __future__ import annotations

from collections import Counter

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tiers.models import Tier

NAMES = st.sampled_from(["free", "pro", "team"])


class TierStateMachine(RuleBasedStateMachine):
    """Compares the table with a model of it: {pk: [name, is live]}."""

    def __init__(self):
        super().__init__()
        Tier.objects.all().hard_delete()
        self.rows = {}
        self.stale = {}

    def live_names(self):
        return {name for name, live in self.rows.values() if live}

    @rule(name=NAMES)
    def create(self, name):
        try:
            with transaction.atomic():
                tier = Tier.objects.create(name=name)
        except IntegrityError:
            assert name in self.live_names()
        else:
            assert name not in self.live_names()
            self.rows[tier.pk] = [name, True]

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def load(self, data):
        pk = data.draw(st.sampled_from(sorted(self.rows)))
        self.stale[pk] = Tier.objects.get(pk=pk)

    @precondition(lambda self: self.stale)
    @rule(data=st.data())
    def save_stale(self, data):
        pk = data.draw(st.sampled_from(sorted(self.stale)))
        self.stale[pk].save()

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def delete_one(self, data):
        pk = data.draw(st.sampled_from(sorted(self.rows)))
        count, _ = Tier.objects.get(pk=pk).delete()
        assert count == int(self.rows[pk][1])
        self.rows[pk][1] = False

    @rule(name=NAMES)
    def delete_by_query(self, name):
        count, _ = Tier.objects.filter(name=name).delete()
        assert count == sum(1 for row in self.rows.values() if row == [name, True])
        for row in self.rows.values():
            row[1] = row[1] and row[0] != name

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def restore(self, data):
        pk = data.draw(st.sampled_from(sorted(self.rows)))
        name, live = self.rows[pk]
        try:
            Tier.objects.get(pk=pk).restore()
        except ValidationError:
            assert not live
            assert name in self.live_names()
        else:
            assert live or name not in self.live_names()
            self.rows[pk][1] = True

    @invariant()
    def table_matches_model(self):
        rows = Tier.objects.values_list("pk", "name", "is_deleted", "deleted_at")
        assert {pk: [name, not deleted] for pk, name, deleted, _ in rows} == self.rows
        assert all(deleted == (at is not None) for _, _, deleted, at in rows)

    @invariant()
    def live_names_are_unique(self):
        assert all(count == 1 for count in Counter(Tier.objects.live().values_list("name", flat=True)).values())


class SoftDeleteProperties(TestCase):
    def test_sequences_of_operations(self):
        TierStateMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
        TierStateMachine.TestCase("runTest").runTest()
