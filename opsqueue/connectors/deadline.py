"""A call that may hang in the kernel (a dead NFS server), given up after a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

_HANGS = "opsqueue hangs: "


def all_within(seconds: float, calls: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """Each call's value or exception by name, side by side; a call that takes longer gives a TimeoutError.

    A thread that hangs in the kernel cannot be ended. It is a daemon, and while it hangs no other one is started
    for the same name, so that one dead mount costs one thread and not one for each reading.
    """
    # Only those that were given up: somebody else may well make the same call at this moment, and get an answer.
    hanging = {thread.name for thread in threading.enumerate()}
    found: dict[str, Any] = {}
    started = {}
    for name, call in calls.items():
        if _HANGS + name not in hanging:
            started[name] = threading.Thread(target=_keep, args=(found, name, call), daemon=True)
            started[name].start()
    until = time.monotonic() + seconds
    for name, thread in started.items():
        thread.join(max(0.0, until - time.monotonic()))
        if thread.is_alive():
            thread.name = _HANGS + name
    late = TimeoutError(f"no answer within {seconds:g} s")
    return {name: found.get(name, late) for name in calls}


def _keep(found: dict[str, Any], name: str, call: Callable[[], Any]) -> None:
    try:
        found[name] = call()
    except Exception as error:  # noqa: BLE001 - handed to the caller, who waits for it in another thread
        found[name] = error
