"""The sparklines of `opsqueue monitor`: the last hour from the record, or the readings since it began."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from opsqueue.cli.commands.monitor import LIVE_HEADERS, LIVE_NARROW, show
from opsqueue.cli.monitor_past import MANY, MonitorPast
from opsqueue.cli.output import Out
from opsqueue.cli.sparklines import cells, sparkline
from opsqueue.cli.tables import table
from opsqueue.cli.text import columns_of
from opsqueue.model.kind import Metric
from opsqueue.settings import Settings
from opsqueue.store import samples
from opsqueue.store.engine import Store
from opsqueue.store.upgrade import upgrade

AT = 1_800_000_000.0


@pytest.mark.parametrize(
    ("values", "top", "drawn"),
    [
        ([0, 12.4, 12.5, 50, 99, 100], 100, "▁▁▂▅██"),
        ([250, -3], 100, "█▁"),
        ([10, None, None, 90], 100, "▁  █"),
        ([None, 10, None], 100, " ▁"),
        ([None, None], 100, ""),
        ([], 100, ""),
        ([1.0], 0, "▁"),
    ],
)
def test_one_letter_for_each_value(values, top, drawn):
    assert sparkline(values, top) == drawn


def test_values_of_a_part_are_one_and_what_is_stale_is_a_gap():
    values = [(0, 2.0), (5, 4.0), (10, 8.0), (60, 1.0), (99, 9.0), (500, 7.0), (-1, 7.0)]
    assert list(cells(values, since=0, until=100, many=10, stale=35)) == [3, 8, 8, 8, 8, None, 1, 1, 1, 9]
    assert list(cells([], since=0, until=100, many=2, stale=5)) == [None, None]


def reading(cpu=50.0, hosts=("h1",)):
    metrics = {
        "cpu_usage": {"value": cpu, "unit": "percent"},
        "memory_usage": {"value": 25.0, "unit": "percent"},
        "load_per_cpu_1m": {"value": 0.1, "unit": "load/CPU"},
    }
    return {
        "at": "2027-01-15T08:00:00Z",
        "hosts": [{"host": name, "error": None, "metrics": metrics} for name in hosts],
    }


@pytest.fixture
def settings(tmp_path):
    return Settings(state_dir=tmp_path / "state")


@pytest.fixture
def record(settings):
    settings.state_dir.mkdir()
    store = Store(settings.database)
    upgrade(store)
    yield store
    store.close()


def measured(store, values, host="h1"):
    metric = {at: {"cpu_usage": Metric(name="cpu_usage", value=value, unit="percent")} for at, value in values}
    with store.begin() as tx:
        samples.add(tx, [samples.Taken(host=host, at=at, metrics=found) for at, found in metric.items()])


def test_without_a_record_the_readings_are_the_past_and_none_is_made(settings):
    past = MonitorPast(settings)
    for number in range(MANY + 5):
        past.add(AT + 2 * number, reading(cpu=4.0 * number)["hosts"])
    assert past.shown("h1", "cpu_usage", AT + 48) == "▂▂▃▃▃▄▄▄▅▅▅▆▆▆▇▇▇███"
    assert past.shown("h2", "cpu_usage", AT + 48) == ""
    assert past.words == "the last 20 readings"
    assert not settings.state_dir.exists()


def test_a_host_that_did_not_answer_is_a_gap(settings):
    past = MonitorPast(settings)
    past.add(AT, reading()["hosts"])
    past.add(AT + 2, [{"host": "h1", "error": "away", "metrics": {}}])
    past.add(AT + 4, reading()["hosts"])
    assert past.shown("h1", "cpu_usage", AT + 4) == "▅ ▅".rjust(MANY)


def test_the_last_hour_is_shown_where_the_record_has_it(settings, record):
    measured(record, [(AT - 4000, 99.0), *((AT - 60 * n, 10.0) for n in range(30, 61))])
    past = MonitorPast(settings)
    past.add(AT, reading(cpu=95.0)["hosts"])
    # For 9 minutes it is as it was, then nobody knows; the newest is what was read just now.
    assert past.shown("h1", "cpu_usage", AT) == "▁" * 13 + " " * 6 + "█"
    assert past.shown("h1", "memory_usage", AT) == "▃".rjust(MANY)  # of this the record has nothing
    assert past.words == "the last hour"


def test_the_record_is_read_again_after_a_minute(settings, record):
    past = MonitorPast(settings)
    past.add(AT, reading()["hosts"])
    assert past.words == "the last 20 readings"
    measured(record, [(AT + 1, 10.0)])
    past.add(AT + 30, reading()["hosts"])
    assert past.words == "the last 20 readings"
    past.add(AT + 61, reading()["hosts"])
    assert past.words == "the last hour"


def test_a_record_that_cannot_be_read_costs_the_past_only(settings, record):
    with record.begin() as tx:
        tx.execute(text("DROP TABLE samples"))
    past = MonitorPast(settings)
    past.add(AT, reading()["hosts"])
    assert past.shown("h1", "cpu_usage", AT) == "▅".rjust(MANY)


def test_a_screen(settings, capsys):
    past = MonitorPast(settings)
    for number, cpu in enumerate((10.0, 60.0, 90.0)):
        show(Out(terminal=True, width=200), reading(cpu), past, AT + number)
    *_, last = capsys.readouterr().out.split("\x1b[H\x1b[2J")
    head, _blank, names, row, *notes = last.splitlines()
    assert head.startswith("opsqueue monitor  2027-01-15T08:00:00Z")
    assert "CPU PAST" in names
    assert f"90.0 %  {'▁▅█'.rjust(MANY)}" in row
    assert notes[-1].startswith("PAST: the last 20 readings; the highest letter is 100 %")


def test_a_terminal_that_has_no_such_letters_gets_the_table_alone(capsys):
    show(Out(terminal=True, width=200), reading(), None)
    shown = capsys.readouterr().out
    assert "PAST" not in shown
    assert "50.0 %" in shown


@pytest.mark.parametrize("width", [200, 120, 80, 60, 40, 20])
def test_a_sparkline_is_whole_or_not_there(width):
    full = "▁▂▃▄▅▆▇█▁▂▃▄▅▆▇█▁▂▃▄"
    row = tuple(full if "PAST" in name else "database-server-1" if name == "HOST" else "12 %" for name in LIVE_HEADERS)
    lines = table(LIVE_HEADERS, [row], width=width, narrow=LIVE_NARROW)
    assert max(map(columns_of, lines)) <= width
    assert ("▁" in lines[1]) is (full in lines[1])
    assert lines[1].count(full) == lines[0].count("PAST")
