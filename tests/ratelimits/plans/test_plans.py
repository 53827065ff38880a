"""Plans can be exported to a file and applied from it, completely or not at all. Applying a file again changes nothing."""

from __future__ import annotations

import io
from io import StringIO

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.db import IntegrityError

from config.base.access import Permission
from ratelimits.models import RateLimit
from ratelimits.plans import files
from tests.rows import make_limit
from tiers.models import Tier, TierAccess

pytestmark = pytest.mark.django_db

PLANS = """\
tiers:
  - name: free
    description: To try things out
    max_keys: 2
    max_key_days: 90
    access:
      - read /orders/* at *.Example.com
      - create orders
    limits:
      - name: burst
        path: /orders/{id}/
        limit: 100
      - name: monthly
        host: api.example.com
        path: /*
        method: POST
        limit: 1000000
        unit: tokens
        window: month
        overall: true
        mode: observe
  - name: "123"
"""


@pytest.fixture
def apply(tmp_path, free, sue):
    """Apply a file. Returns what the command prints, with its error if it fails."""

    def apply(content, **options):
        path, out = tmp_path / "plans.yaml", StringIO()
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        try:
            call_command("apply_plans", str(path), stdout=out, **options)
        except CommandError as error:
            return f"{out.getvalue()}{error}"
        return out.getvalue()

    return apply


def export():
    out = StringIO()
    call_command("export_plans", stdout=out)
    return out.getvalue()


def access_of(tier):
    return {str(rule.permission) for rule in tier.access.all()}


def state():
    limits = RateLimit.objects.live().order_by("name").values("pk", "name", "path", "limit", "tier__name", "updated_at")
    access = TierAccess.objects.order_by("pk").values("pk", "tier", "action", "resource", "host")
    return list(limits), list(access), list(Tier.objects.order_by("pk").values("name", "updated_at", "deleted_at"))


def test_file_is_applied(apply, free, sue):
    output = apply(PLANS)
    assert "~ tier free: description: – → To try things out, keys per user: – → 2" in output
    assert "access: everything → create orders, read /orders/* at *.example.com" in output
    assert "+ rate limit burst of free: path: /orders/{id}, " in output
    assert "+ tier 123" in output
    assert "4 changes made." in output
    free.refresh_from_db()
    assert (free.description, free.max_keys, free.max_key_days) == ("To try things out", 2, 90)
    assert access_of(free) == {"read /orders/* at *.example.com", "create orders"}
    burst, monthly = RateLimit.objects.order_by("name")
    assert (burst.tier, burst.path, burst.limit, burst.period, burst.window) == (
        free,
        "/orders/{id}",
        100,
        60,
        "rolling",
    )
    assert (monthly.host, monthly.method, monthly.unit, monthly.window) == (
        "api.example.com",
        "POST",
        "tokens",
        "month",
    )
    assert (monthly.overall, monthly.mode, monthly.period) == (True, "observe", 2_678_400)
    assert access_of(Tier.objects.get(name="123")) == {"* *"}
    entries = {entry.object_repr: entry for entry in LogEntry.objects.all()}
    assert set(entries) == {"free", "123", "burst", "monthly"}
    assert {entry.user for entry in entries.values()} == {sue}
    assert "manage.py apply_plans" in entries["free"].change_message


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_applying_a_file_again_changes_nothing(apply, start, end):
    content = start + PLANS.encode().replace(b"\n", end)
    assert "4 changes made." in apply(content)
    before, entries = state(), LogEntry.objects.count()
    assert apply(content) == "No differences.\n"
    assert (state(), LogEntry.objects.count()) == (before, entries)


