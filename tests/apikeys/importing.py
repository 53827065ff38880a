"""Create files for import_keys, and import them."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import secrets
from io import StringIO
from pathlib import Path

from django.core.management import CommandError, call_command

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "moving-in.md"
PLAIN = "acme_live_1234567890abcdef"


def hash_row(secret=PLAIN, *, username="alice", name="old key", algorithm="sha256", prefix="acme_live_", **more):
    digest = hashlib.new(algorithm, secret.encode()).hexdigest()
    return {"username": username, "name": name, "algorithm": algorithm, "hash": digest, "prefix": prefix, **more}


def starter_secret():
    random = secrets.token_urlsafe(48)
    return f"fai_{random[:8]}_{random[8:]}"


def starter_hash(secret, n=2**4):
    """As the FastAPI starter's `_hash_api_key`, by default at a thousandth of the cost."""
    salt = secrets.token_bytes(16)
    derived = hashlib.scrypt(secret.encode(), salt=salt, n=n, r=8, p=1, dklen=32)
    return f"scrypt${n}$8$1${base64.b64encode(salt).decode()}${base64.b64encode(derived).decode()}"


def starter_row(secret, **more):
    values = {"username": "alice", "name": "old key", "algorithm": "scrypt", "hash": starter_hash(secret)}
    return {**values, "prefix": secret[4:12], **more}


def as_csv(*rows):
    out = StringIO(newline="")
    writer = csv.DictWriter(out, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def run_import(path, content, **options):
    """What the command prints, with its error if it fails."""
    out = StringIO()
    path.write_bytes(content)
    try:
        call_command("import_keys", str(path), stdout=out, **options)
    except CommandError as error:
        return f"{out.getvalue()}{error}"
    return out.getvalue()


def guide_queries():
    return re.findall(r"```sql\n(.*?)```", GUIDE.read_text(), re.DOTALL)


def as_exported_csv(database, query):
    """The CSV that a SQL client writes."""
    cursor = database.execute(query)
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([column[0] for column in cursor.description])
    writer.writerows(cursor)
    return out.getvalue().encode()
