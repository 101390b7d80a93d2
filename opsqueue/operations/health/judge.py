"""The judgement of one check: what is wrong with its answer, with what was found beside what is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from opsqueue.model.fact import why_unknown
from opsqueue.operations.health.asks import expected_status
from opsqueue.operations.health.checks import (
    Check,
    CommandCheck,
    DiskCheck,
    DnsCheck,
    HttpCheck,
    LoadCheck,
    MemoryCheck,
    NetworkCheck,
    ProcessCheck,
    ServiceCheck,
    TcpCheck,
    TlsCheck,
)


class State(StrEnum):
    """How a check stands; the order is that of the metric `state:NAME`."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"
    """The check itself could not be made: nothing is known of the target."""
    UNREACHABLE = "unreachable"
    """It failed while something that it depends on is down: no news of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is not as wanted."""

    state: State
    code: str
    """A stable word for programs."""
    message: str
    advice: str = ""


Problems = Iterator[Problem]


def judge(check: Check, answer: Any) -> tuple[Problem, ...]:
    """All that is wrong with one answer; none is good."""
    reason = why_unknown(answer)
    if reason is not None:
        return (_unknown(reason),)
    return tuple(_RULES[type(check).__name__](check, answer))


def state_of(problems: tuple[Problem, ...]) -> State:
    """The worst of them; critical is worse than unknown, unknown than warning."""
    order = (State.CRITICAL, State.UNKNOWN, State.WARNING)
    found = {problem.state for problem in problems}
    return next((state for state in order if state in found), State.OK)


def _unknown(reason: str) -> Problem:
    return Problem(
        state=State.UNKNOWN,
        code="check_unknown",
        message=f"could not be checked: {reason}",
        advice="Mend the check itself; nothing is known of its target.",
    )


def _critical(code: str, message: str, advice: str = "") -> Problem:
    return Problem(state=State.CRITICAL, code=code, message=message, advice=advice)


def _warning(code: str, message: str, advice: str = "") -> Problem:
    return Problem(state=State.WARNING, code=code, message=message, advice=advice)


# -- over the network ---------------------------------------------------------------------------------------

_ADVICE = {
    "refused": "Nothing listens there: look whether the service runs and on which address.",
    "timeout": "Look at the load of the service and at firewalls that drop packets.",
    "dns_failed": "Look at the name and at the worker's name servers.",
    "tls_failed": "Look at the certificate and the protocol versions with a check of the kind tls.",
    "reset": "The other side cut the connection: look at its log.",
    "unreachable": "Look at the route and the firewall between the worker and the target.",
}


def _network(check: NetworkCheck, answer: Mapping[str, Any]) -> Problems:
    if not answer["ok"]:
        yield _no_answer(answer)
    for text in answer.get("failed_conditions", ()):
        yield _critical("condition_failed", f"{text}: not so" if answer["ok"] else f"so also not: {text}")
    if answer["ok"]:
        yield from _slow(check, answer)


def _no_answer(answer: Mapping[str, Any]) -> Problem:
    word, phase = answer.get("error", "failed"), answer.get("failed_phase", "start")
    tries = answer.get("attempts", 1)
    times = f" in {tries} attempts" if tries > 1 else ""
    return _critical(
        "no_answer", f"{word} at {phase}{times}: {answer.get('detail', 'no detail')}", _ADVICE.get(word, "")
    )


def _slow(check: NetworkCheck, answer: Mapping[str, Any]) -> Problems:
    took = answer.get("phases", {}).get("total")
    for limit, make in ((check.crit_ms, _critical), (check.warn_ms, _warning)):
        if took is not None and limit is not None and took > limit:
            phases = {name: ms for name, ms in answer["phases"].items() if name != "total"}
            longest = max(phases, key=lambda name: phases[name], default="total")
            yield make(
                "response_slow",
                f"[RESPONSE_TIME] ({took:.0f} ms) <= {limit:.0f} ms: not so; longest was {longest}",
                "Compare the phases with earlier results to see what became slow.",
            )
            return


