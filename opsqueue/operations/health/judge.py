"""The judgement of one check: what is wrong with its answer, with what was found beside what is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opsqueue.model.fact import why_unknown
from opsqueue.operations.health import judge_host, judge_servers
from opsqueue.operations.health.asks import expected_status
from opsqueue.operations.health.check import Check, NetworkCheck
from opsqueue.operations.health.checks import DnsCheck, HttpCheck, TcpCheck, TlsCheck
from opsqueue.operations.health.problem import Problem, Problems, cannot_tell, critical, warning


def judge(check: Check, answer: Any) -> tuple[Problem, ...]:
    """All that is wrong with one answer; none is good."""
    reason = why_unknown(answer)
    if reason is not None:
        return (cannot_tell(reason),)
    return tuple(_RULES[type(check).__name__](check, answer))


_ADVICE = {
    "refused": "Nothing listens there: look whether the service runs and on which address.",
    "timeout": "Look at the load of the service and at firewalls that drop packets.",
    "dns_failed": "Look at the name and at the worker's name servers.",
    "tls_failed": "Look at the certificate and the protocol versions with a check of the kind tls.",
    "reset": "The other side cut the connection: look at its log.",
    "unreachable": "Look at the route and the firewall between the worker and the target.",
}
_NO_TLS = "See whether that port speaks TLS, and which certificate and protocol versions its server is set up with."


def _network(check: NetworkCheck, answer: Mapping[str, Any]) -> Problems:
    if not answer["ok"]:
        yield _no_answer(check, answer)  # no condition holds of what did not answer: that is no further news
        return
    for text in answer.get("failed_conditions", ()):
        yield critical("condition_failed", f"wanted {text}")
    yield from _slow(check, answer)


def _no_answer(check: NetworkCheck, answer: Mapping[str, Any]) -> Problem:
    word, phase = answer.get("error", "failed"), answer.get("failed_phase", "start")
    tries = answer.get("attempts", 1)
    times = f" in {tries} attempts" if tries > 1 else ""
    advice = _NO_TLS if word == "tls_failed" and isinstance(check, TlsCheck) else _ADVICE.get(word, "")
    return critical("no_answer", f"{word} at {phase}{times}: {answer.get('detail', 'no detail')}", advice)


def _slow(check: NetworkCheck, answer: Mapping[str, Any]) -> Problems:
    took = answer.get("phases", {}).get("total")
    for limit, make in ((check.crit_ms, critical), (check.warn_ms, warning)):
        if took is not None and limit is not None and took > limit:
            phases = {name: ms for name, ms in answer["phases"].items() if name != "total"}
            longest = max(phases, key=lambda name: phases[name], default="total")
            yield make(
                "response_slow",
                f"answered in {took:.0f} ms, wanted at most {limit:.0f} ms; longest was {longest}",
                "Compare the phases with earlier results to see what became slow.",
            )
            return


def _http(check: HttpCheck, answer: Mapping[str, Any]) -> Problems:
    yield from _network(check, answer)
    wanted = expected_status(check)
    if answer["ok"] and wanted is not None and not _status_fits(answer["status"], wanted):
        shown = wanted if isinstance(wanted, str) else " or ".join(map(str, wanted))
        yield critical(
            "status_unexpected",
            f"answered with status {answer['status']}, wanted {shown}; asked was {answer.get('url', check.url)}",
            "Look at the log of the service at that time.",
        )


def _status_fits(status: int, wanted: str | tuple[int, ...]) -> bool:
    return str(status)[:1] == wanted[0] if isinstance(wanted, str) else status in wanted


def _tcp(check: TcpCheck, answer: Mapping[str, Any]) -> Problems:
    yield from _network(check, answer)
    if answer["ok"] and not answer.get("expected", True):
        heard = answer.get("banner", "")[:80]
        yield critical("banner_unexpected", f"heard {heard!r}, wanted {check.expect!r} in it")


def _dns(check: DnsCheck, answer: Mapping[str, Any]) -> Problems:
    yield from _network(check, answer)
    if not answer["ok"]:
        return
    if answer["rcode"] != "NOERROR":
        if not check.looks_at("DNS_RCODE"):
            yield critical("dns_answer_unexpected", f"{answer['rcode']} for {check.query}, wanted NOERROR")
    elif not answer["answers"] and not check.looks_at("BODY"):
        yield critical("dns_answer_unexpected", f"{check.query} exists, but has no {check.rtype} records")
    elif not answer.get("expected", True):
        found, wanted = ", ".join(answer["answers"]), ", ".join(check.expect)
        yield critical("dns_answer_unexpected", f"found {found}; wanted exactly {wanted}")


def _tls(check: TlsCheck, answer: Mapping[str, Any]) -> Problems:
    yield from _network(check, answer)
    if answer["ok"]:
        yield from _lifetime(check, answer)
        yield from _trust(check, answer)
        spoken = answer.get("protocol")
        if spoken is not None and spoken < check.min_protocol:
            yield warning(
                "tls_protocol_old",
                f"speaks {spoken} with us, wanted {check.min_protocol}",
                "Allow newer protocol versions in the configuration of the server.",
            )


def _lifetime(check: TlsCheck, answer: Mapping[str, Any]) -> Problems:
    days, which = answer["days_left"], answer.get("first_to_end", "the certificate")
    if days <= 0:
        # An old certificate that a server still sends beside a good chain harms few clients, so it only warns.
        make = warning if answer["trusted"] else critical
        yield make("certificate_expired", f"{which} ended {-days:.1f} days ago", "Renew it and reload the service.")
        return
    for limit, make in ((check.crit_days, critical), (check.warn_days, warning)):
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
        yield critical("certificate_wrong_name", f"the certificate is for {names}; wanted {wanted}")
    explained = not answer["name_ok"] or answer["days_left"] <= 0
    reason = answer.get("reason", "")
    if not answer["trusted"] and not (explained and ("mismatch" in reason or "expired" in reason)):
        yield critical(
            "certificate_untrusted",
            f"not trusted: {reason} (issuer {answer.get('issuer', '?')})",
            "Send the whole chain, or name the own authority in ca_file.",
        )


def _with_network(rule: Callable[[Any, Mapping[str, Any]], Problems]) -> Callable[[Any, Mapping[str, Any]], Problems]:
    """What every check over the network has, and then the rule for what was answered."""

    def both(check: NetworkCheck, answer: Mapping[str, Any]) -> Problems:
        yield from _network(check, answer)
        if answer["ok"]:
            yield from rule(check, answer)

    return both


_RULES: Mapping[str, Callable[[Any, Any], Problems]] = {
    "HttpCheck": _http,
    "TcpCheck": _tcp,
    "TlsCheck": _tls,
    "DnsCheck": _dns,
    "ProcessCheck": judge_host.process,
    "ServiceCheck": judge_host.service,
    "DiskCheck": judge_host.disk,
    "MemoryCheck": judge_host.memory,
    "LoadCheck": judge_host.load,
    "SshCheck": _with_network(judge_servers.ssh),
    "PostgresCheck": _with_network(judge_servers.postgres),
    "RedisCheck": _with_network(judge_servers.redis),
    "CommandCheck": judge_host.command,
}
