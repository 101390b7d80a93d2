"""`opsqueue report`: an operation as a document, from a record that a story has written."""

from __future__ import annotations

import json
import re
import xml.dom.minidom
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from opsqueue.cli.commands import capacity
from opsqueue.cli.html import page
from opsqueue.cli.main import main
from opsqueue.cli.svg import svg
from opsqueue.model.kind import Analysis, Finding, Metric
from opsqueue.model.names import Severity
from opsqueue.model.record import Target
from opsqueue.model.report import Band, Chart, Grid, Line, Mark, Report, Section
from opsqueue.model.sample import SeriesWanted
from opsqueue.pipeline.report import Reporter
from opsqueue.store import samples

EVIL = "<script>alert(1)</script>\x1b[31m & \"quoted\" 'too' \u202e"
WANTED = (SeriesWanted(name="past", metrics=("value",), ago=86_400),)


def _drawn(params, seen):
    line = Line(label=EVIL, points=tuple((point.at, point.mean) for point in seen.series["past"].get("value", ())))
    return (
        Section(title=f"value of {seen.host}", text=(EVIL,), charts=(Chart(title=EVIL, unit="count", lines=(line,)),)),
    )


def _told(params, seen):
    found = Finding(severity=Severity.WARNING, code="told", message=EVIL, advice="Look with `opsqueue show ID`.")
    points = seen.series["past"].get("value", ())
    return Analysis(findings=(found,), metrics=(Metric(name="seen", value=float(len(points)), unit="count"),))


@pytest.fixture
def drawn(story):
    """A story in which the looking type reports, over three days of the past."""
    world = story.world
    look = world().kinds["look_value"]
    kind = replace(
        look,
        series=lambda params: WANTED,
        analyse=_told,
        report=_drawn,
        overview=lambda metrics: (Section(title="all", text=(f"{len(metrics)} hosts",)),),
    )
    story.world = lambda *words, **more: replace(world(*words, **more), kinds={"look_value": kind})
    with story.store.begin() as tx:
        for hour in range(12):
            at = story.clock.at - hour * 3600 - 1
            taken = samples.Taken(host="h1", at=at, metrics={"value": Metric(name="value", value=hour, unit="count")})
            samples.add(tx, [taken])
    return story


def report_of(story, operation_id, **changes):
    world = story.world()
    reporter = Reporter(store=story.store, settings=world.settings, kinds=world.kinds, hosts=world.inventory)
    return replace(reporter, **changes).report(operation_id, story.clock.at)


def titles(report):
    return [section.title for section in report.sections]


def test_it_holds_what_was_asked_what_came_of_it_and_what_the_type_adds(drawn):
    operation_id = drawn.ask("look_value", ("h1", "h2"), reason="because")
    drawn.drive(operation_id)
    report = report_of(drawn, operation_id)
    assert titles(report) == [
        "What was asked, and what came of it", "Hosts", "Findings", "all", "h1: value of h1", "h2: value of h2",
        "What was measured",
    ]  # fmt: skip
    asked = dict(report.sections[0].grids[0].rows)
    assert (asked["operation"], asked["status"], asked["reason"]) == (operation_id, "succeeded", "because")
    first = report.sections[2].grids[0].rows[0]
    assert first[0] == "warning"
    assert f"`opsqueue show {operation_id[:8]}`" in first[3]
    measured = report.sections[-1].grids[0].rows
    assert ("h1", "value", "0 count") in measured


def test_numbers_that_only_the_past_tells_are_kept_like_measured_ones(drawn):
    operation_id = drawn.ask("look_value")
    shown = drawn.drive(operation_id)
    assert shown["metrics"]["h1"]["seen"] == {"value": 13.0, "unit": "count"}
    assert shown["metrics"]["h1"]["value"] == {"value": 0, "unit": "count"}
    with drawn.store.read() as connection:
        assert [value for _at, value in samples.read(connection, "h1", "seen", 0)] == [13.0]


def test_the_past_is_that_of_the_moment_and_not_of_today(drawn):
    operation_id = drawn.ask("look_value")
    drawn.drive(operation_id)
    before = report_of(drawn, operation_id)
    with drawn.store.begin() as tx:
        later = drawn.clock.at + 50
        taken = samples.Taken(host="h1", at=later, metrics={"value": Metric(name="value", value=99, unit="count")})
        samples.add(tx, [taken])
    drawn.clock.at += 100
    after = report_of(drawn, operation_id)
    assert after.sections == before.sections
    assert len(after.sections[4].charts[0].lines[0].points) == 13


