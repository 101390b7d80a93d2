"""`python leash.py PARENT PROGRAM ARGUMENT…`: become a program that ends when the process that started it ends.

The kernel sends the signal, so it also works when the parent is killed with SIGKILL. It is asked for in the child's
own process and then kept through exec: code between fork and exec of a threaded parent is never safe in Python.
This file is run by its path with `-I -S`, and imports only what it needs, so that a child starts quickly.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_FEWEST = 3


def leashed(argv: list[str], *, at_death: signal.Signals = signal.SIGTERM) -> list[str]:
    """The argument list that runs `argv` on a leash of this process.

    The kernel watches the thread that starts the child, not the whole process: start it from a thread that lasts.
    """
    return [sys.executable, "-I", "-S", str(Path(__file__).resolve()), f"{os.getpid()}:{int(at_death)}", *argv]


def main(argv: list[str]) -> None:
    """Ask the kernel for the signal, make sure that the parent still lives, become the program."""
    if len(argv) < _FEWEST:
        raise SystemExit("usage: leash.py PARENT:SIGNAL PROGRAM [ARGUMENT ...]")
    parent, _, at_death = argv[1].partition(":")
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(at_death), 0, 0, 0)
        if os.getppid() != int(parent):  # it ended before the kernel was asked
            raise SystemExit(1)
    try:
        os.execvp(argv[2], argv[2:])  # noqa: S606 -- becoming the program is the purpose; there is no shell
    except OSError as exc:
        sys.stderr.write(f"ERROR cannot start {argv[2]}: {exc.strerror}\n")
        raise SystemExit(127) from exc


if __name__ == "__main__":
    main(sys.argv)
