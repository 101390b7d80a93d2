"""Facts: questions about a host that change nothing, and how their answers are read.

A connector answers all facts of a target in one round trip. Every answer is JSON, because it is kept in
the record as `before` and `after`. A fact that could not be answered is `{"unknown": reason}`: never a
zero, never a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from opsqueue.model.plan import Result

Facts = Mapping[str, Any]
"""The answers by the name of their fact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A POSIX sh text run on the host, with its values as arguments `"$1"`… and never inside the text."""

    text: str
    args: tuple[str, ...] = ()
    sudo: bool = False
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Environment name to reference, as a command has them; no other script of the same round trip gets them."""
    timeout: int = 20
    beside: int = 1
    """How many such scripts of a round trip may run at once; 1: it runs alone, in its turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """System metrics of the host, read by the connector with what it has (psutil here, /proc over SSH)."""

    options: Mapping[str, Any] = field(default_factory=dict)
    timeout: int = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Something tried over the network from the worker: `kind` is http, tcp, tls, dns, ssh, postgres or redis."""

    kind: str
    options: Mapping[str, Any]
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Option to reference; the connector reads it at the last moment."""
    timeout: float = 5.0
    """Seconds in total, whatever the other side does."""
    beside: int = 10
    """How many probes of a round trip may run at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Something that the record of opsqueue knows of the host; only for types with a `desk`."""

    what: str
    options: Mapping[str, Any] = field(default_factory=dict)
    timeout: int = 30


Ask = Script | Reading | Probe | Record


def _as_is(answer: Any) -> Any:
    return answer.stdout if isinstance(answer, Result) else answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One question. `parse` gets a `Result` for a script, JSON for the others; pure; may raise ValueError."""

    name: str
    ask: Ask
    parse: Callable[[Any], Any] = _as_is
    about: str = ""
    """What it looks at, for the people who read a plan; empty: the arguments or options say it."""


def bounded(fact: Fact, seconds: int) -> Fact:
    """The same question, given up after `seconds` at the latest."""
    return fact if fact.ask.timeout <= seconds else replace(fact, ask=replace(fact.ask, timeout=seconds))


def unknown(reason: str) -> dict[str, str]:
    """The answer of a fact that could not be answered."""
    return {"unknown": reason}


CUT_OFF = "the host gave no whole answer: its output was cut off"
"""Why an answer is unknown whose connection, or whose shell, ended in the middle of it."""


def why_unknown(answer: Any) -> str | None:
    """The reason, if this answer is not known; else `None`."""
    if isinstance(answer, Mapping) and set(answer) == {"unknown"}:
        return str(answer["unknown"])
    return None


_STRANGE = (ValueError, LookupError, TypeError, StopIteration, ArithmeticError, AttributeError, RecursionError)
"""What a strange answer causes: one nested too deep the RecursionError, a number too great an OverflowError."""


def read(fact: Fact, raw: Any) -> Any:
    """The parsed answer; a raw answer that cannot be parsed is unknown, with the reason."""
    try:
        return fact.parse(raw)
    except _STRANGE as error:
        return unknown(f"the answer to {fact.name} could not be read: {error}")