def test_what_is_not_there_any_more_is_said(drawn):
    operation_id = drawn.ask("look_value")
    drawn.drive(operation_id)
    no_type = report_of(drawn, operation_id, kinds={})
    assert "The type look_value is not installed here" in no_type.sections[3].text[0]
    no_host = report_of(drawn, operation_id, hosts={})
    assert "h1 is not in the inventory any more" in no_host.sections[4].text[0]


def test_an_operation_that_has_not_begun_has_a_document_too(drawn):
    operation_id = drawn.ask("look_value")
    report = report_of(drawn, operation_id)
    assert titles(report)[:3] == ["What was asked, and what came of it", "Hosts", "Findings"]
    assert "pending" in report.subtitle


# -- the page -------------------------------------------------------------------------------------------------


class Tags(HTMLParser):
    """Which elements are open when, and which addresses there are."""

    void = frozenset({"meta", "br", "img", "link", "input"})

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.addresses = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.addresses += [value for name, value in attrs if name in {"src", "href", "action", "xlink:href"}]
        assert not any(name.startswith("on") for name, _value in attrs)
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def whole_page():
    chart = Chart(
        title=EVIL,
        unit="percent",
        lines=(Line(label=EVIL, points=((0.0, 1.0), (86_400.0, 2.0))), Line(label="x", points=(), dashed=True)),
        bands=(Band(label=EVIL, points=((0.0, 1.0, 2.0), (86_400.0, 1.0, float("inf")))),),
        marks=(Mark(label=EVIL, value=90.0), Mark(label="nan", value=float("nan"))),
    )
    grid = Grid(columns=(EVIL, "n"), rows=((EVIL, None), ("<i>", 1234567.0), ("x", 3)))
    section = Section(title=EVIL, text=(EVIL,), grids=(grid,), charts=(chart, Chart(title="none", unit="bytes")))
    return Report(title=EVIL, subtitle=EVIL, sections=(section,) * 6)


def test_nothing_in_a_page_is_run_loaded_or_left_open():
    text = page(whole_page())
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert not {"script", "img", "link", "iframe", "object", "i", "foreignobject"} & set(tags.seen)
    assert all(address.startswith("#s") for address in tags.addresses)
    assert "default-src &#x27;none&#x27;" in text
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert "&lt;script&gt;" in text
    assert "1 234 567" in text
    ids = re.findall(r'id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(" ".join(re.findall(r'aria-labelledby="([^"]+)"', text)).split()) <= set(ids)


def chart(points, unit="percent", **more):
    return Chart(title="t", unit=unit, lines=(Line(label="l", points=points),), **more)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (chart(()), "no data"),
        (chart(((0.0, 5.0),)), "<circle"),
        (chart(((0.0, float("nan")), (1.0, float("inf")))), "no data"),
        (chart(((0.0, 0.0), (60.0, 0.0)), "count"), "<polyline"),
        (chart(((0.0, 1e12), (1e9, 2e12)), "bytes"), ">TiB<"),
        (chart(((0.0, 1e6), (3600.0, 2e6)), "bytes/s"), ">MiB/s<"),
        (chart(((0.0, -5.0), (86_400.0, 5.0)), "points"), ">-4<"),
        (chart(((0.0, 250.0), (86_400.0, 251.0)), "ms"), ">ms<"),
    ],
)
def test_a_chart_of_anything_is_whole_xml_with_its_words(given, says):
    text = svg(given)
    document = xml.dom.minidom.parseString(text).documentElement
    assert says in text
    assert document.getElementsByTagName("title")
    assert document.getElementsByTagName("desc")[0].firstChild.data
    assert "nan" not in text.lower()


def test_a_line_is_not_drawn_across_a_gap():
    days = [day for day in range(30) if not 10 <= day < 20]
    text = svg(chart(tuple((day * 86_400.0, 1.0) for day in days)))
    assert text.count("<polyline") == 2


def test_each_of_several_bands_has_a_look_of_its_own():
    bands = tuple(Band(label=f"b{n}", points=((0.0, 1.0, 2.0), (60.0, 1.0, 2.0))) for n in range(2))
    looks = re.findall(r'fill-opacity="([^"]+)"', svg(Chart(title="t", unit="count", bands=bands)))
    assert looks == ["0.16", "0.32", "0.16", "0.32"]


# -- the command ----------------------------------------------------------------------------------------------


@pytest.fixture
def line(story, tmp_path, capsys):
    """The command line over the record of a story in which an operation has looked."""
    return _line(story, tmp_path, capsys, "look_value")