def _http(check: HttpCheck, answer: Mapping[str, Any]) -> Problems:
    yield from _network(check, answer)
    wanted = expected_status(check)
    if answer["ok"] and wanted is not None and not _status_fits(answer["status"], wanted):
        shown = wanted if isinstance(wanted, str) else " or ".join(map(str, wanted))
        yield _critical(
            "status_unexpected",
            f"[STATUS] ({answer['status']}) == {shown}: not so; asked was {answer.get('url', check.url)}",
            "Look at the log of the service at that time.",
        )


def _status_fits(status: int, wanted: str | tuple[int, ...]) -> bool:
    return str(status)[:1] == wanted[0] if isinstance(wanted, str) else status in wanted


def _tcp(check: TcpCheck, answer: Mapping[str, Any]) -> Problems:
    yield from _network(check, answer)
    if answer["ok"] and not answer.get("expected", True):
        heard = answer.get("banner", "")[:80]
        yield _critical("banner_unexpected", f"heard {heard!r}, wanted {check.expect!r} in it")


def _dns(check: DnsCheck, answer: Mapping[str, Any]) -> Problems:
    yield from _network(check, answer)
    if not answer["ok"]:
        return
    if answer["rcode"] != "NOERROR":
        if not check.looks_at("DNS_RCODE"):
            yield _critical("dns_answer_unexpected", f"[DNS_RCODE] ({answer['rcode']}) == NOERROR for {check.query}")
    elif not answer["answers"] and not check.looks_at("BODY"):
        yield _critical("dns_answer_unexpected", f"{check.query} exists, but has no {check.rtype} records")
    elif not answer.get("expected", True):
        found, wanted = ", ".join(answer["answers"]), ", ".join(check.expect)
        yield _critical("dns_answer_unexpected", f"found {found}; wanted exactly {wanted}")


def _tls(check: TlsCheck, answer: Mapping[str, Any]) -> Problems:
    yield from _network(check, answer)
    if answer["ok"]:
        yield from _lifetime(check, answer)
        yield from _trust(check, answer)


def _lifetime(check: TlsCheck, answer: Mapping[str, Any]) -> Problems:
    days, which = answer["days_left"], answer.get("first_to_end", "the certificate")
    if days <= 0:
        # An old certificate that a server still sends beside a good chain harms few clients, so it only warns.
        make = _warning if answer["trusted"] else _critical
        yield make("certificate_expired", f"{which} ended {-days:.1f} days ago", "Renew it and reload the service.")
        return
    for limit, make in ((check.crit_days, _critical), (check.warn_days, _warning)):
        if days < limit:
            yield make(
                "certificate_expiring",
                f"{which} has {days:.1f} days left, wanted at least {limit:g}",
                "Renew it, and see why the renewal did not happen by itself.",
            )
            return


def _trust(check: TlsCheck, answer: Mapping[str, Any]) -> Problems:
    if not answer["name_ok"]:
        names = ", ".join(answer.get("names", [])[:10]) or "no names"
        wanted = check.server_name or check.host
        yield _critical("certificate_wrong_name", f"the certificate is for {names}; wanted {wanted}")
    explained = not answer["name_ok"] or answer["days_left"] <= 0
    reason = answer.get("reason", "")
    if not answer["trusted"] and not (explained and ("mismatch" in reason or "expired" in reason)):
        yield _critical(
            "certificate_untrusted",
            f"not trusted: {reason} (issuer {answer.get('issuer', '?')})",
            "Send the whole chain, or name the own authority in ca_file.",
        )


# -- on the host --------------------------------------------------------------------------------------------


