"""Files, links, commands, variables and pages that the documentation mentions exist, and its index is complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.management import get_commands
from django.urls import Resolver404, resolve

from apikeys.jobs.schedule import scheduled

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
OURS = {name for name, app in get_commands().items() if app in {"tiers", "accounts", "ratelimits", "apikeys"}}
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)")
COMMAND = re.compile(r"manage\.py ([a-z_]+)")
# A path of a file in one of these directories.
PLACE = re.compile(r"(?:config|accounts|tiers|ratelimits|apikeys|templates|static|tests|benchmarks|docs)/[\w./-]+\.\w+")
VARIABLE = re.compile(r"[A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9]")
# Settings of Django and allauth, a variable of the FastAPI starter, placeholders.
FOREIGN = {"MFA_RATE_LIMITS", "ACCOUNT_RATE_LIMITS", "CREATE_TABLES_ON_STARTUP", "NAME", "OAUTH_GITHUB"}
EXAMPLE = (ROOT / ".env.example").read_text()
TESTS_OWN = {"TEST_POSTGRES_URL", "TEST_DATABASE_URL", "TEST_REDIS_URL", "REQUIRE_SERVICES"}
VARIABLES = set(re.findall(r"^(?:# )?([A-Z_0-9]+)=", EXAMPLE, re.MULTILINE)) | FOREIGN | TESTS_OWN

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


@each_document
def test_relative_links_exist(document):
    links = [link for link in LINK.findall(document.read_text()) if "://" not in link]
    assert [link for link in links if not (document.parent / link).exists()] == []


@each_document
def test_mentioned_files_exist(document):
    named = {place for code in CODE.findall(document.read_text()) for place in PLACE.findall(code)}
    assert [place for place in sorted(named) if not (ROOT / place).exists()] == []


@each_document
def test_mentioned_commands_exist(document):
    assert set(COMMAND.findall(document.read_text())) <= set(get_commands())


@each_document
def test_mentioned_variables_are_in_env_example(document):
    named = {name for code in CODE.findall(document.read_text()) for name in VARIABLE.findall(code)}
    assert {name for name in named if not {name, name.removesuffix("_FILE")} & VARIABLES} == set()


@each_document
def test_mentioned_pages_exist(document):
    paths = {code for code in CODE.findall(document.read_text()) if re.fullmatch(r"/[a-z][a-z/-]*/", code)}
    ours = [path for path in paths if path.startswith(("/admin/", "/users/", "/account/", "/accounts/"))]
    assert [path for path in ours if not resolves(path)] == []


def resolves(path):
    try:
        return bool(resolve(path))
    except Resolver404:
        return False


def test_the_index_lists_every_page():
    index = ROOT / "docs" / "README.md"
    listed = {(index.parent / link).resolve() for link in LINK.findall(index.read_text())}
    assert [page.name for page in (ROOT / "docs").rglob("*.md") if page != index and page.resolve() not in listed] == []


def test_every_command_is_documented():
    text = "".join(document.read_text() for document in DOCUMENTS) + (ROOT / "Makefile").read_text()
    assert [name for name in sorted(OURS) if not re.search(rf"\b{name}\b", text)] == []


def test_scheduled_jobs_are_documented_and_run_by_compose(settings):
    settings.KEEP_USAGE_DAYS = settings.KEEP_DELETED_DAYS = 90
    documented = set(COMMAND.findall((ROOT / "docs" / "deployment.md").read_text()))
    assert {job.name for job in scheduled()} <= documented
    assert '"manage.py", "run_jobs"' in (ROOT / "compose.yaml").read_text()


def test_compose_passes_on_every_variable():
    """Except for variables of paths and addresses in the container, which are fixed."""
    # The service “jobs” replaces RUN_JOBS. GATE_CONCURRENCY is WEB_CONCURRENCY of the service “gate”.
    fixed = {
        "RUN_JOBS",
        "GATE_CONCURRENCY",
        "DEBUG",
        "ENV_FILE",
        "VAR_DIR",
        "STATIC_ROOT",
        "BIND",
        "NODES",
        "DATABASE_URL",
        "POSTGRES_PORT",
    }
    passed = set(re.findall(r"^ {4}([A-Z_0-9]+): ", (ROOT / "compose.yaml").read_text(), re.MULTILINE))
    assert set(re.findall(r"^(?:# )?([A-Z_0-9]+)=", EXAMPLE, re.MULTILINE)) - passed - fixed == set()


def test_mentioned_make_targets_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    phony = set(re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split())
    named = {
        name for document in DOCUMENTS for name in re.findall(r"\bmake ([a-z]+)(?=`| {2,}|$)", document.read_text())
    }
    assert named <= targets
    assert phony == targets


def test_the_patterns_match():
    text = "See `config/nowhere.py`, `manage.py no_such_command`, `NO_SUCH_VARIABLE`, [x](nowhere.md)."
    assert PLACE.findall(text) == ["config/nowhere.py"]
    assert COMMAND.findall(text) == ["no_such_command"]
    assert VARIABLE.findall(text) == ["NO_SUCH_VARIABLE"]
    assert LINK.findall(text) == ["nowhere.md"]
