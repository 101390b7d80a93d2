"""Probes: things tried over the network from the worker, side by side, each under a hard total deadline.

A target that refuses, fails or is silent is an answer (`ok` is false, `error` is a word: refused, dns_failed,
timeout, reset, tls_failed, unreachable, protocol_error, too_many_redirects, rejected). A probe that cannot be made at
all is `{"unknown": reason}`.
"""

from __future__ import annotations

import asyncio
import importlib
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from opsqueue.connectors.probes import dns, postgres, redis, tcp, tls
from opsqueue.connectors.probes.kit import Kit, ProbeError, TargetError, Watch, family_of, word_of
from opsqueue.connectors.probes.loop import ProbeLoop
from opsqueue.model.fact import Probe, unknown

Way = Callable[[Mapping[str, Any], Watch], Awaitable[dict[str, Any]]]


async def _http(options: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    from opsqueue.connectors.probes import http  # noqa: PLC0415 - httpx takes as long, and every command would pay it

    return await http.probe(options, watch)


async def _ssh(options: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    from opsqueue.connectors.probes import ssh  # noqa: PLC0415 - paramiko takes a tenth of a second; few ask for it

    return await ssh.probe(options, watch)


_WAYS: Mapping[str, Way] = {
    "http": _http,
    "tcp": tcp.probe,
    "tls": tls.probe,
    "dns": dns.probe,
    "ssh": _ssh,
    "postgres": postgres.probe,
    "redis": redis.probe,
}

_BETWEEN_ATTEMPTS = 0.25
_GRACE = 0.2
"""Seconds that a cut attempt may take to tidy up before it is left alone."""


def answer(probes: Sequence[Probe], concurrency: int = 10) -> list[Any]:
    """The raw answers in the order of the probes; never raises, never waits longer than the deadlines say.

    At most `concurrency` run at once; a probe's deadline counts from its own start.
    """
    answers: list[Any] = [unknown("the probe was not made: the worker was too slow to begin it") for _ in probes]
    if probes:
        # A thread of its own: the caller may have an event loop, and no fault here may hold the caller.
        thread = threading.Thread(target=_run, args=(probes, concurrency, answers), name="probes", daemon=True)
        thread.start()
        thread.join(_patience(probes, concurrency))
    return list(answers)


def _patience(probes: Sequence[Probe], concurrency: int) -> float:
    limits = [probe.timeout + _GRACE for probe in probes]
    return sum(limits) / max(concurrency, 1) + max(limits) + 2.0


def _run(probes: Sequence[Probe], concurrency: int, answers: list[Any]) -> None:
    try:
        with asyncio.Runner(loop_factory=ProbeLoop) as runner:
            runner.run(_all(probes, concurrency, answers))
    except Exception as error:  # noqa: BLE001 - the promise is that a probe never raises
        reason = f"the probes could not be run: {type(error).__name__}: {error}"
        answers[:] = [unknown(reason) if "ok" not in given else given for given in answers]


async def _all(probes: Sequence[Probe], concurrency: int, answers: list[Any]) -> None:
    gate = asyncio.Semaphore(max(concurrency, 1))
    kit = Kit()
    _prepare(probes, kit)

    async def one(index: int, probe: Probe) -> None:
        async with gate:
            answers[index] = await _bounded(probe, kit)

    await asyncio.gather(*(one(index, probe) for index, probe in enumerate(probes)))


def _prepare(probes: Sequence[Probe], kit: Kit) -> None:
    """What takes some ms the first time, which would else be counted to somebody's answer."""
    if any(probe.kind == "tls" or str(probe.options.get("url", "")).startswith("https:") for probe in probes):
        kit.trust()
    for kind in {probe.kind for probe in probes} & {"http", "ssh"}:
        importlib.import_module(f"{__package__}.{kind}")


async def _bounded(probe: Probe, kit: Kit) -> dict[str, Any]:
    task = asyncio.ensure_future(_attempts(probe, kit))
    done, _ = await asyncio.wait({task}, timeout=probe.timeout + _GRACE)
    if not done:
        task.cancel()
        return _failure("timeout", f"no answer within {probe.timeout:g} s", Watch(kit))
    problem = task.exception()
    return unknown(f"the probe cannot be made: {problem}") if problem else task.result()


async def _attempts(probe: Probe, kit: Kit) -> dict[str, Any]:
    """Try until enough answers in a row are as expected, the attempts are used up, or the total deadline is near.

    Options: retries, attempt_timeout, successes (wanted in a row), delay (seconds before the first attempt).
    """
    clock = time.monotonic
    end = clock() + probe.timeout
    most = 1 + max(int(probe.options.get("retries", 0)), 0)
    each = float(probe.options.get("attempt_timeout", probe.timeout))
    wanted = max(int(probe.options.get("successes", 1)), 1)
    await asyncio.sleep(min(float(probe.options.get("delay", 0)), probe.timeout))
    found: dict[str, Any] = {"in_a_row": 0}
    for number in range(1, most + 1):
        row = found["in_a_row"]
        found = {**await _attempt(probe, kit, min(each, end - clock())), "attempts": number}
        if "unknown" in found:
            return unknown(found["unknown"])
        found["in_a_row"] = row + 1 if _good(found) else 0
        if found["in_a_row"] >= wanted or number == most or end - clock() <= _BETWEEN_ATTEMPTS:
            break
        await asyncio.sleep(_BETWEEN_ATTEMPTS)
    return found


def _good(found: Mapping[str, Any]) -> bool:
    return bool(found["ok"]) and bool(found.get("expected", True))


async def _attempt(probe: Probe, kit: Kit, limit: float) -> dict[str, Any]:
    watch = Watch(kit)
    way = _WAYS.get(probe.kind)
    if way is None:
        return unknown(f"there is no probe {probe.kind!r}; there are {', '.join(_WAYS)}")
    try:
        async with asyncio.timeout(limit):
            return await way(probe.options, watch)
    except ProbeError as error:
        return unknown(str(error))
    except TargetError as error:
        return _failure(error.word, str(error), watch)
    except TimeoutError:
        return _failure("timeout", f"no answer within {limit:.3g} s, waiting at {watch.at}", watch)
    except Exception as error:  # noqa: BLE001 - whatever a library raises, the others' answers must stand
        return _from_error(error, watch)


def _from_error(error: Exception, watch: Watch) -> dict[str, Any]:
    for cause in family_of(error):
        if isinstance(cause, ProbeError):  # a library wrapped what we said
            return unknown(str(cause))
    known = word_of(error)
    if known is None:
        return unknown(f"the probe broke: {type(error).__name__}: {error}")
    return _failure(*known, watch)


def _failure(word: str, detail: str, watch: Watch) -> dict[str, Any]:
    return {"ok": False, "error": word, "detail": detail, "failed_phase": watch.at, "phases": watch.done()}
