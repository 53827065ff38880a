"""Write the .env file for the first run: `python -m config.write_env PATH`. Keeps an existing file."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

TEMPLATE = """\
# Written by the first `make run`. .env.example explains every variable. Keep this file private.
SECRET_KEY={secret_key}
API_KEY_PEPPERS={pepper}
# For this machine only, over plain HTTP. On a server, set HTTPS_ONLY=true and ALLOWED_HOSTS=your.host.name
HTTPS_ONLY=false
ALLOWED_HOSTS=localhost,127.0.0.1,[::1]
ENVIRONMENT=local
"""


def write_env(path: Path) -> bool:
    """Create `path` with new secrets, readable only by its owner. False if it exists."""
    if path.exists():
        return False
    path.touch(mode=0o600)
    path.write_text(TEMPLATE.format(secret_key=secrets.token_urlsafe(50), pepper=secrets.token_urlsafe(50)))
    return True


if __name__ == "__main__" and write_env(Path(sys.argv[1])):
    sys.stdout.write(f"Created {sys.argv[1]} with a new SECRET_KEY and pepper.\n")
