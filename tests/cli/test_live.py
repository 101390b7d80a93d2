"""The last line of a terminal while something runs, and the last line when it has ended."""

from __future__ import annotations

import io
import os
import pty
import select
import time
from contextlib import suppress
from pathlib import Path

import pytest
from test_render import OPERATION

from opsqueue.cli.commands.execute import result
from opsqueue.cli.follow import doing
from opsqueue.cli.live import Live
from opsqueue.cli.output import Out
from opsqueue.cli.verdict import verdict


def read_to_end(terminal):
    """All that was written to a terminal whose other side is closed; it arrives piece by piece."""
    text = b""
    with suppress(OSError):  # so Linux says that there is no more
        while select.select([terminal], [], [], 0.1)[0] and (piece := os.read(terminal, 65_536)):
            text += piece
    os.close(terminal)
    return text.decode()


class Clock:
    at = 100.0

    def __call__(self):
        return self.at


def test_a_result_takes_the_place_of_the_live_line():
    stream, clock = io.StringIO(), Clock()
    live = Live(stream, clock=clock)
    live.now("execute  …  running")
    live.update()
    assert stream.getvalue() == ""  # what is over at once does not flicker
    clock.at += 4.2
    live.update()
    live.update()
    line = "execute  …  running 4 s"
    assert stream.getvalue() == f"\r{line}"
    live.above(lambda: stream.write("execute  ✓\n"))
    assert stream.getvalue() == f"\r{line}\r{' ' * len(line)}\rexecute  ✓\n"
    live.now("x")
    clock.at += 1
    live.update()
    assert stream.getvalue().endswith("\n\rx 1 s")


def test_a_shorter_line_covers_the_longer_one():
    stream, clock = io.StringIO(), Clock()
    live = Live(stream, clock=clock)
    live.now("a")
    clock.at += 10
    live.update()
    clock.at -= 5
    live.update()
    assert stream.getvalue() == "\ra 10 s\ra 5 s "


def test_it_is_silent_where_it_is_off():
    stream, clock = io.StringIO(), Clock()
    with Live(stream, on=False, clock=clock) as live:
        live.now("a")
        clock.at += 9
        live.update()
        live.above(lambda: None)
    assert stream.getvalue() == ""


def test_on_a_terminal_it_moves_by_itself_at_most_so_often():
    ours, theirs = pty.openpty()
    with open(theirs, "w", encoding="utf-8") as screen:  # noqa: PTH123 - a descriptor
        began = time.monotonic()
        with Live(screen, clock=lambda: 1000 * time.monotonic(), every=0.025) as live:
            live.now("execute  …  running")
            time.sleep(0.06)
        took = time.monotonic() - began
        text = read_to_end(ours)
    assert 1 <= text.count("running") <= took / 0.025
    assert text.endswith("\r")
    assert "\x1b" not in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ({"stage": "verify", "status": "pending"}, "waiting for a worker …"),
        ({"stage": "verify", "status": "verifying"}, "verify   …  running"),
        ({"stage": "execute", "status": "executing"}, "execute  …  running"),
        ({"stage": "execute", "status": "retrying"}, "execute  …  retrying"),
        ({"stage": "window", "status": "waiting", "waits_for": ["freeze"]}, "window   …  waiting"),
        ({"stage": "closed", "status": "succeeded"}, ""),
    ],
)
def test_what_is_being_done(data, shown):
    assert doing({"waits_for": [], **data}) == shown


LOOK = {**OPERATION, "name": "first-look", "outcome": "succeeded", "status": "succeeded", "health_score": 79.0}
WARNING = {"severity": "warning", "host": "web-1", "message": "almost", "code": "x", "advice": ""}
CRITICAL = {**WARNING, "severity": "critical", "message": "gone\x1b[2J"}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"findings": []}, "succeeded  first-look  6f1c2d1e  in 9.50 s, health score 79 (1 of 2 hosts)"),
        (
            {"findings": [WARNING]},
            "succeeded  first-look  6f1c2d1e  in 9.50 s, health score 79 (1 of 2 hosts), 1 finding (1 warning)",
        ),
        (
            {"findings": [WARNING, CRITICAL], "health_score": None},
            (
                "succeeded, and found 1 critical: web-1: gone\\x1b[2J  first-look  6f1c2d1e  "
                "in 9.50 s, 2 findings (1 critical, 1 warning)"
            ),
        ),
        (
            {"findings": [CRITICAL], "outcome": "failed", "health_score": None, "finished_at": None},
            "failed  first-look  6f1c2d1e  in 9.00 s, 1 finding (1 critical)",
        ),
    ],
)
def test_how_it_ended(change, line):
    assert verdict(Out(), {**LOOK, **change}) == line


def test_how_it_ended_in_colour_and_cut_to_a_terminal():
    found = [{**CRITICAL, "message": "word " * 40}]
    line = verdict(Out(terminal=True, colour=True, width=60), {**LOOK, "findings": found})
    assert line.startswith("\x1b[31msucceeded, and found 1 critical: web-1: word")
    assert "…\x1b[0m  first-look" in line


def test_how_it_ended_is_the_last_thing_said(capsys):
    result(Out(), {**LOOK, "findings": [WARNING]}, Path("/logs"))
    said = capsys.readouterr()
    assert said.out.splitlines()[-2:] == ["", verdict(Out(), {**LOOK, "findings": [WARNING]})]
    assert said.out.index("findings") < said.out.rindex("first-look")
    assert said.err == "\nthe whole story: `opsqueue show 6f1c2d1e`; log: /logs\n"
