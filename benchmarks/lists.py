"""Measure the processor time of lists and searches with a million users and keys, compared to the stock Django admin.

    DEBUG=1 DATABASE_URL=… python -m benchmarks.lists [ROWS] [--keep]

Rows are created by SQL in a test database (test_…), which --keep leaves for the next run. A superuser requests pages from the Django
application in this process several times, and the best time counts. Times are processor time of this process and of
PostgreSQL's process for its connection, on this machine and without parallel queries, so other load affects them little.
Writes benchmarks/results/lists.json, and the tables in docs/data-layer.md from it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup()

from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import override_settings, setup_databases, setup_test_environment, teardown_databases

from accounts.models import User
from apikeys.models import APIKey

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "lists.json"
DOCUMENT = ROOT / "docs" / "data-layer.md"
TIMES = 5

POSTGRESQL = (
    """
INSERT INTO "user" (password, is_superuser, name, name_folded, username, email, profile_image, created_at, updated_at,
                    last_login)
SELECT '!', false, 'Firstname' || n % 1000 || ' Lastname' || n / 7, 'firstname' || n % 1000 || ' lastname' || n / 7,
       'user_' || n, 'user_' || n || '@example' || n % 50 || '.com', '', now() - n * interval '30 seconds', now(),
       CASE WHEN n % 20 = 0 THEN now() - n * interval '20 seconds' END
FROM generate_series(1, {rows}) AS n
""",
    """
INSERT INTO api_keys (id, name, name_folded, prefix, last4, secret_hash, pepper_id, allowed_ips, metadata, user_id,
                      created_at, updated_at)
SELECT gen_random_uuid(), 'Nightly export ' || n, 'nightly export ' || n, 'gate_' || substr(md5(n::text), 1, 6),
       substr(md5(n::text), 7, 4), md5(n::text) || md5('x' || n), 'pepper', '[]', '{{}}',
       (SELECT min(id) FROM "user") + n % {rows}, now() - n * interval '30 seconds', now()
FROM generate_series(1, {rows}) AS n
""",
)
SQLITE = (
    """
INSERT INTO user (password, is_superuser, name, name_folded, username, email, profile_image, created_at, updated_at,
                  last_login)
WITH RECURSIVE series (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {rows})
SELECT '!', 0, 'Firstname' || (n % 1000) || ' Lastname' || (n / 7), 'firstname' || (n % 1000) || ' lastname' || (n / 7),
       'user_' || n, 'user_' || n || '@example' || (n % 50) || '.com', '',
       datetime('now', '-' || (n * 30) || ' seconds'), datetime('now'),
       CASE WHEN n % 20 = 0 THEN datetime('now', '-' || (n * 20) || ' seconds') END
FROM series
""",
    """
INSERT INTO api_keys (id, name, name_folded, prefix, last4, secret_hash, pepper_id, allowed_ips, metadata, user_id,
                      created_at, updated_at)
WITH RECURSIVE series (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {rows})
SELECT lower(hex(randomblob(16))), 'Nightly export ' || n, 'nightly export ' || n, 'gate_' || lower(hex(randomblob(3))),
       lower(hex(randomblob(2))), lower(hex(randomblob(32))), 'pepper', '[]', '{{}}',
       (SELECT min(id) FROM user) + n % {rows}, datetime('now', '-' || (n * 30) || ' seconds'), datetime('now')
