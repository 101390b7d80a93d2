"""The way to one host: its connection, opened by one thread for all that wait for it, and again when it died."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from opsqueue.connectors.ssh import trust, wire
from opsqueue.connectors.ssh.link import Link
from opsqueue.connectors.ssh.login import KeyRing
from opsqueue.connectors.ssh.stream import Dropped
from opsqueue.errors import HostUnreachable
from opsqueue.model.host import Host

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is the same for all hosts of a process."""

    known_hosts: Path
    connect_timeout: float
    keep_seconds: float
    ring: KeyRing
    opened: Callable[[], None]
    """Told after each connection that was opened."""


@dataclass(slots=True)
class Way:
    """The way to one host, perhaps through a gateway, whose own way is shared by all hosts behind it."""

    host: Host
    terms: Terms
    gateway: Way | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _link: Link | None = None
    _opening: Future[Link] | None = None

    def do(self, work: Callable[[Link], T], seconds: float | None = None) -> T:
        """Do it with the open connection; once more with a new one when that was dead, which raises Dropped.

        `seconds`: how long others may take to open it. Raises HostUnreachable and HostNotTrusted.
        """
        for _ in range(2):
            link, fresh = self._enter(self.terms.connect_timeout if seconds is None else seconds)
            try:
                return work(link)
            except Dropped as error:
                self.retire(link)
                problem = error
            finally:
                self.leave(link)
            if fresh:
                break
        raise HostUnreachable(f"{self.host.name} ({self.host.where}): {problem}", host=self.host.name)

    def _enter(self, seconds: float) -> tuple[Link, bool]:
        """An open connection that is in use until `leave`, and whether it is new."""
        until = time.monotonic() + seconds
        while True:
            self._bury()
            with self._lock:
                if self._link is not None:
                    self._link.users += 1
                    return self._link, False
                waited, mine = self._opening, self._opening is None
                if waited is None:
                    waited = self._opening = Future()
            if mine:
                self._settle(waited)
            link = self._awaited(waited, until, seconds)
            with self._lock:
                if link.alive:  # else it was not to be kept, and somebody else was done with it already
                    link.users += 1
                    return link, True
            if time.monotonic() >= until:
                raise HostUnreachable(
                    f"{self.host.name} ({self.host.where}) hung up after every login for {seconds:g} s",
                    host=self.host.name,
                )

    def _bury(self) -> None:
        """Forget a connection that died, or whose key is pinned no more."""
        link = self._link
        if link is None or (link.alive and self.trusted()):
            return
        with self._lock:
            if self._link is not link:  # somebody else did
                return
            self._link, link.retired = None, True
            done = not link.users
        if done:
            link.close()

    def trusted(self) -> bool:
        """Whether the key of the open connection, and of its gateways, is still pinned; also when none is open."""
        link = self._link
        if link is None:
            return True
        pinned = wire.shown_by(link.connection) in trust.pinned(self.terms.known_hosts, self.host)
        return pinned and (self.gateway is None or self.gateway.trusted())

    def _awaited(self, opening: Future[Link], until: float, seconds: float) -> Link:
        try:
            return opening.result(max(0.0, until - time.monotonic()))
        except TimeoutError:
            raise HostUnreachable(
                f"{self.host.name} ({self.host.where}) did not answer within {seconds:g} s", host=self.host.name
            ) from None

    def hold(self, link: Link) -> Link:
        """The same one, in use by one more."""
        with self._lock:
            link.users += 1
        return link

    def leave(self, link: Link) -> None:
        """It is not used any more; closed when it was retired, or is not to be kept."""
        with self._lock:
            link.users -= 1
            link.used_at = time.monotonic()
            done = not link.users and (link.retired or not self.terms.keep_seconds)
        if done:
            link.close()

    def retire(self, link: Link) -> None:
        """Give it to nobody any more; who still has it may go on."""
        with self._lock:
            link.retired = True
            if self._link is link:
                self._link = None

    def close(self, unless_used_since: float | None = None) -> bool:
        """Hang up, also where it is in use; or only where it is not and was not since then. Whether it is closed."""
        with self._lock:
            link = self._link
            if link is None:
                return self._opening is None
            if link.alive and unless_used_since is not None and (link.users or link.used_at > unless_used_since):
                return False
            self._link = None
        link.close()
        return True

    def presented(self) -> trust.HostKey:
        """The host key that it shows now; nobody logs in to it, though to its gateways. Raises HostUnreachable."""
        known = trust.pinned(self.terms.known_hosts, self.host)
        with ExitStack() as held:
            return wire.presented(self.host, partial(self._reach, held), known, self.terms.connect_timeout)

    def _settle(self, opening: Future[Link]) -> None:
        """Open it, and tell all who wait."""
        problem: Exception = HostUnreachable(f"{self.host.name}: whoever opened the connection was interrupted")
        link = None
        try:
            link = self._open()
        except Exception as error:  # noqa: BLE001 - handed to all who wait, of whom the caller is one
            problem = error
        finally:
            with self._lock:
                self._link, self._opening = link, None
            opening.set_result(link) if link else opening.set_exception(problem)
        if link:
            self.terms.opened()

    def _open(self) -> Link:
        known = trust.pinned(self.terms.known_hosts, self.host)
        keys = self.terms.ring.keys_for(self.host)
        patience = self.terms.connect_timeout
        with ExitStack() as held:
            connection = wire.connect(self.host, partial(self._reach, held), known, keys, patience)
            return Link(connection, patience, held=held.pop_all(), used_at=time.monotonic())

    def _reach(self, held: ExitStack, until: float) -> Any:
        """A socket to the host, or a channel through its gateway, which is in use until `held` is closed."""
        if self.gateway is None:
            return wire.dial(self.host, until)
        try:
            return self.gateway.do(partial(self._forwarded, held, until), wire.left(until))
        except HostUnreachable as error:
            raise HostUnreachable(
                f"{self.host.name} cannot be reached through its gateway: {error.message}", host=self.host.name
            ) from None

    def _forwarded(self, held: ExitStack, until: float, link: Link) -> Any:
        gateway = self.gateway
        if gateway is None:
            raise TypeError("only a gateway forwards")
        try:
            channel = link.forward(self.host.address or self.host.name, self.host.port, wire.left(until))
        except TimeoutError:
            # Either the host is down or the gateway hangs: for the next host it is opened anew.
            gateway.retire(link)
            raise
        held.callback(gateway.leave, gateway.hold(link))
        return channel
