"""A try in a thread of its own: who takes too long is left alone, and keeps neither other tries nor our end waiting.

The libraries that talk to services have limits for each read alone, so a server that says a byte now and then holds its
thread for as long as it likes. In a pool that all services share, some such threads would silence every other service.
"""

from __future__ import annotations

import queue
import threading
from collections import defaultdict
from collections.abc import Callable

from opsqueue.notify.receipt import Receipt, refused

_MOST_LEFT = 4
"""Tries at one place that did not come to an end; while they are so many no other one is begun there."""
_left: defaultdict[str, list[threading.Thread]] = defaultdict(list)
"""By place."""
_lock = threading.Lock()


def aside(place: str, do: Callable[[], Receipt], *, seconds: float, who: str) -> Receipt:
    """What came of it, in at most so many seconds; `place`: who shares one hangs together, `who`: for people."""
    if (hanging := _hanging(place)) >= _MOST_LEFT:
        return refused(f"{who}: {hanging} earlier tries have no answer and have not ended yet")
    answers: queue.SimpleQueue[Receipt | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put(do())
        except Exception as error:  # noqa: BLE001 - whoever waits raises it
            answers.put(error)

    thread = threading.Thread(target=work, name="notify-aside", daemon=True)
    thread.start()
    try:
        found = answers.get(timeout=seconds)
    except queue.Empty:
        with _lock:
            _left[place].append(thread)
        return refused(f"{who} gave no answer within {seconds:g} s; it may still have got the message")
    if isinstance(found, Exception):
        raise found
    return found


def _hanging(place: str) -> int:
    with _lock:
        alive = [thread for thread in _left.pop(place, ()) if thread.is_alive()]
        if alive:
            _left[place] = alive
        return len(alive)
