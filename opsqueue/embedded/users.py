"""Who needs the embedded system: everybody who waits holds a shared lock, and it ends only when nobody does."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from opsqueue.errors import DatabaseUnreachable


@contextmanager
def using(state_dir: Path) -> Iterator[None]:
    """Keep the embedded system from ending by itself while the block runs; DatabaseUnreachable if it has no place."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        opened = (state_dir / "embedded.users").open("a")
    except OSError as error:
        raise DatabaseUnreachable(
            f"the state directory {state_dir} cannot be written: {error.strerror}. "
            "Mend that or set state_dir; `opsqueue doctor` looks at it."
        ) from None
    with opened as file:
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
