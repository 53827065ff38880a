"""Imports point down only: config/base_* ← tiers ← accounts, ratelimits ← apikeys ← config/urls, admin_site."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(__file__).resolve().parents[2]
APPS = ("tiers", "accounts", "ratelimits", "apikeys")
MAY_IMPORT = {
    "base": {"base"},
    "tiers": {"base", "tiers"},
    "ratelimits": {"base", "tiers", "ratelimits"},
    # Sign-in is throttled by the project's own limiter; the limiter knows nothing of accounts.
    "accounts": {"base", "tiers", "ratelimits", "accounts"},
    "apikeys": {"base", "tiers", "ratelimits", "accounts", "apikeys"},
}
# What config's lower half consists of beside base_*: middleware is below all apps, as base_templatetags reads its request id.
LOW = {"middleware", "context_processors"}


def layer(module):
    package, _, rest = module.partition(".")
    if package in APPS:
        return package
    if package == "config":
        name = rest.partition(".")[0]
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
            if layer(module) not in {None, "top"}:
                yield pytest.param(path, layer(module), id=module)


@pytest.mark.parametrize(("path", "own"), list(source_files()))
def test_a_module_imports_only_from_its_own_layer_and_below(path, own):
    reached = {layer(module) for module in modules_of(ast.parse(path.read_text()))} - {None}
    assert reached <= MAY_IMPORT[own], f"{path.name} of {own} imports {sorted(reached - MAY_IMPORT[own])}"


@pytest.mark.parametrize(
    ("module", "expected"),
    [("config.base_models", "base"), ("config.urls", "top"), ("apikeys.models", "apikeys"), ("django.db", None)],
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
