"""A last line on a terminal that says what is being worked on, until a result takes its place."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TextIO

from opsqueue.cli.text import clipped, columns_of

_EVERY = 0.25
"""Seconds between two updates."""
_AT_ONCE = 0.5
"""Seconds below which nothing is said: what is over by then would only flicker."""


@dataclass
class Live:
    """The last line of a terminal: `execute  …  running 4 s`. Moved by carriage returns only; a block ends it."""

    stream: TextIO
    on: bool = True
    """Off where the stream is no terminal: nothing is shown then."""
    clock: Callable[[], float] = time.monotonic
    every: float = _EVERY
    _what: str = ""
    _more: str = ""
    _since: float = 0.0
    _shown: str = ""
    _lock: Any = field(default_factory=threading.Lock)
    _ended: threading.Event = field(default_factory=threading.Event)
    _ticker: threading.Thread | None = None

    @classmethod
    def on_stderr(cls, *, wanted: bool) -> Live:
        """On stderr, if it is a terminal."""
        return cls(sys.stderr, on=wanted and sys.stderr is not None and sys.stderr.isatty())

    def __enter__(self) -> Self:
        """Begin to update."""
        if self.on:
            self._ticker = threading.Thread(target=self._tick, daemon=True)
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Clear the line."""
        self._ended.set()
        if self._ticker:
            self._ticker.join()
        self.now("")

    def now(self, what: str) -> None:
        """What is worked on from now on, empty for nothing; the line before is cleared."""
        with self._lock:
            if what != self._what:
                self._what, self._more, self._since = what, "", self.clock()
            self._clear()

    def more(self, text: str) -> None:
        """How far it is, beside what is worked on."""
        with self._lock:
            self._more = text

    def above(self, say: Callable[[], None]) -> None:
        """Let something be printed where the line was."""
        with self._lock:
            self._clear()
            say()

    def update(self) -> None:
        """Show what is worked on, and for how long."""
        with self._lock:
            seconds = self.clock() - self._since
            if not self.on or not self._what or seconds < _AT_ONCE:
                return
            # One column is left free: a line that ends in the last one makes some terminals go to the next.
            more = f"  {self._more}" if self._more else ""
            line = clipped(f"{self._what} {int(seconds)} s{more}", shutil.get_terminal_size().columns - 1)
            if line != self._shown:
                rest = " " * max(0, columns_of(self._shown) - columns_of(line))
                self._write(f"\r{line}{rest}")
                self._shown = line

    def _clear(self) -> None:
        if self._shown:
            self._write(f"\r{' ' * columns_of(self._shown)}\r")
            self._shown = ""

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()

    def _tick(self) -> None:
        while not self._ended.wait(self.every):
            self.update()
