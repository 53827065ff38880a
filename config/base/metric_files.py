"""The files in which the processes of one gunicorn keep their metrics (prometheus_client's multiprocess mode).

Needs no application code, so gunicorn's master can import it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

# prometheus_client reads it when it's first imported, so imports of it in this module are inside functions.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
ADDITIVE = ("counter", "histogram", "summary")
# In place of a process id, for what all dead processes counted together.
DEAD = 0

SUFFIX, OWNER = "-gatehouse-metrics", "owner"

_made: list[Path] = []  # one or none
_owned: list[IO[str]] = []


def make_directory(parent: str | None) -> None:
    """Make the directory of this server, once, before its first worker starts."""
    if not _made:
        base = Path(parent or tempfile.gettempdir())
        remove_abandoned(base)
        _made.append(Path(tempfile.mkdtemp(SUFFIX, dir=base)))
        os.environ[VARIABLE] = str(_made[0])
        # Held until the last process of this server ends, however it ends.
        _owned.append((_made[0] / OWNER).open("w"))
        fcntl.flock(_owned[0], fcntl.LOCK_EX)


def remove_abandoned(base: Path) -> None:
    """Remove what servers left behind that were killed."""
    for owner in base.glob(f"*{SUFFIX}/{OWNER}"):
        with suppress(OSError), owner.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(owner.parent)


def remove_directory() -> None:
    while _made:
        shutil.rmtree(_made.pop(), ignore_errors=True)
        _owned.pop().close()


@contextmanager
def locked(directory: Path, *, exclusive: bool) -> Iterator[None]:
    """Keep readers of the files apart from those who move values between them: a counter must never seem to fall."""
    with (directory / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield


def add_up_dead(pid: int) -> None:
    """Add what a dead process counted to one file for all of them: with a file for each, scrapes would get slower."""
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415  (see VARIABLE)

    for directory in _made:
        with locked(directory, exclusive=True):
            for kind in ADDITIVE:
                source = directory / f"{kind}_{pid}.db"
                if source.exists():
                    add_values(source, directory / f"{kind}_{DEAD}.db")
                    source.unlink()
            mark_process_dead(pid, str(directory))


def add_values(source: Path, target: Path) -> None:
    from prometheus_client.mmap_dict import MmapedDict  # noqa: PLC0415  (see VARIABLE)

    totals = MmapedDict(str(target))
    for key, value, _, _ in MmapedDict.read_all_values_from_file(str(source)):
        totals.write_value(key, totals.read_value(key)[0] + value, 0.0)
    totals.close()
