"""What was sent to the hosts of an operation, and what they answered."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from opsqueue.cli import render
from opsqueue.cli.output import Out, note
from opsqueue.cli.parsing import Parser
from opsqueue.cli.record import one
from opsqueue.cli.scripts import Scripts
from opsqueue.pipeline.views import settled, whole
from opsqueue.settings import load
from opsqueue.store.engine import Store

_LOOK_EVERY = 0.3


def options(parser: Parser) -> None:
    """What it takes."""
    parser.add_argument("operation", metavar="ID", help="the operation; the beginning of its id is enough")
    parser.add_argument("--follow", action="store_true", help="go on until the operation has ended")
    parser.ends((0, 2, 9, 10, 12, 130), "opsqueue logs 6f1c", "opsqueue logs 6f1c --follow")


def run(given: Namespace) -> int:
    """Print the answers, one after the other as they come if wanted."""
    out = Out.of(given)
    with one(load(given.config), given.operation) as (store, operation_id):
        looks = _looks(store, operation_id, follow=given.follow)
        if out.form == "json":
            data = list(looks)[-1]
            out.entry({"operation_id": operation_id, "status": data["status"], "hosts": _by_host(data)})
            return 0
        told = _tell(out, looks, follow=given.follow)
    if not told:
        note("no command was sent; `opsqueue show` tells what was found")
    return 0


def _looks(store: Store, operation_id: str, *, follow: bool) -> Iterator[dict[str, Any]]:
    while True:
        data = whole(store, operation_id, time.time())
        yield data
        if not follow or settled(data):
            return
        time.sleep(_LOOK_EVERY)


def _by_host(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{key: target[key] for key in ("host", "status", "problems", "steps")} for target in data["targets"]]


def _tell(out: Out, looks: Iterator[dict[str, Any]], *, follow: bool) -> int:
    """Print each answer once; how many there were."""
    told: dict[str, int] = {}
    scripts = Scripts()
    for data in looks:
        for target in data["targets"]:
            done = _answered(target["steps"], last=not follow or settled(data))
            _say(out, target["host"], done[told.get(target["host"], 0) :], scripts)
            told[target["host"]] = len(done)
    scripts.show(out)
    return sum(told.values())


def _say(out: Out, host: str, steps: list[dict[str, Any]], scripts: Scripts) -> None:
    for step in steps:
        if out.json:
            out.entry({"host": host, **step})
        else:
            render.step(out, step, scripts, host)


def _answered(steps: list[dict[str, Any]], *, last: bool) -> list[dict[str, Any]]:
    """The steps without one that is on its way; when nothing more will come, that one too."""
    on_its_way = bool(steps) and steps[-1]["seconds"] is None and not last
    return steps[:-1] if on_its_way else steps
