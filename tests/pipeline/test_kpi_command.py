"""`opsqueue kpi` on a real record: its forms, its file, and that whoever reckons has the same figures."""

from __future__ import annotations

import csv
import json
import re
import shutil
from datetime import datetime
from io import StringIO
from zoneinfo import ZoneInfo

import pytest

from opsqueue.cli.render import UNKNOWN
from opsqueue.client import Operations
from opsqueue.kpi.definitions import DEFINITIONS
from opsqueue.kpi.period import parse
from opsqueue.model.kind import Metric
from opsqueue.pipeline.figures import as_json, told
from opsqueue.settings import load
from opsqueue.store import samples
from opsqueue.store.engine import Store

BERLIN = ZoneInfo("Europe/Berlin")
SUNDAY = datetime(2026, 3, 29, tzinfo=BERLIN).timestamp()
"""A day of 23 hours."""
DAY = "2026-03-29..2026-03-30"


@pytest.fixture
def kept(empty, tmp_path, migrated):
    """The command line with a record in which h1 was looked at each minute of that day, and down for 20 of them."""
    (tmp_path / "state").mkdir()
    shutil.copy(migrated, tmp_path / "state" / "opsqueue.db")
    empty.set(timezone="Europe/Berlin", maintenance_windows={"daily": "05:00-07:00"})
    begin = datetime(2026, 3, 29, 6, 50, tzinfo=BERLIN).timestamp()
    look(empty, "h1", *((SUNDAY + 60 * n, not begin <= SUNDAY + 60 * n < begin + 1200) for n in range(23 * 60)))
    return empty


def look(line, host, *looks):
    store = Store(load(str(line.config)).database)
    with store.begin() as tx:
        up = (("up", "state"), {True: 1.0, False: 0.0})
        taken = [
            samples.Taken(host=host, at=at, metrics={"up": Metric(name="up", value=up[1][well], unit="state")})
            for at, well in looks
        ]
        samples.add(tx, taken)
    store.close()


def values(data):
    return {one["name"]: one["value"] for one in data["figures"]}


def test_the_day_on_which_the_clock_changes_has_23_hours(kept):
    data = kept("kpi", "--period", DAY, "--format", "json").json
    assert data["period"]["hours"] == 23
    assert data["compared_with"]["hours"] == 24
    found = values(data)
    assert found["availability_raw"] == pytest.approx(100 * (23 * 60 - 20) / (23 * 60), abs=1e-5)
    assert found["availability"] == pytest.approx(100 * (21 * 60 - 10) / (21 * 60), abs=1e-5)
    assert (found["mttr"], found["mttd"], found["mtta"]) == (1200, None, None)
    assert found["error_budget"] == pytest.approx(23 * 3.6)


@pytest.mark.parametrize(
    ("day", "hours", "planned"),
    [((2026, 3, 29), 23, 2.5 + 2), ((2026, 6, 7), 24, 3.5 + 2), ((2026, 10, 25), 25, 4.5 + 2)],
)
def test_a_window_across_midnight_is_as_long_as_it_really_was(empty, tmp_path, migrated, day, hours, planned):
    (tmp_path / "state").mkdir()
    shutil.copy(migrated, tmp_path / "state" / "opsqueue.db")
    only_quiet = {"spec": "00:00-24:00", "permit": False, "mute": True}  # no planned maintenance
    empty.set(timezone="Europe/Berlin", maintenance_windows={"night": "22:00-03:30", "quiet": only_quiet})
    begin = datetime(*day, tzinfo=BERLIN).timestamp()
    down = datetime(*day, 3, 20, tzinfo=BERLIN).timestamp()  # ten minutes in the window, and ten after it
    looks = [(begin + 60 * n, not down <= begin + 60 * n < down + 1200) for n in range(hours * 60)]
    look(empty, "h1", *looks)
    period = f"{day[0]}-{day[1]:02}-{day[2]:02}..{day[0]}-{day[1]:02}-{day[2] + 1:02}"
    data = empty("kpi", "--period", period, "--format", "json").json
    assert data["period"]["hours"] == hours
    found = values(data)
    assert found["availability_raw"] == pytest.approx(100 * (hours * 60 - 20) / (hours * 60), abs=1e-5)
    counted = (hours - planned) * 60
    assert found["availability"] == pytest.approx(100 * (counted - 10) / counted, abs=1e-5)
    assert found["error_budget"] == pytest.approx(hours * 3.6)


