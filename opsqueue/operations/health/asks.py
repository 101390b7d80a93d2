"""From checks to questions: one fact for each check, and the shared system reading for memory and load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opsqueue.facts.check_processes import process_fact
from opsqueue.facts.checks import command_fact, disk_fact, service_fact
from opsqueue.facts.system import NAME as SYSTEM
from opsqueue.facts.system import system_reading
from opsqueue.model.fact import Fact, Facts, Probe, unknown, why_unknown
from opsqueue.operations.health import conditions
from opsqueue.operations.health.check import Check, NetworkCheck
from opsqueue.operations.health.checks import (
    CommandCheck,
    DiskCheck,
    DnsCheck,
    HttpCheck,
    LoadCheck,
    MemoryCheck,
    ProcessCheck,
    ServiceCheck,
    TcpCheck,
    TlsCheck,
)
from opsqueue.operations.health.servers import PostgresCheck, RedisCheck, ServerCheck, SshCheck

_BODY_KEPT = 1024
"""Characters of a body that the record keeps; conditions are judged before, on all that was read."""
_BETWEEN_ATTEMPTS = 0.25
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "HttpCheck": ("status",),
    "DnsCheck": ("rcode", "answers"),
    "TlsCheck": ("days_left", "trusted", "name_ok"),
    "SshCheck": ("fingerprint", "shown", "expected"),
    "RedisCheck": ("ready",),
}
"""Without these an answer cannot be judged."""


def facts_of(checks: Sequence[Check], concurrency: int) -> tuple[Fact, ...]:
    """Every question once, in the order of the checks; so many at once, over the network and on each host."""
    found = [_fact(check, concurrency) for check in checks if not isinstance(check, MemoryCheck | LoadCheck)]
    subjects = [check.kind for check in checks if isinstance(check, MemoryCheck | LoadCheck)]
    if subjects:
        found.append(system_reading(subjects=list(dict.fromkeys(subjects))))
    return tuple(found)


def fact_name(check: Check) -> str:
    """The name of the fact that answers a check."""
    return SYSTEM if isinstance(check, MemoryCheck | LoadCheck) else f"check:{check.name}"


def answer_to(check: Check, facts: Facts) -> Any:
    """The answer to one check; unknown when it was not asked or not answered."""
    answer = facts.get(fact_name(check), unknown("it was not asked"))
    if isinstance(check, MemoryCheck | LoadCheck) and why_unknown(answer) is None:
        return answer.get(check.kind, unknown("the system reading does not tell"))
    return answer


def _fact(check: Check, beside: int) -> Fact:
    if isinstance(check, NetworkCheck):
        return _probe(check, beside)
    name = fact_name(check)
    if isinstance(check, ServiceCheck):
        return service_fact(name, check.unit, seconds=check.seconds, beside=beside)
    if isinstance(check, DiskCheck):
        return disk_fact(name, check.path, seconds=check.seconds, write_test=check.write_test, beside=beside)
    if isinstance(check, CommandCheck):
        return command_fact(name, check.argv, seconds=check.seconds, beside=beside)
    if isinstance(check, ProcessCheck):
        return _process(check, name)  # never beside others: it would take what they run for what it looks for
    raise TypeError(f"there is no question for {type(check).__name__}")


def _process(check: ProcessCheck, name: str) -> Fact:
    if check.pidfile:
        return process_fact(name, how="pidfile", wanted=check.pidfile, seconds=check.seconds)
    if check.cmdline:
        return process_fact(name, how="cmdline", wanted=check.cmdline, seconds=check.seconds)
    return process_fact(name, how="name", wanted=check.process or "", seconds=check.seconds)


def _probe(check: NetworkCheck, beside: int) -> Fact:
    kind, options = _options(check)
    each = {"retries": check.retries, "attempt_timeout": check.timeout_s}
    total = check.timeout_s * (check.retries + 1) + _BETWEEN_ATTEMPTS * check.retries
    ask = Probe(kind=kind, options={**options, **each}, secrets=_secrets(check), timeout=total, beside=beside)
    return Fact(name=fact_name(check), ask=ask, parse=lambda raw: _judged(check, raw))


def _secrets(check: NetworkCheck) -> dict[str, str]:
    given = isinstance(check, ServerCheck) and check.password
    return {"password": given.ref} if given else {}


def _options(check: NetworkCheck) -> tuple[str, dict[str, Any]]:
    """What the probe needs to know; `None` is left out."""
    chosen: dict[str, Any] = {}
    if isinstance(check, HttpCheck):
        names = {"url", "method", "headers", "body", "follow_redirects", "verify_tls", "ca_file", "max_bytes"}
        chosen = check.model_dump(include=names) | {"expect_status": expected_status(check)}
        return "http", _given(chosen)
    if isinstance(check, TcpCheck):
        return "tcp", check.model_dump(include={"host", "port", "send", "expect"})
    if isinstance(check, TlsCheck):
        return "tls", _given(check.model_dump(include={"host", "port", "server_name", "starttls", "ca_file"}))
    if isinstance(check, DnsCheck):
        chosen = check.model_dump(include={"rtype", "resolver", "expect"}) | {"name": check.query}
        return "dns", _given(chosen)
    if isinstance(check, SshCheck):
        return "ssh", check.model_dump(include={"host", "port", "host_keys"})
    return _server(check)


def _server(check: NetworkCheck) -> tuple[str, dict[str, Any]]:
    names = {"host", "port", "user", "database", "tls", "verify_tls", "ca_file"}
    if isinstance(check, PostgresCheck | RedisCheck):
        return check.kind, _given(check.model_dump(include=names))
    raise TypeError(f"there is no probe for {type(check).__name__}")


def expected_status(check: HttpCheck) -> str | tuple[int, ...] | None:
    """The status that is wanted; nothing when a condition takes care of it and none is asked for."""
    if check.looks_at("STATUS") and "expect_status" not in check.model_fields_set:
        return None
    return check.expect_status


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _judged(check: NetworkCheck, raw: Any) -> Any:
    """The answer with the conditions that fail; of a long body only the beginning is kept."""
    if why_unknown(raw) is not None:
        return raw
    _complete(check, raw)
    tried = [conditions.failing(conditions.parse(text), raw) for text in check.conditions]
    kept = {**raw, "failed_conditions": [text for text in tried if text]}
    if isinstance(raw.get("body"), str):
        kept["body"] = raw["body"][:_BODY_KEPT]
    return _storable(kept)


def _complete(check: NetworkCheck, raw: Any) -> None:
    """ValueError when an answer is not what a probe of this kind gives."""
    if not isinstance(raw, Mapping) or not isinstance(raw.get("ok"), bool):
        raise ValueError(f"a probe answers with an object that has `ok`, found {type(raw).__name__}")  # noqa: TRY004 - facts raise ValueError
    missing = [key for key in _NEEDED.get(type(check).__name__, ()) if raw["ok"] and key not in raw]
    if missing:
        raise ValueError(f"the answer has no {missing[0]}")


def _storable(value: Any) -> Any:
    """The same without what no database keeps: NUL, and halves of characters."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_storable(key): _storable(child) for key, child in value.items()}
    return [_storable(child) for child in value] if isinstance(value, list | tuple) else value
