"""Who needs the embedded system: everybody who waits holds a shared lock, and it ends only when nobody does."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self, TextIO

from opsqueue.errors import DatabaseUnreachable

_BEGINNING = 60.0
"""Seconds in which a file without a lock may be that of a system that begins."""


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


@contextmanager
def first_of_its_kind(state_dir: Path) -> Iterator[bool]:
    """Whether no other transient system runs here; none begins to while the block runs."""
    with (state_dir / "embedded.owner").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


@contextmanager
def among_others(state_dir: Path) -> Iterator[list[tuple[int, float]]]:
    """The other lasting systems on this directory, each as its process and since when; this one is one until the end.

    Whether one lives is told by the lock on its file, which ends with it however it ends.
    """
    place = state_dir / "up"
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    own = place / f"{os.getpid()}.{secrets.token_hex(4)}"
    with own.open("x") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield sorted(found for path in place.iterdir() if path != own for found in _living(path))
        finally:
            own.unlink(missing_ok=True)


def _living(path: Path) -> Iterator[tuple[int, float]]:
    with suppress(FileNotFoundError, ValueError), path.open("r") as file:
        since = os.fstat(file.fileno()).st_mtime
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            yield int(path.name.partition(".")[0]), since
            return
        if time.time() - since > _BEGINNING:  # younger it may only be about to take its lock
            path.unlink(missing_ok=True)


class LastCall:
    """The right to end the embedded system; kept from `take` until the block ends, so that nobody begins to use it.

    Enter it before what is to be ended: then a newcomer waits until all of that has ended, and starts its own.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "embedded.users"
        self._file: TextIO | None = None

    def take(self) -> bool:
        """Whether nobody uses the system; from then on nobody can begin to."""
        if self._file is not None:
            return True
        file = self._path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._file = file
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._file is not None:
            self._file.close()
