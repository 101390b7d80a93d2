"""When each worker of this machine last took a message, or began to: a file's time, by which deaf is told from busy."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from opsqueue.settings import Settings

_FINE_ENOUGH = 0.5
_DAY = 86_400.0


class Taken:
    """Notes that a message was taken, at most twice a second; without a path it notes nothing."""

    def __init__(self, path: str | None) -> None:
        self._path = Path(path) if path else None
        self._noted = 0.0

    def note(self) -> None:
        """A message was taken just now, or can be from now on; never raises."""
        now = time.monotonic()
        if self._path is None or now - self._noted < _FINE_ENOUGH:
            return
        self._noted = now
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch()


def place(settings: Settings, worker: str) -> Path:
    """The file of a worker, by its name."""
    return settings.state_dir / "taken" / quote(worker, safe="")


def last_taken(settings: Settings, worker: str) -> float:
    """When this worker last took a message or began to take them, in UNIX seconds; 0 when it never did."""
    try:
        return place(settings, worker).stat().st_mtime
    except OSError:
        return 0.0


def forget_old(settings: Settings) -> None:
    """Remove the files of workers that are no more; each start of `opsqueue worker` makes new names."""
    for path in (settings.state_dir / "taken").glob("*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _DAY:
                path.unlink()