def _process(check: ProcessCheck, answer: Mapping[str, Any]) -> Problems:
    what = check.process or check.cmdline or check.pidfile
    if answer["count"] < check.min:
        yield _critical("process_missing", f"{answer['count']} processes match {what}, wanted at least {check.min}")
    if check.max is not None and answer["count"] > check.max:
        yield _critical("process_too_many", f"{answer['count']} processes match {what}, wanted at most {check.max}")
    if answer["zombies"]:
        yield _warning("process_zombie", f"{answer['zombies']} of {what} are zombies: their parent does not reap them")


def _service(check: ServiceCheck, answer: Mapping[str, Any]) -> Problems:
    manager, detail = answer["manager"], answer["detail"]
    if not answer["known"]:
        yield _critical("service_missing", f"{manager} has no usable {check.unit}: {detail}", "Look at the name.")
    elif check.expect_active and not (answer["active"] or answer["ended_well"]):
        yield _critical("service_down", f"{check.unit} is not running: {detail}", f"Look at the log of {check.unit}.")
    elif not check.expect_active and answer["active"]:
        yield _critical("service_running", f"{check.unit} runs and should not: {detail}")
    restarts = answer.get("restarts")
    if restarts is not None and restarts > check.max_restarts:
        yield _warning(
            "service_restarting", f"{manager} started it anew {restarts} times, wanted at most {check.max_restarts}"
        )


def _disk(check: DiskCheck, answer: Mapping[str, Any]) -> Problems:
    where = answer["mount"]
    if answer["percent"] is None:
        yield _unknown(f"{where} is no file system with a size")
    space, inodes = answer["percent"], answer["inode_percent"]
    yield from _above("disk_usage_high", f"space of {where}", space, (check.warn_percent, check.crit_percent), "%")
    limits = (check.warn_inode_percent, check.crit_inode_percent)
    yield from _above("disk_inodes_high", f"inodes of {where}", inodes, limits, "%")
    if answer["read_only"] and not check.allow_read_only:
        yield _critical(
            "disk_read_only", f"{where} is mounted read-only", "Look in the kernel log for errors of the disk."
        )


def _memory(check: MemoryCheck, answer: Mapping[str, Any]) -> Problems:
    if answer.get("percent") is None:
        yield _unknown("the host does not tell its memory")
    yield from _above(
        "memory_usage_high", "memory", answer.get("percent"), (check.warn_percent, check.crit_percent), "%"
    )


def _load(check: LoadCheck, answer: Mapping[str, Any]) -> Problems:
    five, cpus = answer.get("five"), answer.get("cpus")
    if five is None or not cpus:
        yield _unknown("the host does not tell its load or its number of processors")
        return
    yield from _above("load_high", "load per processor", five / cpus, (check.warn_per_cpu, check.crit_per_cpu))


def _above(code: str, what: str, found: float | None, limits: tuple[float, float], unit: str = "") -> Problems:
    warn, crit = limits
    for limit, make in ((crit, _critical), (warn, _warning)):
        if found is not None and found >= limit:
            yield make(code, f"{what} ({found:.4g}{unit}) < {limit:g}{unit}")
            return


def _command(_check: CommandCheck, answer: Mapping[str, Any]) -> Problems:
    code, said = answer["exit_code"], answer["summary"] or "said nothing"
    if code == 1:
        yield _warning("command_warning", f"exit 1: {said}")
    elif code == 2:  # noqa: PLR2004 - the convention of monitoring plugins
        yield _critical("command_critical", f"exit 2: {said}")
    elif code:
        yield _unknown(f"exit {code}: {said}")


_RULES: Mapping[str, Callable[[Any, Any], Problems]] = {
    "HttpCheck": _http,
    "TcpCheck": _tcp,
    "TlsCheck": _tls,
    "DnsCheck": _dns,
    "ProcessCheck": _process,
    "ServiceCheck": _service,
    "DiskCheck": _disk,
    "MemoryCheck": _memory,
    "LoadCheck": _load,
    "CommandCheck": _command,
}
