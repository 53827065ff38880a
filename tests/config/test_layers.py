"""Apps and their subpackages only import from lower layers, and every module is in a layer listed here."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("config", "tiers", "ratelimits", "accounts", "apikeys")

# Apps only import from apps before them in this list. The last entry can import from all.
ORDER = ("config.base", "tiers", "ratelimits", "accounts", "apikeys", "config.staff")
# For each layer: its modules, and the other layers that it can import from. A module belongs to the layer with the longest
# prefix of its name.
BASE = ("bare", "base")
TIERS = (*BASE, "tiers")
RATELIMITS = (*TIERS, "ratelimits", "stores")
ACCOUNTS = (*RATELIMITS, "accounts", "signin", "profile", "accounts.staff")
KEYS = (*ACCOUNTS, "apikeys")
APPS = (
    *KEYS,
    "decision",
    "usage",
    "jobs",
    "gateway",
    "pages",
    "tools",
    "tiers.admin",
    "ratelimits.pages",
    "plans",
    "ratelimits.admin",
)
APPS = (*APPS, "accounts.admin", "apikeys.admin")
LAYERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # Only needs Python, so gunicorn's master can import it too.
    "bare": (
        (
            "config.base.asgi",
            "config.base.logs",
            "config.base.files",
            "config.base.metric_files",
            "config.base.numbers",
        ),
        (),
    ),
    # Imported before Django is set up, or by a process that must not load the application.
    "start": (
        (
            "config.settings",
            "config.databases",
            "config.environment",
            "config.gunicorn",
            "config.workers",
            "config.write_env",
        ),
        ("bare",),
    ),
    "server": (("config.threads", "config.wsgi"), ("bare",)),
    "base": (("config.base", "config.middleware"), ("bare",)),
    "tiers": (("tiers",), BASE),
    "tiers.admin": (("tiers.admin", "tiers.forms"), TIERS),
    "stores": (("ratelimits.stores",), (*TIERS, "ratelimits")),
    "ratelimits": (("ratelimits", "ratelimits.models"), (*TIERS, "stores")),
    "ratelimits.pages": (("ratelimits.pages",), RATELIMITS),
    "plans": (("ratelimits.plans",), RATELIMITS),
    "ratelimits.admin": (
        ("ratelimits.admin", "ratelimits.apps", "ratelimits.checks", "ratelimits.management"),
        (*RATELIMITS, "ratelimits.pages", "plans", "tiers.admin"),
    ),
    "accounts": (("accounts",), RATELIMITS),
    "signin": (("accounts.signin",), (*RATELIMITS, "accounts")),
    "profile": (("accounts.profile",), (*RATELIMITS, "accounts", "signin")),
    "accounts.staff": (("accounts.staff",), (*RATELIMITS, "ratelimits.pages", "accounts", "signin", "profile")),
    "accounts.admin": (("accounts.admin", "accounts.apps", "accounts.management"), ACCOUNTS),
    "apikeys": (("apikeys", "apikeys.models", "apikeys.secrets"), ACCOUNTS),
    "decision": (("apikeys.decision",), KEYS),
    "usage": (("apikeys.usage",), KEYS),
    "gateway": (("apikeys.gateway",), (*KEYS, "decision", "usage")),
    "pages": (("apikeys.pages",), (*KEYS, "decision", "usage")),
    "jobs": (("apikeys.jobs",), KEYS),
    "tools": (("apikeys.tools",), (*KEYS, "decision", "usage", "gateway", "pages")),
    "apikeys.admin": (
        ("apikeys.admin", "apikeys.apps", "apikeys.management"),
        (*KEYS, "decision", "usage", "jobs", "gateway", "pages", "tools"),
    ),
    "top": (
        (
            "config.apps",
            "config.checks",
            "config.health",
            "config.metrics",
            "config.staff",
            "config.urls",
            "config.asgi",
        ),
        (*APPS, "server"),
    ),
}
# Inside a layer, models and services don't import forms, and forms don't import views.
ROLES = ("models", "services", "forms", "filters", "views", "admin", "urls")
PRESENTING = {"views", "admin", "urls"}


def layer_of(module):
    found = [
        (len(prefix), name)
        for name, (prefixes, _) in LAYERS.items()
        for prefix in prefixes
        if module == prefix or module.startswith(f"{prefix}.")
    ]
    return max(found)[1] if found else None


def module_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def is_module(name):
    return (ROOT / name.replace(".", "/")).with_suffix(".py").exists() or (ROOT / name.replace(".", "/")).is_dir()


def imported(node):
    """The modules of this project that a statement imports, including `from package import module`."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module:
        names = [
            name if is_module(name) else node.module for alias in node.names for name in [f"{node.module}.{alias.name}"]
        ]
    else:
        names = []
    return {name for name in names if name.partition(".")[0] in PACKAGES}


