"""What every connector does alike when it is asked: scripts as one text, probes from this worker, all side by side."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from opsqueue.connectors.confidential import concealed, hidden, revealed
from opsqueue.connectors.probes.run import answer
from opsqueue.connectors.script import compose, scripts, seconds_of, secret_names, split
from opsqueue.errors import InvalidConfig
from opsqueue.model.fact import Fact, Probe, Script, unknown
from opsqueue.model.plan import Result

ANSWER_MOST = 8 << 20
"""Bytes of all script answers together; only the beginning is kept, so that what is cut off is known to be."""

Run = Callable[[str, Mapping[str, str], float], Result]
"""Runs an sh text with these secrets in its sh, within so many seconds; OSError or ValueError when it cannot."""

Part = Callable[[Sequence[Fact]], Mapping[str, Any]]
"""Answers those of the facts that are its business; raw, by name."""


def side_by_side(facts: Sequence[Fact], *parts: Part) -> dict[str, Any]:
    """The raw answers of all parts by name; what a part raises is raised when all have ended."""
    if len(parts) < 2:  # noqa: PLR2004  # the most have one, and a thread costs more than many an answer
        return {name: one for part in parts for name, one in part(facts).items()}
    with ThreadPoolExecutor(max_workers=len(parts)) as pool:
        raw = [pool.submit(part, facts) for part in parts]
        return {name: one for future in raw for name, one in future.result().items()}


def has_probes(facts: Sequence[Fact]) -> bool:
    """Whether something is tried over the network."""
    return any(isinstance(fact.ask, Probe) for fact in facts)


def ask_probes(facts: Sequence[Fact]) -> dict[str, Any]:
    """The raw answers of the probes by name; they are made from this worker, whatever host is asked about."""
    asked = [(fact.name, fact.ask) for fact in facts if isinstance(fact.ask, Probe)]
    told: dict[str, Any] = {name: _told(probe) for name, probe in asked}
    refused = {name: unknown(error.message) for name, error in told.items() if isinstance(error, InvalidConfig)}
    ready = [(name, told[name], probe) for name, probe in asked if name not in refused]
    probes = [replace(probe, options={**probe.options, **values}) for _name, values, probe in ready]
    found = answer(probes, min((probe.beside for probe in probes), default=1))
    return refused | {name: hidden(one, values.values()) for (name, values, _), one in zip(ready, found, strict=True)}


def ask_scripts(facts: Sequence[Fact], run: Run) -> dict[str, Any]:
    """The raw answers of the scripts by name, all in one text; one that was cut off is left out."""
    told = {fact.name: _told(script) for fact, script in scripts(facts)}
    refused = {name: values for name, values in told.items() if isinstance(values, InvalidConfig)}
    facts = [fact for fact in facts if fact.name in told and fact.name not in refused]
    found: dict[str, Any] = {name: unknown(error.message) for name, error in refused.items()}
    return found | _run_scripts(facts, {fact.name: told[fact.name] for fact in facts}, run) if facts else found


def _told(ask: Script | Probe) -> dict[str, str] | InvalidConfig:
    try:
        return revealed(ask.secrets)
    except InvalidConfig as error:
        return error


def _run_scripts(facts: Sequence[Fact], told: Mapping[str, Any], run: Run) -> dict[str, Any]:
    marker = secrets.token_hex(16)
    private = {name: told[fact][inner] for name, (fact, inner) in secret_names(facts).items()}
    try:
        result = run(compose(facts, marker), private, seconds_of(facts))
    except (OSError, ValueError) as error:
        return {fact.name: unknown(f"sh could not be started: {error}") for fact in facts}
    result = concealed(result, private.values())
    return dict(split(result.stdout, marker, facts, result.stderr))