def test_applying_an_export_changes_nothing(apply, tmp_path):
    apply(PLANS)
    Tier.objects.create(name="Ünï: #1 'x'", description="no\nyes: [1]")
    make_limit(Tier.objects.create(name="old")).tier.rate_limits.all().delete()
    before, entries, text = state(), LogEntry.objects.count(), export()
    assert apply(text, prune=True) == "No differences.\n"
    assert (state(), LogEntry.objects.count(), export()) == (before, entries, text)
    call_command("export_plans", str(tmp_path / "out.yaml"))
    assert (tmp_path / "out.yaml").read_text(encoding="utf-8") == text
    with pytest.raises(CommandError, match=r"Couldn't write .*: No such file"):
        call_command("export_plans", str(tmp_path / "no" / "out.yaml"))


def test_export_is_readable(apply):
    apply(PLANS)
    assert "    access:\n    - create orders\n    - read /orders/* at *.example.com\n".replace("    ", "  ") in export()
    assert "  - name: burst\n    path: /orders/{id}\n    limit: 100\n" in export()


def test_dry_run_changes_nothing(apply):
    before = state()
    output = apply(PLANS, dry_run=True)
    assert "+ tier 123" in output
    assert "4 differences. Nothing was changed." in output
    assert (state(), LogEntry.objects.count()) == (before, 0)


def test_values_missing_in_the_file_are_kept(apply, free):
    apply(PLANS)
    before = state()
    assert (
        apply("tiers: [{name: free}]") == "  tier 123 isn't in the file. Add --prune to delete it.\nNo differences.\n"
    )
    output = apply("tiers: [{name: free, limits: }, {name: '123'}]")
    assert "  rate limit burst of free isn't in the file. Add --prune to delete it.\n" in output
    assert state() == before


def test_null_clears_a_field_and_an_empty_list_removes_all_access(apply, free):
    apply(PLANS)
    assert "2 → –" in apply("tiers: [{name: free, max_keys: null, description: ~, access: []}]")
    free.refresh_from_db()
    assert (free.max_keys, free.description, access_of(free)) == (None, "", set())


def test_prune_deletes_what_is_not_in_the_file(apply, free, pro):
    kept, gone, with_tier = make_limit(free, "/a"), make_limit(free, "/b"), make_limit(pro, "/c")
    output = apply(f"tiers: [{{name: free, limits: [{{name: {kept.name}, path: /a, limit: 10}}]}}]", prune=True)
    assert f"- rate limit {gone} of free" in output
    assert f"- rate limit {with_tier} of pro" in output
    assert "- tier pro" in output
    assert list(RateLimit.objects.live()) == [kept]
    assert list(Tier.objects.live()) == [free]
    assert LogEntry.objects.filter(change_message__contains="Not in the file.").count() == 3


def test_prune_does_not_delete_tiers_in_use(apply, free, pro, alice):
    type(alice).objects.filter(pk=alice.pk).update(tier=pro)
    before = state()
    output = apply("tiers: [{name: free}]", prune=True)
    assert "The tier “pro” can't be deleted because 1 user" in output
    assert "Nothing was changed." in output
    output = apply("tiers: [{name: pro}]", prune=True)
    assert "New users get the tier “free”" in output
    assert state() == before


def test_limits_keep_their_row_when_they_change(apply, free):
    one, two = make_limit(free, "/a", name="one"), make_limit(free, "/b", name="two")
    output = apply(
        "tiers: [{name: free, limits: [{name: one, path: /b, limit: 10}, {name: two, path: /a, limit: 10}]}]"
    )
    assert "~ rate limit one of free: path: /a → /b" in output
    one.refresh_from_db()
    two.refresh_from_db()
    assert (one.path, two.path) == ("/b", "/a")


def test_limit_can_be_renamed_or_have_no_name(apply, free):
    limit = make_limit(free, "/a/{id}", name="one")
    assert "~ rate limit two of free: name: one → two" in apply(
        "tiers: [{name: free, limits: [{name: two, path: '/a/{id}', limit: 10}]}]"
    )
    assert "limit: 10 → 20" in apply("tiers: [{name: free, limits: [{path: '/a/{id}', limit: 20}]}]")
    limit.refresh_from_db()
    assert (limit.name, limit.limit) == ("two", 20)
    assert "+ rate limit /new of free" in apply("tiers: [{name: free, limits: [{path: /new, limit: 20}]}]")


