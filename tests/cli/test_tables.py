"""Tables on terminals that are too narrow for them."""

from __future__ import annotations

import pytest

from opsqueue.cli.commands import freeze, history, hosts, monitor, schedule, status
from opsqueue.cli.tables import Narrow, table, wrapped
from opsqueue.cli.text import columns_of

WIDTHS = (80, 60, 40)
ID, ENDED = "6f1c0de0", "2026-03-01 14:30:00Z"
HISTORY = [
    (
        ID,
        ENDED,
        "rolled_back",
        "restart-nginx",
        "service_restart",
        "web-server-1, web-server-2",
        "1.2 s",
        "79",
        "ann@x",
    ),
    (ID, ENDED, "succeeded", "a name that is much longer than any column", "health_check", "db", "1 h", "", "bob@y"),
]
WAITS = "maintenance_window, concurrency until 2026-03-01 02:00:00Z (in 3 h 12 min)"
STATUS = [(ID, "waiting", "restart-nginx", "service_restart", "critical", "web-server-1", "3 min 2 s", WAITS)]
MONITOR = [
    ("database-server-1", "12.3 %", "45.1 %", "0.0 %", "81.0 %", "0.5", "93", "2 h 6 min", "1.1 KiB/s", "2 B/s", ""),
    ("web-server-1", *[""] * 9, "the host did not answer within 10 s; look whether its sshd runs"),
]
_PAST = "▁▂▃▄▅▆▇█▁▂▃▄▅▆▇█▁▂▃▄"
LIVE = [(row[0], row[1], _PAST, row[2], _PAST, *row[3:6], _PAST, *row[6:]) for row in MONITOR]
LISTS = {
    "history": (history.HEADERS, HISTORY, history.NARROW, ("ID", "STATUS")),
    "status": (status.HEADERS, STATUS, status.NARROW, ("ID", "STATUS")),
    "monitor": (monitor.HEADERS, MONITOR, monitor.NARROW, ("HOST",)),
    "live monitor": (monitor.LIVE_HEADERS, LIVE, monitor.LIVE_NARROW, ("HOST",)),
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", LISTS)
def test_no_row_is_wider_than_the_terminal_and_what_is_copied_is_whole(name, width):
    headers, rows, narrow, kept = LISTS[name]
    lines = table(headers, rows, width=width, narrow=narrow)
    assert max(map(columns_of, lines)) <= width
    for row in rows:
        assert all(any(row[headers.index(column)] in line for line in lines) for column in kept)


@pytest.mark.parametrize("name", LISTS)
def test_where_the_width_is_not_known_nothing_is_left_out(name):
    headers, rows, narrow, _kept = LISTS[name]
    lines = table(headers, rows, narrow=narrow)
    assert len(lines) == 1 + len(rows)
    assert all(str(cell) in line for row, line in zip(rows, lines[1:], strict=True) for cell in row)


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (200, "ID ENDED STATUS NAME TYPE SYSTEMS TOOK HEALTH ASKED BY"),
        (80, "ID ENDED STATUS NAME SYSTEMS"),
        (60, "ID ENDED STATUS NAME"),
        (40, "ID STATUS NAME"),
    ],
)
def test_columns_go_in_the_order_of_the_table(width, shown):
    head, *rows = table(history.HEADERS, HISTORY, width=width, narrow=history.NARROW)
    assert head.split() == shown.split()
    assert [row.split()[0] for row in rows] == [ID, ID]
    assert all(ENDED in row for row in rows) == ("ENDED" in shown)


@pytest.mark.parametrize("width", WIDTHS)
def test_what_it_waits_for_stands_beneath_the_row_in_whole_words(width):
    lines = table(status.HEADERS, STATUS, width=width, narrow=status.NARROW)
    beneath = [line for line in lines if line.startswith("    ")]
    assert lines[0].split()[-1] != "FOR"
    assert " ".join(" ".join(beneath).split()) == f"waits for: {WAITS}"


def test_a_column_stays_where_it_fits():
    head, row = table(("ID", "WAITS FOR"), [(ID, "h1")], width=40, narrow=status.NARROW)
    assert (head, row) == ("ID        WAITS FOR", f"{ID}  h1")


def test_columns_that_are_dropped_exist():
    pairs = [
        (history.HEADERS, history.NARROW), (status.HEADERS, status.NARROW), (monitor.HEADERS, monitor.NARROW),
        (monitor.LIVE_HEADERS, monitor.LIVE_NARROW),
        (freeze.HEADERS, freeze.NARROW), (hosts.HEADERS, hosts.NARROW), (schedule.HEADERS, schedule.NARROW),
    ]  # fmt: skip
    assert all({*one.beneath, *one.drops, *one.last} < set(headers) for headers, one in pairs)


def test_a_terminal_too_narrow_for_an_id_still_has_one_line_for_each_row():
    lines = table(("ID", "HOST", "NAME"), [(ID, "database-server-1", "x")], width=12, narrow=Narrow())
    assert len(lines) == 2
    assert max(map(columns_of, lines)) <= 12


@pytest.mark.parametrize(
    ("text", "most", "lines"),
    [
        ("one two three", 7, ["one two", "three"]),
        ("abcdefghij k", 4, ["abcd", "efgh", "ij k"]),
        ("备份备份", 4, ["备份", "备份"]),
        ("备份", 1, ["备", "份"]),
        ("", 4, []),
    ],
)
def test_wrapping_loses_nothing(text, most, lines):
    assert list(wrapped(text, most)) == lines