def _scanned(params, seen):
    evidence = {"fingerprint": "0123456789abcdef", "status": "new", "since": seen.at, "subject": "toor"}
    found = Finding(severity=Severity.CRITICAL, code="uid_zero", message=EVIL, evidence=evidence)
    return Analysis(findings=(replace(found, host=seen.host),))


@pytest.fixture
def scan(story, tmp_path, capsys):
    """The same, of an operation that calls itself a security scan."""
    world = story.world
    kind = replace(world().kinds["look_value"], name="security_scan", analyse=_scanned)
    story.world = lambda *words, **more: replace(world(*words, **more), kinds={"security_scan": kind})
    return _line(story, tmp_path, capsys, "security_scan")


def _line(story, tmp_path, capsys, type):
    operation_id = story.ask(type, reason="because")
    story.drive(operation_id)
    story.store.close()
    config = tmp_path / "opsqueue.json"
    hosts = {name: {"connector": "local"} for name in story.machines}
    config.write_text(json.dumps({"database_url": story.store.url, "state_dir": str(tmp_path), "hosts": hosts}))

    def run(*words, operation=operation_id[:8]):
        status = main(["--config", str(config), "report", operation, *words])
        said = capsys.readouterr()
        return status, said.out, said.err

    run.id = operation_id
    return run


def test_it_is_printed_as_text_json_and_html(line):
    status, out, err = line()
    assert (status, err) == (0, "")
    assert "\nFindings\n" in out
    assert "what was found" in out.lower()
    data = json.loads(line("--output", "json")[1])
    assert set(data) == {"operation_id", "title", "subtitle", "sections"}
    assert data["operation_id"] == line.id
    assert line("--output", "jsonl")[1].count("\n") == 1
    assert line("--output", "html")[1].startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("name", "words", "begins"),
    [
        ("a.html", (), "<!DOCTYPE html>"),
        ("A.HTM", (), "<!DOCTYPE html>"),
        ("report", (), "<!DOCTYPE html>"),
        ("report-2026.03", (), "<!DOCTYPE html>"),
        ("a.json", (), '{\n  "operation_id"'),
        ("a.txt", (), "story\n"),
        ("a.html", ("--output", "json"), '{\n  "operation_id"'),
        ("a.report", ("--output", "html"), "<!DOCTYPE html>"),
    ],
)
def test_a_file_gets_the_form_of_its_name_unless_another_is_said(line, tmp_path, name, words, begins):
    status, out, err = line("--to", str(tmp_path / name), *words)
    assert (status, out, err) == (0, "", f"written: {tmp_path / name}\n")
    assert (tmp_path / name).read_text().startswith(begins)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("name", ["x.pdf", "x.csv", "x.html.gz"])
def test_a_form_that_there_is_not_is_refused_and_those_that_there_are_named(line, tmp_path, name):
    status, out, err = line("--to", str(tmp_path / name))
    assert (status, out) == (2, "")
    assert "ends in one of .htm, .html, .json, .jsonl, .sarif, .sarif.json, .txt; found" in err
    assert f"in {tmp_path / name}. With --output it may have any name." in err
    assert list(tmp_path.glob(name)) == []


@pytest.mark.parametrize(("name", "words"), [("a.sarif", ()), ("A.SARIF.json", ()), ("a.x", ("--output", "sarif"))])
def test_a_scan_is_written_as_sarif(scan, tmp_path, name, words):
    status, out, err = scan("--output", "sarif")
    assert (status, err) == (0, "")
    (run,) = json.loads(out)["runs"]
    (result,) = run["results"]
    assert (result["ruleId"], result["level"], result["baselineState"]) == ("uid_zero", "error", "new")
    assert result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == "h1::toor"
    assert run["invocations"][0]["executionSuccessful"] is True
    assert run["automationDetails"]["id"] == f"security_scan/story/{scan.id}"
    assert not {"\x1b", "\u202e"} & set(out)
    assert scan("--output", "sarif")[1] == out
    assert scan("--to", str(tmp_path / name), *words)[0] == 0
    assert (tmp_path / name).read_text() == out


def test_what_is_no_scan_is_not_written_as_sarif(line, tmp_path):
    status, out, err = line("--to", str(tmp_path / "a.sarif"))
    assert (status, out) == (2, "")
    assert "is of the type look_value" in err
    assert not (tmp_path / "a.sarif").exists()


def test_no_file_is_written_over_unless_it_is_wanted(line, tmp_path):
    file = tmp_path / "kept.html"
    file.write_text("mine")
    status, _out, err = line("--to", str(file))
    assert status == 9
    assert "is there already. Say another file, or --force" in err
    assert file.read_text() == "mine"
    assert line("--to", str(file), "--force")[0] == 0
    assert file.read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("name", ["gone/a.html", "."])
