"""The event loop of a run of probes: name look-ups that can be left behind, and addresses that are never asked.

Whoever may have a host looked at chooses what a probe asks, and is shown what it answers. So no probe may lead to
where a cloud tells its machines their secrets, by whatever name or redirect. Loopback and private addresses are asked:
they are what there is to watch.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from opsqueue.connectors.probes.kit import ProbeError
from opsqueue.model.addresses import address_of, why_never_asked

_MOST_LOOKUPS = 64
# A look-up in the C library cannot be ended from outside. One that hangs is left behind in its daemon thread;
# this counts them over the whole process, so that they stay bounded however often probes are asked.
_lookups = threading.BoundedSemaphore(_MOST_LOOKUPS)

_ours: ContextVar[bool] = ContextVar("_ours", default=False)


@contextmanager
def ours() -> Iterator[None]:
    """Ask whom this machine's own configuration names: the name server of some clouds is link-local."""
    token = _ours.set(True)
    try:
        yield
    finally:
        _ours.reset(token)


def refuse(address: str, host: str = "") -> None:
    """ProbeError when this is an address that no probe asks; the host is the name that led to it."""
    found = address_of(address)
    why = why_never_asked(found) if found is not None else ""
    if not why:
        return
    wrapped = f" ({found})" if ":" in address and "." in str(found) else ""
    led = "" if host in {"", address} else f"{host} leads to it, and "
    raise ProbeError(f"{address}{wrapped} {why}: {led}no check asks it")


class ProbeLoop(asyncio.SelectorEventLoop):
    """An event loop that looks each name up once per run, in threads that nobody has to wait for.

    It connects to no address that is never asked, whoever looked it up.
    """

    def __init__(self) -> None:
        super().__init__()
        self._found: dict[tuple[Any, ...], asyncio.Future[Any]] = {}

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - asyncio calls it by this name
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """As the loop's own, but it can be abandoned; answers are shared by the probes of one run.

        ProbeError where only addresses were found that are never asked; beside others they are left out.
        """
        name = host.decode("ascii") if isinstance(host, bytes) else host
        return _allowed(name, await self._known(name, port, family, type, proto, flags))

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """As the loop's own; an address that is written as one comes here without a look-up."""
        if not _ours.get():
            refuse(str(address[0]))
        await super().sock_connect(sock, address)

    async def _known(self, *ask: Any) -> Any:
        name, port, family, kind, proto, flags = ask
        try:  # an address needs no look-up, and so no thread
            return socket.getaddrinfo(name, port, family, kind, proto, flags | socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            pass
        if ask not in self._found:
            self._found[ask] = self._begin_lookup(ask)
        future = self._found[ask]
        try:
            return await asyncio.shield(future)
        except OSError:
            self._found.pop(ask, None)  # so that another attempt asks anew
            raise

    def _begin_lookup(self, ask: tuple[Any, ...]) -> asyncio.Future[Any]:
        if not _lookups.acquire(blocking=False):
            raise ProbeError(
                f"{_MOST_LOOKUPS} name look-ups of earlier probes still hang; wanted a free one. "
                f"Look at the name servers of the worker (/etc/resolv.conf)."
            )
        future: asyncio.Future[Any] = self.create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        threading.Thread(target=self._look_up, args=(ask, future), name="probe-lookup", daemon=True).start()
        return future

    def _look_up(self, ask: tuple[Any, ...], future: asyncio.Future[Any]) -> None:
        found: Any = None
        problem: Exception | None = None
        try:
            found = socket.getaddrinfo(*ask)
        except OSError as error:
            problem = error
        except (UnicodeError, ValueError) as error:
            problem = ProbeError(f"{ask[0]!r} is no host name: {error}")
        finally:
            _lookups.release()
        try:
            self.call_soon_threadsafe(_settle, future, found, problem)
        except RuntimeError:
            return  # the run is over; nobody waits for this answer


def _allowed(host: Any, found: list[Any]) -> list[Any]:
    """Those that may be asked. A machine's own name often has link-local addresses beside the others."""
    if _ours.get():
        return found
    kept = [one for one in found if not _never(str(one[4][0]))]
    if found and not kept:
        refuse(str(found[0][4][0]), str(host))
    return kept


def _never(address: str) -> bool:
    found = address_of(address)
    return found is not None and bool(why_never_asked(found))


def _settle(future: asyncio.Future[Any], found: Any, problem: Exception | None) -> None:
    if future.done():
        return
    if problem is not None:
        future.set_exception(problem)
    else:
        future.set_result(found)
