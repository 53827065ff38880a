"""Where settings come from: the environment, with secrets in files of their own."""

from __future__ import annotations

import environ
from environ.fileaware_mapping import FileAwareMapping


class SecretFiles(FileAwareMapping):  # type: ignore[misc]
    """The environment with NAME_FILE read as NAME, without the line end that editors and `echo` leave in such files."""

    def __getitem__(self, name: str) -> str:
        value: str = super().__getitem__(name)
        return value.rstrip("\r\n")


class Environment(environ.Env):  # type: ignore[misc]
    ENVIRON = SecretFiles()