INVALID = [
    (
        "tiers: [{name: free, limits: [{path: /a, limit: 1, unit: pounds}]}]",
        "limits[0].unit",
        "Enter one of requests, tokens, microcents.",
    ),
    (
        "tiers: [{name: free, limits: [{path: /a, limit: 1, window: decade}]}]",
        "limits[0].window",
        "Enter one of rolling, fixed, week, month, total.",
    ),
    (
        "tiers: [{name: free, limits: [{path: /a, limit: 1, window: total}]}]",
        "limits[0].window",
        "only for a user's own",
    ),
    ("tiers: [{name: free, limits: [{path: /a, limit: 1, unit: tokens}]}]", "limits[0]", "Choose a fixed window"),
    (
        "tiers: [{name: free, limits: [{path: /a, limit: 1, method: get}]}]",
        "limits[0].method",
        "Enter one of GET, POST,",
    ),
    (
        "tiers: [{name: free, limits: [{path: /a, limit: 1, mode: hard}]}]",
        "limits[0].mode",
        "Enter one of enforce, observe.",
    ),
    ("tiers: [{name: free, limits: [{path: /a, limit: 0}]}]", "limits[0].limit", "Enter 1 or more."),
    ("tiers: [{name: free, limits: [{path: /a, limit: -5}]}]", "limits[0].limit", "Enter 1 or more."),
    (f"tiers: [{{name: free, limits: [{{path: /a, limit: {2**63}}}]}}]", "limits[0].limit", " or less."),
    ("tiers: [{name: free, limits: [{path: /a, limit: 1.5}]}]", "limits[0].limit", "Enter a whole number."),
    ("tiers: [{name: free, limits: [{path: /a, limit: [1]}]}]", "limits[0].limit", "Enter a whole number."),
    (
        "tiers: [{name: free, limits: [{path: /a, limit: 1, period: 9999999}]}]",
        "limits[0].period",
        "from 1 second to 31 days",
    ),
    (
        "tiers: [{name: free, limits: [{path: /a, limit: 1, overall: yes}]}]",
        "limits[0].overall",
        "Enter true or false.",
    ),
    ("tiers: [{name: free, limits: [{path: a*, limit: 1}]}]", "limits[0].path", "Start the path with a slash"),
    ("tiers: [{name: free, limits: [{limit: 1}]}]", "limits[0]", "“path” is missing."),
    ("tiers: [{name: free, limits: [{path: '', limit: 1}]}]", "limits[0]", "“path” is missing."),
    ("tiers: [{name: free, limits: [{path: /a, limit: 1, user: bob}]}]", "limits[0].user", "“user” isn't known here."),
    (
        "tiers: [{name: free, limits: [{path: /a, limit: 1, host: 'a.example:80'}]}]",
        "limits[0].host",
        "Remove the port.",
    ),
    (
        "tiers: [{name: free, limits: [{path: /a, limit: 1, host: 'http://a.b'}]}]",
        "limits[0].host",
        "Remove the scheme",
    ),
    ("tiers: [{name: free, limits: [{path: /a, limit: 1, host: a.example/v1}]}]", "limits[0].host", "Remove the path."),
    (
        "tiers: [{name: free, limits: [{path: /a, limit: 1, host: a.*.example}]}]",
        "limits[0].host",
        "Use * only as the first",
    ),
    (
        "tiers: [{name: free, limits: [{path: /a, limit: 1}, {path: /a, limit: 2}]}]",
        "limits[1]",
        "has the same host, path",
    ),
    (
        "tiers: [{name: free, limits: [{path: '/a/{x}', limit: 1}, {path: '/a/{y}', limit: 2}]}]",
        "limits[1]",
        "The rate limit on line 1 has the same host",
    ),
    (
        "tiers: [{name: free, limits: [{name: x, path: /a, limit: 1}, {name: x, path: /b, limit: 2}]}]",
        "limits[1].name",
        "“x” is given twice, first on line 1.",
    ),
    (
        "tiers: [{name: free, limits: [{path: /a, limit: 1}, {path: /taken, limit: 1, name: taken}]}]",
        "limits[1].name",
        "Another rate limit has this name.",
    ),
    ("tiers: [{name: free, limits: {path: /a}}]", "limits", "Enter a list. Each of its lines begins with a hyphen."),
    ("tiers: [{name: free, limits: [x]}]", "limits[0]", "Enter keys such as host"),
    ("tiers: [{name: free, max_keys: 0}]", "max_keys", "Enter 1 or more."),
    ("tiers: [{name: free, max_keys: many}]", "max_keys", "Enter a whole number."),
    (f"tiers: [{{name: free, max_key_days: {2**63}}}]", "max_key_days", " or less."),
    ("tiers: [{name: free, colour: red}]", "colour", "“colour” isn't known here. Use access, description"),
    ("tiers: [{name: free, description: [a]}]", "description", "Enter text, not a list or keys."),
    (f"tiers: [{{name: {'x' * 51}}}]", "name", "at most 50 characters"),
    ("tiers: [{description: a}]", "tiers[0]", "“name” is missing."),
    ("tiers: [{name: free}, {name: free}]", "tiers[1].name", "“free” is given twice, first on line 1."),
    ("tiers: [{name: free, access: [read]}]", "access[0]", "“read” isn't an action and a resource"),
    ("tiers: [{name: free, access: [[read]]}]", "access[0]", "Enter an action and a resource as text"),
    ("tiers: [{name: free, access: [fly /a]}]", "access[0]", "Choose read, create, update, delete or *."),
    ("tiers: [{name: free, access: [read /a*]}]", "access[0]", "Use * only as the last segment"),
    ("tiers: [{name: free, access: ['read /a at b.example:1']}]", "access[0]", "Remove the port."),
    ("tiers: [{name: free, access: [read /a, read /a]}]", "access[1]", "“read /a” is given twice"),
    (
        f"tiers: [{{name: free, access: [{', '.join(f'read r{n}' for n in range(201))}]}}]",
        "tiers[0]",
        "at most 200 access",
    ),
    ("tier: []", "tier", "“tier” isn't known here. Use tiers."),
    ("[]", "", "Enter keys such as tiers, each with a colon and a value."),
    ("tiers: []\ntiers: []", "", "“tiers” is given twice."),
    ("? [a]\n: b", "", "A key must be text."),
    ("tiers: &a [*a]", "tiers[0]", "Aliases (*) aren't supported."),
    ("tiers: !!python/object/apply:os.system [ls]", "tiers", "Tags (!) aren't supported."),
    ("tiers: " + "[" * 11 + "]" * 11, "[0]", "Nest at most 10 levels."),
    ("tiers: [", "", "This isn't valid YAML: "),
    ("tiers: \x07", "", "This isn't valid YAML: "),
    ("", "", "The file is empty."),
    ("a: 1\n---\nb: 1", "", "A file can have only one document."),
    (b"tiers: \xe9", "", "The file isn't in UTF-8."),
]


