"""`opsqueue alerts receive`: a webhook of Alertmanager out of a file, or all of them over HTTP."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from opsqueue.cli import alerts_show as show
from opsqueue.cli.output import Out, note
from opsqueue.cli.parsing import add_verb
from opsqueue.cli.record import needed
from opsqueue.errors import InvalidRequest
from opsqueue.pipeline.alert_intake import MOST_BYTES, receive
from opsqueue.settings import Settings


def options(below: Any) -> None:
    """What it takes."""
    got = add_verb(below, "receive", "take webhooks of Alertmanager (payload version 4)")
    got.add_argument("file", nargs="?", metavar="FILE", help="the JSON of one, or - for stdin")
    got.add_argument("--listen", metavar="HOST:PORT", help="take them over HTTP until told to end, at /alertmanager")
    got.add_argument(
        "--token-file",
        metavar="PATH",
        help="with --listen: what callers must show (default: alerts.receive_token); needed but on loopback",
    )
    got.ends(
        (0, 2, 9, 12),
        "opsqueue alerts receive webhook.json",
        "opsqueue alerts receive --listen 127.0.0.1:9095",
        "opsqueue alerts receive --listen 0.0.0.0:9095 --token-file /etc/opsqueue/secrets/receive_token",
    )


def run(out: Out, settings: Settings, given: Namespace) -> int:
    """Take one, or listen."""
    if (given.file is None) == (given.listen is None):
        raise InvalidRequest("give either FILE (- for stdin) or --listen HOST:PORT")
    if given.listen is None:
        if given.token_file is not None:
            raise InvalidRequest("--token-file goes with --listen")
        return _one(out, settings, given.file)
    from opsqueue.tasks.receiver import listen  # noqa: PLC0415  # http.server: 20 ms that no other verb needs

    return listen(settings, given.listen, token_file=given.token_file, tell=note)


def _read(file: str) -> bytes:
    """No more than tells that it is too much."""
    if file == "-":
        return sys.stdin.buffer.read(MOST_BYTES + 1)
    with Path(file).open("rb") as given:
        return given.read(MOST_BYTES + 1)


def _one(out: Out, settings: Settings, file: str) -> int:
    try:
        data = _read(file)
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be read: {error.strerror}") from None
    with needed(settings) as store:
        changed = receive(store, data)
    show.said(out, {"changed": changed}, f"{changed} alerts changed")
    return 0
