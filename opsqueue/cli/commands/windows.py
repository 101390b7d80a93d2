"""The maintenance windows, whether they are open, and when they open next."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from opsqueue.cli import times
from opsqueue.cli.output import Out, note
from opsqueue.cli.parsing import Parser
from opsqueue.cli.text import safe
from opsqueue.connectors.inventory.directory import read_inventory
from opsqueue.model.instant import local_text, utc_text
from opsqueue.model.inventory import Inventory
from opsqueue.model.window import HORIZON_DAYS, Occurrence, Window
from opsqueue.model.window_left_out import LeftOut, left_out
from opsqueue.settings import load

_NEXT = 5


def options(parser: Parser) -> None:
    """What it takes."""
    parser.ends((0, 2), "opsqueue windows", "opsqueue windows --output json")


def run(given: Namespace) -> int:
    """List them."""
    out, now = Out.of(given), time.time()
    settings = load(given.config)
    windows = [*settings.windows(), *_of_hosts(read_inventory(settings))]
    listed = [window_json(window, now) for window in windows]
    if out.json:
        out.listing("windows", listed, (), None)
    else:
        _print(out, listed)
    if not listed:
        note("no maintenance window is configured: changes are allowed at any time")
    return 0


def _of_hosts(inventory: Inventory) -> list[Window]:
    """The windows that hosts have of their own, each with all hosts that have it."""
    found: dict[Window, list[str]] = {}
    for host in inventory.values():
        for window in host.windows:
            found.setdefault(window, []).append(host.name)
    return [replace(window, hosts=tuple(names)) for window, names in found.items()]


def window_json(window: Window, now: float) -> dict[str, Any]:
    """A window, its state, its next five openings (what is open now is not one of them), and what it leaves out."""
    is_open, closes = window.contains(now), window.closes(now)
    comes = () if is_open and closes is None else window.occurrences(closes or now, _NEXT)
    return {
        "name": window.name,
        "spec": window.spec,
        "timezone": window.timezone,
        "hosts": list(window.hosts),
        "groups": list(window.groups),
        "types": list(window.types),
        "policy": window.policy,
        "overrun": window.overrun,
        "permit": window.permit,
        "mute": window.mute,
        "state": "open" if is_open else "closed",
        "closes_at": None if closes is None else utc_text(closes),
        "next": [
            {
                "opens_at": utc_text(one.opens),
                "opens_local": local_text(one.opens, window.timezone),
                "closes_at": None if one.closes is None else utc_text(one.closes),
                "seconds": one.seconds,
            }
            for one in comes
        ],
        "left_out": [{"when": one.when, "why": one.why} for one in _left_out(window, now, comes)],
    }


def _left_out(window: Window, now: float, comes: Sequence[Occurrence]) -> Sequence[LeftOut]:
    """Up to the last opening that is told; what is never open is looked at as far as anybody looks."""
    if not comes and window.contains(now):
        return ()
    return left_out(window, now, comes[-1].opens if comes else now + HORIZON_DAYS * 86_400)


def _print(out: Out, windows: list[dict[str, Any]]) -> None:
    for number, window in enumerate(windows):
        if number:
            out.line()
        scope = [*window["hosts"], *window["groups"], *window["types"]]
        until = f" until {times.stamp(window['closes_at'])}" if window["closes_at"] else ""
        out.line(f"{safe(window['name'])}: {out.word(window['state'])}{until}")
        covers = safe(", ".join(scope)) or "everything"
        does = [_POLICY[window["policy"]]] if window["permit"] else []
        does += ["in it alerts are kept quiet"] if window["mute"] else []
        out.line(f"  {safe(window['spec'])} in {window['timezone']}, for {covers}, {', '.join(does)}")
        for one in window["next"]:
            lasts = "without end" if one["seconds"] is None else f"for {times.length(one['seconds'])}"
            local = "" if window["timezone"] == "UTC" else f"  ({one['opens_local']})"
            out.line(f"  opens {times.stamp(one['opens_at'])}{local}  {lasts}")
        for why, when in _by_reason(window["left_out"]).items():
            out.line(f"  not in {', '.join(when)}: {why}")
        if not window["next"]:
            out.line(
                "  opens no more within a year" if window["state"] == "closed" else "  does not close within a year"
            )


def _by_reason(left: list[dict[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in left:
        found.setdefault(one["why"], []).append(one["when"])
    return found


_POLICY = {"defer": "outside it changes wait", "reject": "outside it changes are denied"}