def imports_of(tree):
    return set().union(*(imported(node) for node in ast.walk(tree)))


def source_files():
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "migrations" not in path.parts and path.read_text():
                yield pytest.param(path, id=module_of(path))


@pytest.mark.parametrize("path", list(source_files()))
def test_modules_only_import_from_their_own_and_lower_layers(path):
    own = layer_of(module_of(path))
    assert own is not None, "This module is in no layer: add it to LAYERS."
    reached = {layer_of(module) for module in imports_of(ast.parse(path.read_text()))} - {own}
    assert reached <= set(LAYERS[own][1]), f"{own} imports {sorted(map(str, reached - set(LAYERS[own][1])))}"


@pytest.mark.parametrize("path", list(source_files()))
def test_modules_do_not_import_from_later_apps(path):
    own = app_index(module_of(path))
    above = [module for module in imports_of(ast.parse(path.read_text())) if (app_index(module) or 0) > (own or 0)]
    assert own is None or above == []


def app_index(module):
    """The index of the module's app in ORDER, or None for the rest of config, which isn't an app."""
    return next((place for place, app in enumerate(ORDER) if f"{module}.".startswith(f"{app}.")), None)


def test_every_layer_has_modules():
    assert {layer_of(parameter.id) for parameter in source_files()} == set(LAYERS)


def test_every_package_is_listed():
    named = {prefix for prefixes, _ in LAYERS.values() for prefix in prefixes}
    folders = {module_of(parameter.values[0].parent) for parameter in source_files()}
    outer = {name for name in folders if not is_inside_management(name)} - {"config"}
    assert outer <= named, sorted(outer - named)


def is_inside_management(name):
    return ".management" in name


@pytest.mark.parametrize("package", ["accounts", "ratelimits", "apikeys"])
def test_apps_have_at_most_18_entries_at_the_top(package):
    shown = [path for path in (ROOT / package).iterdir() if path.name != "__pycache__"]
    assert len(shown) <= 18, sorted(path.name for path in shown)


def role(module):
    name = module.rpartition(".")[2]
    return next((word for word in reversed(ROLES) if name.endswith(word)), None)


@pytest.mark.parametrize("path", list(source_files()))
def test_models_services_and_forms_do_not_import_views(path):
    module = module_of(path)
    if role(module) not in PRESENTING and not module.startswith("config"):
        ours = {name for name in imports_of(ast.parse(path.read_text())) if not name.startswith("config")}
        assert {name for name in ours if role(name) in PRESENTING} == set()


@pytest.mark.parametrize("path", list(source_files()))
def test_imports_inside_functions_have_a_reason(path):
    lines = path.read_text().splitlines()
    inner = [
        line
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for line in [node.lineno]
    ]
    # On the same line, or above the first of several imports.
    assert [line for line in inner if not has_reason(lines, line, inner)] == []


def has_reason(lines, line, inner):
    above = line - 1
    while above in inner or not lines[above - 1].strip():
        above -= 1
    return "(" in lines[line - 1].partition("noqa")[2] or lines[above - 1].strip().startswith("#")


def outside_functions(node):
    """The statements of a module, including those under `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from outside_functions(child)


def test_there_are_no_circular_imports():
    graph = {}
    for parameter in source_files():
        path = parameter.values[0]
        nodes = outside_functions(ast.parse(path.read_text()))
        graph[module_of(path)] = set().union(*(imported(node) for node in nodes)) - {module_of(path)}
    in_cycles = set(graph)
    while free := {name for name in in_cycles if not graph[name] & in_cycles}:
        in_cycles -= free
    assert in_cycles == set()


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("config.base.models", "base"),
        ("config.urls", "top"),
        ("config.settings", "start"),
        ("apikeys.models.rollups", "apikeys"),
        ("apikeys.decision.lookup", "decision"),
        ("config.nowhere", None),
        ("django.db", None),
    ],
)
def test_layer_of(module, expected):
    assert layer_of(module) == expected


def test_imports_of_higher_layers_are_found():
    tree = ast.parse("from config.base import text\nfrom config import urls\ndef f():\n    import apikeys.models\n")
    assert {layer_of(module) for module in imports_of(tree)} == {"base", "top", "apikeys"}


def test_imports_under_type_checking_are_found():
    tree = ast.parse("if TYPE_CHECKING:\n    from accounts.models import User\n")
    assert imports_of(tree) == {"accounts.models"}
    assert set().union(*map(imported, outside_functions(tree))) == {"accounts.models"}
