"""Imports point down only: config/base_* ← tiers ← accounts, ratelimits ← apikeys ← config/urls, admin_site, wsgi.

Inside an app they point down too: models and services know nothing of forms, forms nothing of views.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(__file__).resolve().parents[2]
APPS = ("tiers", "accounts", "ratelimits", "apikeys")
MAY_IMPORT = {
    # Needs nothing but Python, so that everybody may use it, gunicorn's master too.
    "bare": {"bare"},
    "base": {"base", "bare"},
    "tiers": {"bare", "base", "tiers"},
    "ratelimits": {"bare", "base", "tiers", "ratelimits"},
    # Sign-in is throttled by the project's own limiter; the limiter knows nothing of accounts.
    "accounts": {"bare", "base", "tiers", "ratelimits", "accounts"},
    "apikeys": {"bare", "base", "tiers", "ratelimits", "accounts", "apikeys"},
    "top": {"bare", "base", "tiers", "ratelimits", "accounts", "apikeys", "top"},
    # Read before Django is set up, or by a process that must not load the application.
    "start": {"start", "bare"},
}
# What config's lower half consists of beside base_*: middleware is below all apps, as base_templatetags reads its request id.
LOW = {"middleware", "context_processors"}
START = {"settings", "environment", "databases", "gunicorn", "write_env"}
# The rooms of an app, the lowest first; a module belongs to the last of them whose name its own ends with.
ROOMS = ("models", "services", "forms", "filters", "views", "admin", "urls")
PRESENTING = {"views", "admin", "urls"}


def layer(module):
    package, _, rest = module.partition(".")
    if package in APPS:
        return package
    if package == "config":
        name = rest.partition(".")[0]
        if name in START:
            return "start"
        if name in {"base_logs", "base_files"}:
            return "bare"
        return "base" if name.startswith("base_") or name in LOW else "top"
    return None


def modules_of(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "config":
                yield from (f"config.{alias.name}" for alias in node.names)
            else:
                yield node.module


def source_files():
    for package in (*APPS, "config"):
        for path in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            if layer(module) is not None:
                yield pytest.param(path, layer(module), id=module)


@pytest.mark.parametrize(("path", "own"), list(source_files()))
def test_a_module_imports_only_from_its_own_layer_and_below(path, own):
    reached = {layer(module) for module in modules_of(ast.parse(path.read_text()))} - {None}
    assert reached <= MAY_IMPORT[own], f"{path.name} of {own} imports {sorted(reached - MAY_IMPORT[own])}"


def room(module):
    name = module.rpartition(".")[2]
    return next((word for word in reversed(ROOMS) if name.endswith(word)), None)


@pytest.mark.parametrize(("path", "own"), list(source_files()))
def test_models_services_and_forms_know_no_views(path, own):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    if room(module) not in PRESENTING and own in APPS:
        ours = {name for name in modules_of(ast.parse(path.read_text())) if layer(name) in APPS}
        assert {name for name in ours if room(name) in PRESENTING} == set()


@pytest.mark.parametrize(("path", "own"), list(source_files()))
def test_an_import_inside_a_function_has_its_reason_beside_it(path, own):
    lines = path.read_text().splitlines()
    inner = [
        line
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for line in [node.lineno]
    ]
    # On its own line, or on the one above the first of a few.
    assert [line for line in inner if not has_reason(lines, line, inner)] == []


def has_reason(lines, line, inner):
    above = line - 1
    while above in inner or not lines[above - 1].strip():
        above -= 1
    return "(" in lines[line - 1].partition("noqa")[2] or lines[above - 1].strip().startswith("#")


def test_no_two_modules_import_each_other():
    graph = {}
    for parameter in source_files():
        path = parameter.values[0]
        tree = ast.parse(path.read_text())
        tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        graph[module] = {name for name in imported(tree) if layer(name) is not None}
    with_circles = set(graph)
    while free := {name for name in with_circles if not graph[name] & with_circles - {name}}:
        with_circles -= free
    assert with_circles == set()


def imported(tree):
    """Modules, also those that are taken from a package by name (`from accounts import rights`)."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and (ROOT / node.module.replace(".", "/")).is_dir():
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from modules_of(ast.Module(body=[node], type_ignores=[]))


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("config.base_models", "base"),
        ("config.urls", "top"),
        ("config.settings", "start"),
        ("apikeys.models", "apikeys"),
        ("django.db", None),
    ],
)
def test_the_layer_of_a_module(module, expected):
    assert layer(module) == expected


def test_an_import_of_a_higher_layer_is_seen():
    tree = ast.parse("from config import base_text, urls\ndef f():\n    import apikeys.models\n")
    assert {layer(module) for module in modules_of(tree)} == {"base", "top", "apikeys"}


def test_config_is_no_app_with_models():
    assert "config" not in settings.INSTALLED_APPS
    assert not list((ROOT / "config").rglob("migrations"))


def test_there_is_no_junk_drawer():
    banned = {"utils.py", "common.py", "helpers.py", "signals.py"}
    found = [path for app in (*APPS, "config") for path in (ROOT / app).rglob("*.py") if path.name in banned]
    assert found == []