def test_where_no_file_can_be_is_said_before_anything_is_read(line, tmp_path, name):
    status, _out, err = line("--to", str(tmp_path / name))
    assert status == 2
    assert "cannot be written: " in err


def test_a_link_to_nowhere_is_not_followed(line, tmp_path):
    link = tmp_path / "link.html"
    link.symlink_to(tmp_path / "elsewhere.html")
    assert line("--to", str(link))[0] == 9
    assert not (tmp_path / "elsewhere.html").exists()


def test_an_operation_that_nobody_knows_is_10(line, tmp_path):
    status, out, err = line("--to", str(tmp_path / "a.html"), operation="ffffffff")
    assert (status, out) == (10, "")
    assert "ffffffff" in err
    assert not (tmp_path / "a.html").exists()


# -- opsqueue capacity ----------------------------------------------------------------------------------------


def test_capacity_without_a_record_and_without_a_planning_says_what_makes_one(empty):
    said = empty("capacity", "--output", "json")
    assert (said.status, said.json) == (0, {"resources": [], "without_date": []})
    assert "there is no record yet" in said.err
    empty("db", "upgrade")
    assert "no host was planned for: `opsqueue execute" in empty("capacity").err
    assert empty("capacity", "--systems", "nobody").status == 10


def test_capacity_says_of_how_many_hosts_nothing_can_be_foretold():
    def target(host, **metrics):
        kept = {name.replace("__", ":"): {"value": 1.0, "unit": ""} for name in metrics}
        return Target(operation_id="6f1c8a52-8d0e-4f0e-9b57-2d1f60a3c0de", host=host, metrics=kept)

    silent, paced = target("h1", cpus=2.0), target("h2", growth_per_day__cpu=1.0)
    dated = [{"host": "h3", "earliest": 20}]
    assert capacity.said([], [silent]) == (
        "1 host planned for, 1 without a forecast (`opsqueue report 6f1c8a52` says why)"
    )
    assert capacity.said(dated, [silent, paced, target("h3")]) == (
        "3 hosts planned for, 1 without a forecast, 1 with a growth, and no date yet (`opsqueue report 6f1c8a52` says "
        "why); at the earliest a threshold is reached on 1 within 30 days, 1 within 90 days"
    )
    assert capacity.said(dated, [target("h3")]).startswith("1 host planned for; at the earliest")


def _full(days):
    numbers = {"growth_per_day": (0.02, "percent/day"), "headroom": (-20.0, "percent")}
    numbers |= {f"days_to_threshold{part}": (days, "days") for part in ("", "_earliest", "_latest")}
    metrics = [Metric(name=f"{name}:cpu_usage", value=value, unit=unit) for name, (value, unit) in numbers.items()]
    room = Metric(name="days_to_threshold_earliest:disk_usage:/", value=40, unit="days")
    rest = [replace(room, name=f"days_to_threshold{part}:disk_usage:/") for part in ("", "_latest")]
    return (*metrics, room, *rest, Metric(name="headroom:disk_usage:/", value=50.0, unit="percent"))


@pytest.mark.parametrize("days", [0, 36], ids=["as planned now", "as an earlier version planned"])
def test_capacity_says_of_what_is_above_its_threshold_no_day_on_which_it_will_be(story, tmp_path, capsys, days):
    world = story.world
    found = replace(world().kinds["look_value"], analyse=lambda params, seen: Analysis(metrics=_full(days)))
    kinds = {"capacity_planning": replace(found, name="capacity_planning")}
    story.world = lambda *words, **more: replace(world(*words, **more), kinds=kinds)
    _line(story, tmp_path, capsys, "capacity_planning")

    def capacity_of(*words):
        assert main(["--config", str(tmp_path / "opsqueue.json"), "capacity", *words]) == 0
        return capsys.readouterr()

    said = capacity_of()
    first, second = said.out.splitlines()[1:3]
    assert first.split()[:6] == ["h1", "cpu_usage", "above", "already", "0.02", "%/day"]
    assert second.split()[:6] == ["h1", "disk_usage:/", "40", "d", "40", "d"]
    assert "at the earliest a threshold is reached on 1 already, 1 within 30 days, 1 within 90 days" in said.err
    rows = json.loads(capacity_of("--within", "0", "--output", "json").out)["resources"]
    assert [(one["metric"], one["reached"], one["earliest"], one["latest"]) for one in rows] == [
        ("cpu_usage", True, 0, 0)
    ]