@pytest.mark.parametrize(
    ("content", "place", "output"),
    INVALID,
    ids=[f"{number} {output[:30]}" for number, (_, _, output) in enumerate(INVALID)],
)
def test_error_has_its_line_and_nothing_changes(apply, pro, content, place, output):
    make_limit(pro, "/taken", name="taken")
    before = state()
    printed = apply(content)
    assert output in printed
    assert place in printed
    assert "Line " in printed
    assert "Nothing was changed." in printed
    assert (state(), LogEntry.objects.count()) == (before, 0)


def test_error_has_line_and_column_of_the_file(apply):
    output = apply("tiers:\n  - name: free\n    limits:\n      - path: /a\n        limit: 1\n        unit: pounds\n")
    assert "Line 6, column 15 (tiers[0].limits[0].unit): “pounds” isn't a valid unit." in output


def test_all_errors_are_listed_in_order(apply):
    output = apply("tiers:\n- name: free\n  limits:\n  - {path: /a, limit: x}\n- name: b\n  max_keys: x\n- colour: x\n")
    assert [line.partition(",")[0] for line in output.splitlines()[:-1]] == ["Line 4", "Line 6", "Line 7", "Line 7"]


def test_limit_that_would_never_apply_is_rejected(apply):
    output = apply(
        "tiers: [{name: free, limits: [{path: /a/*, limit: 1}, {path: /a, limit: 1}, {path: '/a/{x}/*', limit: 1}]}]"
    )
    assert "Line 1, column 38 (tiers[0].limits[0].path): This rate limit would never apply" in output
    assert not RateLimit.objects.exists()