def test_each_number_has_its_definition_and_sample_size(kept):
    data = kept("kpi", "--period", DAY, "--output", "json").json
    assert [one["name"] for one in data["figures"]] == [one.name for one in DEFINITIONS]
    assert all(one["definition"] and one["sample"] and one["n"] >= 0 for one in data["figures"])
    table = kept("kpi", "--period", DAY).out
    for one in DEFINITIONS:
        assert one.label in table
        assert one.meaning in table
    assert re.search(r"Availability, raw +98\.551 % +1380 ", table)
    assert re.search(rf"MTTA, mean +{UNKNOWN} +0 ", table)


def test_the_same_numbers_in_every_form(kept):
    data = kept("kpi", "--period", DAY, "--format", "json").json
    rows = list(csv.DictReader(StringIO(kept("kpi", "--period", DAY, "--format", "csv").out)))
    assert {row["name"]: float(row["value"]) if row["value"] else None for row in rows} == values(data)
    assert {row["name"]: int(row["n"]) for row in rows} == {one["name"]: one["n"] for one in data["figures"]}
    lines = kept("kpi", "--period", DAY, "--output", "jsonl").out.splitlines()
    assert [json.loads(line) for line in lines] == data["figures"]
    page = kept("kpi", "--period", DAY, "--format", "html").out
    assert page.startswith("<!DOCTYPE html>")
    assert "98.551 %" in page
    assert data["revision"] in page
    assert page.count("</table>") >= 6


def test_format_and_output_may_not_disagree(kept):
    assert kept("kpi", "--period", DAY, "--format", "json", "--output", "json").status == 0
    said = kept("kpi", "--period", DAY, "--format", "csv", "--output", "json")
    assert (said.status, said.out) == (2, "")
    assert "--format csv and --output json" in said.err


def test_a_file_is_written_whole_and_replaced(kept, tmp_path):
    file = tmp_path / "kpi.html"
    file.write_text("old")
    said = kept("kpi", "--period", "2026-03-01..2026-04-01", "--format", "html", "--to", str(file))
    assert (said.status, said.out) == (0, "")
    assert str(file) in said.err
    assert file.read_text().endswith("</html>\n")
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("k.html", "<!DOCTYPE html>"),
        ("K.HTM", "<!DOCTYPE html>"),
        ("k.csv", "from,until,"),
        ("k.json", "{\n"),
        ("k.jsonl", '{"name"'),
    ],
)
def test_the_form_is_as_the_name_of_the_file_ends(kept, tmp_path, name, begins):
    said = kept("kpi", "--period", DAY, "--to", str(tmp_path / name))
    assert (said.status, said.out) == (0, "")
    assert (tmp_path / name).read_text().startswith(begins)


def test_a_form_that_there_is_not_is_refused_before_anything_is_reckoned(kept, tmp_path):
    file = tmp_path / "k.pdf"
    said = kept("kpi", "--period", DAY, "--to", str(file))
    assert (said.status, said.out) == (2, "")
    assert f"ends in one of .csv, .htm, .html, .json, .jsonl; found '.pdf' in {file}. With --format" in said.err
    assert not file.exists()
    assert kept("kpi", "--period", DAY, "--format", "csv", "--to", str(file)).status == 0
    assert "or a name such as kpi.html" in kept("kpi", "--period", DAY, "--to", str(tmp_path / "kpi-2026.03")).err


def test_a_file_that_cannot_be_written_is_told(kept, tmp_path):
    nowhere = tmp_path / "nowhere" / "kpi.csv"
    said = kept("kpi", "--period", DAY, "--format", "csv", "--to", str(nowhere))
    assert (said.status, said.out) == (2, "")
    assert f"{nowhere} cannot be written: there is no directory {nowhere.parent}" in said.err
    assert "Say the path of a file with --to" in said.err
    said = kept("kpi", "--period", DAY, "--format", "csv", "--to", str(tmp_path))
    assert said.status == 2
    assert "it is a directory" in said.err
    assert kept("kpi", "--period", DAY, "--to", str(tmp_path / "t")).status == 2


def test_the_figures_of_some_hosts(kept):
    look(kept, "h2", *((SUNDAY + 60 * n, False) for n in range(60)))
    look(kept, "gone", (SUNDAY, True))
    kept.set(hosts={**json.loads(kept.config.read_text())["hosts"], "h3": {"connector": "local"}})
    every, one, none, gone = (
        values(kept("kpi", "--period", DAY, *words, "--format", "json").json)
        for words in ((), ("--system", "h2"), ("--system", "h3"), ("--system", "gone"))
    )
    assert one["availability_raw"] == 0
    assert 0 < every["availability_raw"] < 98
    assert none["availability_raw"] is None
    assert gone["availability_raw"] == 100


