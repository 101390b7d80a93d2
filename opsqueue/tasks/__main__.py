"""The programs of a running system: `python -m opsqueue.tasks worker|beat|flower …`; nobody types this.

They are started, watched and started again by `opsqueue up`, `worker`, `beat` and `flower`.
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module

from opsqueue.errors import OpsqueueError


def main() -> int:
    """Run the program named first with the arguments behind it; its exit status."""
    name, *words = sys.argv[1:]
    gc.disable()  # imports make nothing but what stays: looking through it for garbage takes a fifth of the start
    try:
        program = import_module(f"opsqueue.tasks.{name}")
    finally:
        gc.enable()
    # Never looked through again, here or in what is forked from here, which so shares more of its memory.
    gc.freeze()
    status: int = program.main(words)
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OpsqueueError as problem:  # it is started again, and begins when that is mended
        sys.exit(f"error: {problem.message}")
