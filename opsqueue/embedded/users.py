"""Who needs the embedded system: everybody who waits holds a shared lock, and it ends only when nobody does."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TextIO

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
