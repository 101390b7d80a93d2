"""What a plan says of a look beside its questions: what would be sent to the host, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from opsqueue.cli.scripts import Scripts
from opsqueue.model.amount import size
from opsqueue.telemetry import counted

Json = Mapping[str, Any]

_SHOWN = 5
"""Numbers of the last look that are named; `--output json` has all."""


def lines(target: Json, scripts: Scripts, number: Callable[[float | None, str], str]) -> Iterator[str]:
    """Two lines for one host; none for a type that asks no host."""
    if "connector" in target:
        yield f"sends {_sent(target, scripts)}"
        yield f"keeps {_kept(target, number)}"


def _sent(target: Json, scripts: Scripts) -> str:
    if target["script"]:
        length = size(len(target["script"].encode()))
        answer = size(target["answer_bytes"])
        return f"{scripts.name(target['script'])} over ssh, {length}; about {answer} come back"
    if not target["on_host"]:
        return "nothing: all of it is asked from the worker"
    return {
        "local": "nothing over the network: it is the worker's own machine",
        "worker": "the id of the operation, to the host's own worker",
        "ssh": "one text over ssh that asks all of this on the host",
    }[target["connector"]]


def _kept(target: Json, number: Callable[[float | None, str], str]) -> str:
    last = target["last"]
    if last is None:
        return "a series for each number; nothing was measured here lately"
    whole = {name: one for name, one in last["metrics"].items() if ":" not in name}
    named = list((whole or last["metrics"]).items())[:_SHOWN]
    words = ", ".join(f"{name} {number(one['value'], one['unit'])}" for name, one in named)
    left = len(last["metrics"]) - len(named)
    more = f" and {counted(left, 'other')}" if left else ""
    return f"{len(target['series'])} series; at the last look, {last['at']}: {words}{more}"
