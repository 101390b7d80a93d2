"""The scripts within commands, told once and line by line: in the middle of a command nobody could read them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

from opsqueue.cli.output import Out
from opsqueue.cli.text import safe


@dataclass(slots=True)
class Scripts:
    """Those that were met so far, in their order."""

    _met: list[str] = field(default_factory=list)

    def without(self, command: str) -> str:
        """The command with `<script 1>` where a text of several lines stands in it; safe to be shown."""
        for text in _texts(command):
            command = command.replace(shlex.quote(text), f"<{self.name(text)}>")
        return safe(command)

    def name(self, text: str) -> str:
        """How this text is called where it stands at the end: `script 1`."""
        if text not in self._met:
            self._met.append(text)
        return f"script {self._met.index(text) + 1}"

    def show(self, out: Out) -> None:
        """The whole text of each."""
        for number, text in enumerate(self._met, 1):
            out.title(f"script {number}")
            for line in text.strip("\n").expandtabs().split("\n"):
                out.line(f"  {safe(line)}".rstrip())


def _texts(command: str) -> list[str]:
    """The words of several lines; of `NAME=value` before the program the value."""
    try:
        words = shlex.split(command)
    except ValueError:  # it was cut where the record keeps it
        return []
    texts = [word if shlex.quote(word) in command else word.partition("=")[2] for word in words]
    return [text for text in texts if "\n" in text.strip() and shlex.quote(text) in command]