def test_hosts_are_normalized(apply, free):
    text = "tiers: [{name: free, limits: [{path: /a, limit: 1, host: Bücher.Example.}]}]"
    apply(text)
    assert RateLimit.objects.get().host == "xn--bcher-kva.example"
    assert apply(text) == "No differences.\n"


def test_file_with_too_many_limits_is_rejected(apply, monkeypatch):
    monkeypatch.setattr(files, "MAX_LIMITS", 1)
    text = "tiers: [{name: free, limits: [{path: /a, limit: 1}]}, {name: x, limits: [{path: /a, limit: 1}]}]"
    assert "Line 1, column 1: A file can have at most 1 rate limits." in apply(text)
    assert not RateLimit.objects.exists()


def test_large_file_is_rejected(apply, monkeypatch):
    monkeypatch.setattr("ratelimits.management.commands.apply_plans.MAX_FILE_SIZE", 2**20)
    assert "is too large. A file can have up to 1 MB." in apply(b"#" * (2**20 + 1))
    assert "too large" not in apply(b"#" * 2**20)


def test_plans_can_be_read_from_standard_input(free, sue, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"tiers: [{name: x}]")))
    call_command("apply_plans", "-")
    assert "+ tier x" in capsys.readouterr().out
    with pytest.raises(CommandError, match=r"Couldn't read none\.yaml: No such file"):
        call_command("apply_plans", "none.yaml")


def test_history_has_the_given_author(apply, alice):
    apply("tiers: [{name: x}]", author="ALICE")
    assert LogEntry.objects.get().user == alice
    assert "There is no user with the username “nobody”." in apply("tiers: [{name: y}]", author="nobody")


def test_no_history_without_a_superuser(apply, sue):
    sue.delete()
    assert "+ tier x" in apply("tiers: [{name: x, limits: [{path: /a, limit: 1}]}]")
    assert "- tier x" in apply("tiers: [{name: free}]", prune=True)
    assert not LogEntry.objects.exists()


def test_database_error_is_reported(apply, monkeypatch):
    def refuse(*arguments, **options):
        raise IntegrityError("no")

    monkeypatch.setattr(RateLimit, "save", refuse)
    output = apply("tiers: [{name: free, limits: [{path: /a, limit: 1}]}]")
    assert "Line 1, column 1: The database rejected this file: no" in output


def test_limit_of_a_pruned_tier_can_be_moved(apply, free, pro):
    make_limit(pro, "/a", name="mine")
    assert "3 changes made." in apply("tiers: [{name: free, limits: [{name: mine, path: /a, limit: 10}]}]", prune=True)
    assert RateLimit.objects.live().get().tier == free


def test_unchanged_access_keeps_its_row(apply, free):
    first = TierAccess.objects.get(tier=free)
    apply("tiers: [{name: free, access: ['* *', 'read /a']}]")
    assert TierAccess.objects.filter(tier=free).count() == 2
    assert TierAccess.objects.get(pk=first.pk).permission == Permission("*", "*")