FROM series
""",
)

PAGES = {
    "users: first page": "/users/",
    "users: page 200": "/users/?page=200",
    "users: page 200, by last seen": "/users/?sort=-seen&page=200",
    "users: page 200, by first seen": "/users/?sort=seen&page=200",
    "users: search, few results": "/users/?q=99876",
    "users: search, two words": "/users/?q=firstname99+lastname1428",
    "users: search, very many results": "/users/?q=example",
    "users: search, two letters": "/users/?q=us",
    "users: search, no result": "/users/?q=zzzzzz",
    "keys: first page": "/admin/apikeys/apikey/",
    "keys: page 200": "/admin/apikeys/apikey/?p=200",
    "keys: search, few results": "/admin/apikeys/apikey/?q=99876",
    "keys: search, very many results": "/admin/apikeys/apikey/?q=nightly",
    "keys: search, no result": "/admin/apikeys/apikey/?q=zzzzzz",
    "keys: search, start of the secret": "/admin/apikeys/apikey/?q={prefix}",
    "keys: search, last four": "/admin/apikeys/apikey/?q={last4}",
    "everything: few results": "/admin/search/?q=99876",
    "everything: very many results": "/admin/search/?q=example",
    "everything: no result": "/admin/search/?q=zzzzzz",
}
STOCK_PAGES = {
    "stock admin, users: first page": "/admin/accounts/user/",
    "stock admin, users: last page": "/admin/accounts/user/?p={last_page}",
    "stock admin, users: search, few results": "/admin/accounts/user/?q=99876",
    "stock admin, keys: first page": "/admin/apikeys/apikey/",
    "stock admin, keys: last page": "/admin/apikeys/apikey/?p={last_page}",
    "stock admin, keys: search, few results": "/admin/apikeys/apikey/?q=99876",
}
# Works without collected static files.
STORAGES = settings.STORAGES | {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
STOCK = {
    "ROOT_URLCONF": "benchmarks.lists_urls",
    "TEMPLATES": [settings.TEMPLATES[0] | {"DIRS": []}],
}


def fill(rows):
    statements = POSTGRESQL if connection.vendor == "postgresql" else SQLITE
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement.format(rows=rows))
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")


def measure(rows):
    admin = User.objects.filter(username="bench").first() or User.objects.create_superuser("bench", "bench@example.com")
    client = Client()
    client.force_login(admin)
    key = APIKey.objects.order_by("pk").first()
    places = {"prefix": key.prefix, "last4": key.last4, "last_page": rows // 100}
    found = {}
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET max_parallel_workers_per_gather = 0")
    for pages, options in ((PAGES, {}), (STOCK_PAGES, STOCK)):
        with override_settings(STORAGES=STORAGES, **options):
            for label, url in pages.items():
                found[label] = round(milliseconds(client, url.format(**places)))
                print(f"{found[label]:>8,} ms  {label}", flush=True)
    return found


def milliseconds(client, url):
    best = float("inf")
    for _ in range(TIMES):
        start = processor_time()
        response = client.get(url)
        best = min(best, processor_time() - start)
        assert response.status_code == 200, (url, response.status_code)
    return best * 1000


def processor_time():
    """Seconds used by this process and by the database's process for its connection."""
    used = time.process_time()
    if connection.vendor == "postgresql":
        nanoseconds = Path(f"/proc/{connection.connection.info.backend_pid}/schedstat").read_text().split()[0]
        used += int(nanoseconds) / 1e9
    return used


def publish(found, rows):
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[connection.vendor] = {"rows": rows, "milliseconds": found}
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    columns = [name for name in ("postgresql", "sqlite") if name in results]
    titles = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}
    lines = [
        f"| page, in ms of processor time | {' | '.join(titles[name] for name in columns)} |",
        f"|---|{'---:|' * len(columns)}",
    ]
    for label in PAGES | STOCK_PAGES:
        figures = [results[name]["milliseconds"].get(label) for name in columns]
        lines.append(f"| {label} | {' | '.join('–' if figure is None else f'{figure:,}' for figure in figures)} |")
    marked = re.compile(r"(<!-- benchmarks.lists -->\n).*?(\n<!-- end -->)", re.DOTALL)
    table = "\n".join(lines)
    DOCUMENT.write_text(marked.sub(lambda found: found[1] + table + found[2], DOCUMENT.read_text()))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--keep", action="store_true", help="Keep the database, and reuse it.")
    parser.add_argument("--no-results", action="store_true", help="Only print the times.")
    options = parser.parse_args()
    setup_test_environment(debug=False)
    if connection.vendor == "sqlite":  # SQLite's test databases are named after the process
        connection.settings_dict["TEST"]["NAME"] = f"{connection.settings_dict['NAME']}.test"
    databases = setup_databases(verbosity=0, interactive=False, keepdb=options.keep, serialized_aliases=())
    try:
        if User.objects.count() < options.rows:
            start = time.perf_counter()
            fill(options.rows)
            print(f"{options.rows:,} users and keys created in {time.perf_counter() - start:.0f} s")
        found = measure(options.rows)
        if not options.no_results:
            publish(found, options.rows)
    finally:
        if not options.keep:
            teardown_databases(databases, verbosity=0)


if __name__ == "__main__":
    main()
