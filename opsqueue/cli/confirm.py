"""Ask before something is done, where somebody can answer; nothing ever needs a prompt."""

from __future__ import annotations

import sys

from opsqueue.errors import ConfirmationNeeded
from opsqueue.model.names import Risk


def allowed(question: str, *, yes: bool, risk: Risk = Risk.REVERSIBLE) -> None:
    """Go on if `yes`, or if a person at the terminal says so; without a terminal unless it is destructive.

    Raises ConfirmationNeeded when the person says no, or when a destructive thing has no terminal and no `--yes`.
    """
    if yes:
        return
    if not interactive():
        if risk is Risk.DESTRUCTIVE:
            raise ConfirmationNeeded(
                "this is destructive: what it takes away cannot be brought back. There is no terminal to ask at; "
                "say --yes to do it, or look at `opsqueue plan` first."
            )
        return
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise ConfirmationNeeded("not confirmed; nothing was done")


def interactive() -> bool:
    """Whether a person can be asked and can answer."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))
