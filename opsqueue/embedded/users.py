"""Who needs the embedded system: everybody who waits holds a shared lock, and it ends only when nobody does."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def using(state_dir: Path) -> Iterator[None]:
    """Keep the embedded system from ending by itself while the block runs."""
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (state_dir / "embedded.users").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def last_call(state_dir: Path) -> TextIO | None:
    """If nobody uses it: a file that must be kept open until the system has ended, so that nobody begins to."""
    file = (state_dir / "embedded.users").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
