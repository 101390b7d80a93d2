"""What is printed where: results to stdout as a table, one JSON object or JSON lines; everything else to stderr."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opsqueue.cli.tables import Narrow, table, wrapped
from opsqueue.cli.text import coloured, columns_of, safe
from opsqueue.errors import OpsqueueError

# JSON escapes the other control characters itself; these could still speak to a terminal.
_LEFT = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Out:
    """How this command speaks."""

    form: str = "table"
    """`table`, `json` or `jsonl`."""
    terminal: bool = False
    """Whether stdout is one; only then are tables made to fit into `width`."""
    colour: bool = False
    width: int | None = None

    @classmethod
    def of(cls, given: Namespace) -> Out:
        """As the options, the terminal and NO_COLOR say."""
        terminal = sys.stdout is not None and sys.stdout.isatty()
        plain = given.no_color or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        return cls(
            form=given.output or "table",
            terminal=terminal,
            colour=terminal and not plain,
            width=shutil.get_terminal_size().columns if terminal else None,
        )

    @property
    def json(self) -> bool:
        """Whether a program reads this."""
        return self.form != "table"

    def line(self, text: str = "") -> None:
        """One line of result; the caller has made it safe."""
        put(text)

    def entry(self, data: Mapping[str, Any]) -> None:
        """One JSON object; on one line as `jsonl`."""
        put(dumps(data, indent=None if self.form == "jsonl" else 2))

    def rows(self, headers: Sequence[str], rows: Sequence[Sequence[object]], *, narrow: Narrow | None = None) -> None:
        """An aligned table; nothing at all when there are no rows."""
        for text in table(headers, rows, width=self.width, colour=self.colour, narrow=narrow) if rows else ():
            put(text)

    def fits(self, headers: Sequence[str], rows: Sequence[Sequence[object]]) -> bool:
        """Whether an aligned table fits uncut into where it is printed."""
        return self.width is None or max(map(columns_of, table(headers, rows))) <= self.width

    def text(self, text: str) -> None:
        """A sentence that is safe already, on as many lines as the terminal needs."""
        for line in [text] if self.width is None else wrapped(text, self.width):
            put(line)

    def listing(
        self,
        name: str,
        items: Sequence[Mapping[str, Any]],
        headers: Sequence[str],
        cells: Any,
        narrow: Narrow | None = None,
    ) -> None:
        """Many of the same: a table of `cells(item)`, `{name: [...]}`, or one object on each line."""
        if self.form == "json":
            self.entry({name: items})
        elif self.form == "jsonl":
            for item in items:
                self.entry(item)
        else:
            self.rows(headers, [cells(item) for item in items], narrow=narrow)

    def title(self, text: str) -> None:
        """A heading between the parts of a long answer."""
        put(f"\n\x1b[1m{text}\x1b[0m" if self.colour else f"\n{text}")

    def word(self, text: str) -> str:
        """A word such as `failed`, in its colour where colours are wanted."""
        return coloured(safe(text), colour=self.colour)


def put(text: str, *, end: str = "\n") -> None:
    """A text for stdout; OpsqueueError when it cannot be taken, because a full disk is no success."""
    try:
        print(text, end=end)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise lost(error) from None


def lost(error: OSError) -> OpsqueueError:
    """That the result did not reach anybody."""
    return OpsqueueError(f"the result could not be written to stdout: {error.strerror}")


def note(text: str) -> None:
    """One line for people beside the result."""
    print(text, file=sys.stderr, flush=True)


def dumps(data: Any, *, indent: int | None = None) -> str:
    """JSON that is safe to print on a terminal, of any encoding."""
    text = json.dumps(data, ensure_ascii=not _unicode(), indent=indent, default=str)
    return _LEFT.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _unicode() -> bool:
    return sys.stdout is not None and (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