def test_a_host_that_nobody_knows_and_the_record_has_not_is_refused(kept):
    said = kept("kpi", "--period", DAY, "--system", "h1", "--system", "h11")
    assert (said.status, said.out) == (10, "")
    assert "there is no host, group or tag 'h11'; did you mean" in said.err
    assert "the record has nothing of it" in said.err


def test_the_last_days_until_now(kept):
    data = kept("kpi", "--period", "7d", "--format", "json").json
    assert (data["period"]["hours"], data["so_far"]) == (7 * 24, False)
    assert data["compared_with"]["until"] == data["period"]["from"]


@pytest.mark.parametrize(
    "period",
    [
        "0001-01-01..0001-01-02",
        "2026-01-01..9999-12-31",
        "9999-12-30..9999-12-31",
        "0001-01-01T00:00+23:59..2026-01-01",
        "2999-12-31..3000-01-01",
    ],
)
def test_a_period_far_from_now_is_refused_in_words(kept, period):
    said = kept("kpi", "--period", period)
    assert said.status == 2
    assert "1970 to 2999" in said.err


def test_a_period_that_lies_wholly_ahead_has_no_figures_so_far(kept):
    said = kept("kpi", "--period", "2900-01-01..2900-02-01")
    assert (said.status, said.out) == (2, "")
    assert "'2900-01-01..2900-02-01' lies wholly ahead: it begins only at 2900-01-01T00:00:00+01:00 Europe" in said.err


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_the_longest_period_has_one_before_it(zone):
    longest = parse("1970-01-01..2999-12-31", SUNDAY, zone)
    assert longest.before.end == longest.start


@pytest.mark.parametrize("words", [("--period", "year"), ("--period", "2026-13-01..x"), ("--format", "pdf")])
def test_what_cannot_be_meant_is_refused(kept, words):
    assert kept("kpi", *words).status == 2


def test_without_a_record_there_is_nothing_to_tell(empty):
    said = empty("kpi")
    assert (said.status, said.out) == (12, "")
    assert "no record" in said.err


def test_two_who_reckon_have_the_same_figures(kept):
    found = []
    for _ in range(2):
        settings = load(str(kept.config))
        store = Store(settings.database)
        found.append(as_json(told(store, settings, period=DAY, now=SUNDAY + 86_400 * 3)))
        store.close()
    assert found[0] == found[1]


def test_a_late_sample_changes_the_number_and_the_revision(kept):
    before = kept("kpi", "--period", DAY, "--format", "json").json
    again = kept("kpi", "--period", DAY, "--format", "json").json
    look(kept, "h2", (SUNDAY + 300, False))
    after = kept("kpi", "--period", DAY, "--format", "json").json
    assert before["revision"] == again["revision"] != after["revision"]
    assert values(before)["availability_raw"] > values(after)["availability_raw"]


def test_an_operation_that_ended_after_the_period_is_told_as_added_later(kept, story):
    settings = load(str(kept.config))
    operation_id = story.ask("look_value")
    began = story.clock.at
    while story.raw(operation_id).stage != "notify":
        story.step(operation_id)
    end = began + 60
    story.clock.at = end + 60
    story.drive(operation_id)
    period = (
        f"{datetime.fromtimestamp(began - 60, BERLIN).isoformat()}..{datetime.fromtimestamp(end, BERLIN).isoformat()}"
    )
    found = told(story.store, settings, period=period, now=end + 3600)
    assert found.added_later == 1
    assert {one.name: one.n for one in found.figures}["throughput"] == 0


def test_what_worked_operations_come_to(kept, story):
    for requested_by in ("schedule:x", "ann@desk"):
        story.drive(story.ask(parameters={"to": 5 if "x" in requested_by else 6}, requested_by=requested_by))
    story.machines["h1"].wrong = True
    failed = story.drive(story.ask(parameters={"to": 9}, requested_by="schedule:x", retry_count=0))
    assert failed["outcome"] in {"failed", "rolled_back"}
    settings = load(str(kept.config))
    now = story.clock.at
    text = "..".join(datetime.fromtimestamp(at, BERLIN).isoformat() for at in (now - 7200, now + 1))
    found = {one.name: one for one in told(story.store, settings, period=text, now=now + 1).figures}
    assert (found["error_rate"].value, found["error_rate"].n) == (pytest.approx(100 / 3), 3)
    assert dict(found["automation_ratio"].parts)["manual"] == (0, 1)
    assert found["automation_ratio"].value == pytest.approx(200 / 3)
    assert found["change_failure_rate"].n == 3


def test_python_has_the_same(kept):
    data = Operations(config_path=kept.config).kpi(DAY, system="h1")
    shown = kept("kpi", "--period", DAY, "--system", "h1", "--format", "json").json
    assert {**data, "reckoned_at": ""} == {**shown, "reckoned_at": ""}
