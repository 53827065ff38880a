"""Write the .env of a first run: `python -m config.write_env PATH`. A file that exists is left alone."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

TEMPLATE = """\
# Written by the first `make run`. .env.example explains every variable. Keep this file to yourself.
SECRET_KEY={secret_key}
API_KEY_PEPPERS={pepper}
# This machine only, over plain HTTP. On a server: HTTPS_ONLY=true and ALLOWED_HOSTS=its.name
HTTPS_ONLY=false
ALLOWED_HOSTS=localhost,127.0.0.1,[::1]
ENVIRONMENT=local
"""


def write_env(path: Path) -> bool:
    """Create `path` with fresh secrets, readable by its owner only; False if it is there already."""
    if path.exists():
        return False
    path.touch(mode=0o600)
    path.write_text(TEMPLATE.format(secret_key=secrets.token_urlsafe(50), pepper=secrets.token_urlsafe(50)))
    return True


if __name__ == "__main__" and write_env(Path(sys.argv[1])):
    sys.stdout.write(f"{sys.argv[1]} written, with a fresh SECRET_KEY and pepper.\n")
