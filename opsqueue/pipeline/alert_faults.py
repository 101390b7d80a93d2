"""Each alert and each group by itself: where the look at one fails, the others are looked at all the same."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opsqueue.errors import DatabaseUnreachable
from opsqueue.pipeline.world import World
from opsqueue.store import alerts

_log = logging.getLogger("opsqueue.alerts")
_ALL = ""
_MOST = 400
"""Characters of a reason: it is compared with the one that is in the record."""


class Faults:
    """What fails in one look; a fault is logged when it is new, not each time."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self._known = known
        self.found: dict[str, str] = {}
        """By the name of an alert or a group, why."""

    @contextmanager
    def apart(self, name: str, doing: str) -> Iterator[None]:
        """Do something about one alert or group; what goes wrong is noted, and ends nothing else.

        Only that the record is away is raised: then it is away for all of them.
        """
        try:
            yield
        except DatabaseUnreachable:
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, the alerts of others must be told
            self._note(name, f"{doing}: {type(error).__name__}: {error}"[:_MOST])

    def whole(self, error: Exception) -> None:
        """The look itself failed, at none of them in particular."""
        self._note(_ALL, f"{type(error).__name__}: {error}"[:_MOST])

    def _note(self, name: str, why: str) -> None:
        if self._known.get(name) != why and self.found.get(name) != why:
            _log.exception("ERROR in the look at %s: %s; it goes on with the others", name or "alerts", why)
        self.found.setdefault(name, why)


@contextmanager
def looking(world: World) -> Iterator[Faults]:
    """One look; at its end it is in the record at what it failed, and at what it does not fail any more."""
    with world.store.read() as connection:
        known = {name: why for name, (why, _) in alerts.faults(connection).items()}
    faults = Faults(known)
    try:
        yield faults
    except DatabaseUnreachable:
        raise
    except Exception as error:  # noqa: BLE001  # the record says what it is, and the next look comes
        faults.whole(error)
    new = {name: why for name, why in faults.found.items() if known.get(name) != why}
    # After a look that failed as a whole nothing is known of the rest.
    well = [] if _ALL in faults.found else sorted(set(known) - set(faults.found))
    if new or well:
        with world.store.begin() as tx:
            alerts.note_faults(tx, new, well, world.now())
    if well:
        _log.info("the look at alerts goes well again: %s", ", ".join(name or "all of them" for name in well))
