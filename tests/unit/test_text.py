"""Text for terminals, times for people, exit statuses."""

from __future__ import annotations

import json

import pytest

from opsqueue.cli import exit_status, times
from opsqueue.cli.output import dumps
from opsqueue.cli.render import UNKNOWN, number
from opsqueue.cli.tables import table
from opsqueue.cli.text import clipped, coloured, columns_of, safe, safe_lines
from opsqueue.errors import InvalidRequest
from opsqueue.model.duration import duration
from opsqueue.model.names import Outcome


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a\x1b[31mred\nb\r", "a\\x1b[31mred\\x0ab\\x0d"),
        ("\x9b2J", "\\x9b2J"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
        ("a\u200bb", "a\\u200bb"),
        ("\udc80", "\\udc80"),
        ("备份 ü", "备份 ü"),
    ],
)
def test_nothing_can_move_the_cursor_or_deceive(text, shown):
    assert safe(text) == shown
    assert json.loads(dumps([text])) == [text]
    assert dumps([text]).isprintable()


def test_output_of_a_command_keeps_its_lines():
    assert safe_lines("a\tb\r\nc\x07\n") == ["a       b", "c\\x07", ""]


def test_a_table_is_aligned_whatever_the_letters():
    lines = table(("NAME", "N"), [("备份", 1), ("ä", None), ("e\u0301", "x ")])
    assert lines == ["NAME  N", "备份  1", "ä", "e\u0301     x"]


def test_a_table_is_cut_to_the_terminal_and_only_there():
    headers, rows = ("ID", "NAME", "STATUS"), [("6f1c2d1e", "a long name that is too long for this", "succeeded")]
    assert table(headers, rows, width=40) == [
        "ID        NAME                 STATUS",
        "6f1c2d1e  a long name that i…  succeeded",
    ]
    assert rows[0][1] in table(headers, rows)[1]
    assert all(columns_of(line) <= 40 for line in table(headers, rows, width=40))


@pytest.mark.parametrize(
    ("text", "most", "cut"), [("abcdef", 6, "abcdef"), ("abcdefg", 6, "abcde…"), ("备份备份", 6, "备份…")]
)
def test_cutting_counts_columns(text, most, cut):
    assert clipped(text, most) == cut


def test_colours_only_where_wanted():
    assert coloured("failed ", colour=True) == "\x1b[31mfailed \x1b[0m"
    assert coloured("failed", colour=False) == "failed"
    assert coloured("anything", colour=True) == "anything"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("7d", 604_800), ("2w", 1_209_600)]
)
def test_durations(text, seconds):
    assert duration(text) == seconds
    assert times.moment(text, now=2e9, zone="UTC") == 2e9 - seconds


@pytest.mark.parametrize("text", ["", "2", "h", "-2h", "2h ", "2H", "1.5h", "0s", "999999999w", "٣h", "2h\n"])
def test_no_durations(text):
    with pytest.raises(InvalidRequest, match="90s, 30m, 2h"):
        duration(text)


@pytest.mark.parametrize(
    ("text", "zone", "at"),
    [
        ("2026-03-01", "UTC", 1_772_323_200),
        ("2026-03-01", "Europe/Berlin", 1_772_319_600),
        ("2026-03-01T14:30", "UTC", 1_772_375_400),
        ("2026-03-01T14:30Z", "Europe/Berlin", 1_772_375_400),
        ("2026-03-01T14:30+02:00", "UTC", 1_772_368_200),
    ],
)
def test_moments(text, zone, at):
    assert times.moment(text, now=0, zone=zone) == at


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.00 s"), (1.234, "1.23 s"), (59.6, "1 min"), (3600, "1 h"), (11_521, "3 h 12 min"), (90_061, "1 d 1 h")],
)
def test_lengths(seconds, text):
    assert times.length(seconds) == text


def test_until_says_how_long():
    assert times.until("2026-03-01T02:00:00.000Z", 1_772_330_400 - 11_520) == "2026-03-01 02:00:00Z (in 3 h 12 min)"
    assert times.until("2026-03-01T02:00:00.000Z", 2e9) == "2026-03-01 02:00:00Z"
    assert times.until(None, 0) == ""


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "percent", UNKNOWN),
        (0.0, "percent", "0.0 %"),
        (512, "bytes", "512 B"),
        (1536, "bytes/s", "1.5 KiB/s"),
        (2**45, "bytes", "32.0 TiB"),
        (12, "count", "12"),
        (3700.0, "s", "1 h 1 min"),
        (0.25, "s", "0.25 s"),
        (1.23456, "ms", "1.235 ms"),
        (12_345_678, "count", "12345678"),
    ],
)
def test_metrics_with_their_units(value, unit, text):
    assert number(value, unit) == text


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        ("succeeded", 0), ("unchanged", 0), ("failed", 3), ("cancelled", 3), ("denied", 4), (None, 5),
        ("rolled_back", 6), ("unknown", 7), ("partial", 8),
    ],
)  # fmt: skip
def test_the_exit_status_of_an_outcome(outcome, status):
    assert exit_status.of({"outcome": outcome}) == status


_INFO, _WARNING, _CRITICAL = ({"severity": word} for word in ("info", "warning", "critical"))


@pytest.mark.parametrize(
    ("outcome", "fail_on", "findings", "status"),
    [
        ("succeeded", None, [_CRITICAL], 0),
        ("succeeded", "critical", [_INFO, _WARNING], 0),
        ("succeeded", "critical", [_CRITICAL], 3),
        ("unchanged", "warning", [_INFO, _WARNING], 3),
        ("succeeded", "warning", [_CRITICAL], 3),
        ("succeeded", "warning", [_INFO], 0),
        ("partial", "warning", [_CRITICAL], 8),
        (None, "warning", [_CRITICAL], 5),
    ],
)
def test_findings_can_make_a_success_a_failure(outcome, fail_on, findings, status):
    assert exit_status.of({"outcome": outcome, "findings": findings}, fail_on) == status


def test_every_outcome_has_an_exit_status():
    assert all(exit_status.of({"outcome": outcome.value}) in exit_status.MEANING for outcome in Outcome)


_PASS, _HOLD, _DENY = ({"verdict": word} for word in ("pass", "hold", "deny"))
_WELL = {"problems": [], "reachable": True}


@pytest.mark.parametrize(
    ("verdicts", "targets", "status"),
    [
        ([_PASS], [_WELL], 0),
        ([_PASS, _HOLD], [_WELL], 0),
        ([_HOLD, _DENY], [_WELL], 4),
        ([_PASS], [_WELL, {"problems": ["x"], "reachable": True}], 3),
        ([_PASS], [{"problems": [], "reachable": False}], 3),
        ([_DENY], [{"problems": [], "reachable": False}], 3),
        ([_DENY], [_WELL, {"problems": [], "reachable": False}], 4),
        ([_DENY], [], 4),
    ],
)
def test_the_exit_status_of_a_plan(verdicts, targets, status):
    assert exit_status.of_plan({"verdicts": verdicts, "targets": targets}) == status
