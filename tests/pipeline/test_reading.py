"""Commands that read, with a real record that stories have written, and without one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from opsqueue.cli.follow import Follower
from opsqueue.store.engine import Store

ROOT = Path(__file__).resolve().parents[2]

LISTS = {
    ("history",): ["operations"],
    ("status",): ["operations", "messages_buried"],
    ("freeze", "list"): ["freezes"],
    ("windows",): ["windows"],
}


@pytest.mark.parametrize("words", LISTS, ids=" ".join)
def test_nothing_is_an_empty_list_and_no_record_is_made(empty, tmp_path, words):
    said = empty(*words, "--output", "json")
    assert (said.status, said.json) == (0, {key: [] for key in LISTS[words]})
    assert len(said.err.splitlines()) == 1
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("words", [("history",), ("status",), ("freeze", "list")], ids=" ".join)
def test_a_missing_record_is_said_with_what_makes_it(empty, words):
    said = empty(*words)
    assert said.out == ""
    assert "`opsqueue up` or `opsqueue db upgrade` makes it" in said.err


def test_a_database_without_tables_counts_as_missing(empty, tmp_path):
    empty.set(database_url=f"sqlite:///{tmp_path / 'bare.db'}")
    (tmp_path / "bare.db").touch()
    said = empty("history")
    assert (said.status, said.out) == (0, "")
    assert "there is no record yet" in said.err


@pytest.mark.parametrize("words", [("history",), ("status",), ("show", "abcd"), ("freeze", "list")], ids=" ".join)
def test_a_database_that_is_none_is_12(empty, tmp_path, words):
    (tmp_path / "bad.db").write_text("this is no database, and longer than a header of one would have to be" * 20)
    empty.set(database_url=f"sqlite:///{tmp_path / 'bad.db'}")
    said = empty(*words)
    assert (said.status, said.out) == (12, "")
    assert "file is not a database" in said.err


def test_upgrade_makes_the_record_and_says_so_once(empty):
    assert empty("db", "upgrade").out.startswith("the record is upgraded from nothing to revision ")
    again = empty("db", "upgrade", "--output", "json")
    assert again.json["changed"] is False
    assert again.json["before"] == again.json["after"]
    assert empty("history").err == "nothing that ended fits; `opsqueue status` lists what is active\n"


@pytest.fixture(scope="module")
def archive(tmp_path_factory, stories, migrated):
    """A record in which one operation succeeded, one failed and one looked; nobody writes in it any more."""
    path = tmp_path_factory.mktemp("archive")
    shutil.copy(migrated, path / "archive.db")
    machines = {name: stories.Machine() for name in ("h1", "h2", "h3")}
    machines["h3"].breaks.add("set 2")
    story = stories.Story(Store(f"sqlite:///{path / 'archive.db'}"), stories.Clock(), machines, {"state_dir": path})
    asked = {
        "good": {"systems": ("h1", "h2"), "requested_by": "ann", "reason": "because"},
        "bad": {"systems": ("h3",), "parameters": {"to": 2}, "requested_by": "bob", "retry_count": 0},
        "look": {"type": "look_value", "requested_by": "ann"},
    }
    ids = {}
    for name, request in asked.items():
        ids[name] = story.ask(**request)
        story.drive(ids[name])
        story.clock.at += 60
    yield story, ids
    story.store.close()


@pytest.fixture
def done(empty, archive):
    """The operations of the archive by name, for the command line."""
    story, ids = archive
    empty.set(database_url=story.store.url)
    return ids


def test_history_is_narrowed(empty, done):
    names = {operation_id: name for name, operation_id in done.items()}
    for filters, found in (
        ([], {"good", "bad", "look"}),
        (["--type", "look_value"], {"look"}),
        (["--system", "h3"], {"bad"}),
        (["--system", "h2"], {"good"}),
        (["--status", "failed"], {"bad"}),
        (["--status", "rolled_back"], set()),
        (["--requested-by", "ann"], {"good", "look"}),
        (["--since", "2027-01-15"], {"good", "bad", "look"}),
        (["--since", "2027-01-15T08:02Z"], {"look"}),
        (["--until", "2027-01-15T08:01Z"], {"good"}),
        (["--until", "2027-01-15"], set()),
        (["--type", "log_rotation"], set()),
        (["--system", "h1", "--type", "look_value"], {"look"}),
    ):
        said = empty("history", *filters, "--output", "json")
        assert {names[one["operation_id"]] for one in said.json["operations"]} == found, filters


def test_history_of_what_nobody_knows_is_refused_with_the_nearest(empty, done):
    for words, fragment in (
        (["--type", "set_valeu"], "there is no operation type 'set_valeu'"),
        (["--system", "h-1"], "there is no host, group or tag 'h-1'; did you mean 'h1'?"),
    ):
        said = empty("history", *words)
        assert (said.status, said.out) == (10, "")
        assert fragment in said.err
    # Known from the record alone, where nothing else fits.
    assert empty("history", "--system", "h3", "--status", "succeeded").status == 0
    assert empty("history", "--type", "set_value", "--status", "cancelled").status == 0


def test_history_has_the_newest_first_and_a_limit(empty, done):
    lines = empty("history", "--limit", "2", "--output", "jsonl").out.splitlines()
    assert [json.loads(one)["operation_id"] for one in lines] == [done["look"], done["bad"]]


def test_history_is_a_table_for_people(empty, done):
    head, *rows = empty("history").out.splitlines()
    assert head.split() == ["ID", "ENDED", "STATUS", "NAME", "TYPE", "SYSTEMS", "TOOK", "HEALTH", "ASKED", "BY"]
    assert rows[2].startswith(
        f"{done['good'][:8]}  2027-01-15 08:00:00Z  succeeded  story  set_value   h1, h2   0.00 s"
    )


def test_show_prints_the_object_of_the_contract(empty, done, archive):
    story, _ids = archive
    shown = empty("show", done["good"][:6], "--output", "json").json
    assert shown == json.loads(json.dumps(story.show(done["good"])))
    assert {"operation_id", "stages", "verdicts", "targets", "metrics", "findings", "notifications"} <= set(shown)


def test_show_tells_people_everything(empty, done):
    text = empty("show", done["bad"]).out
    for part in ("stages", "gates", "hosts", "commands on h3", "notifications", "$ set 2", "exit code 1", "it broke"):
        assert part in text


def test_logs_are_what_hosts_answered(empty, done):
    said = empty("logs", done["good"])
    assert said.out.splitlines() == [
        "h1: $ set 1    # set 1: exit code 0, 0.00 s",
        "h1:   done",
        "h2: $ set 1    # set 1: exit code 0, 0.00 s",
        "h2:   done",
    ]
    data = empty("logs", done["good"], "--follow", "--output", "json").json
    assert [(host["host"], host["steps"][0]["output"]) for host in data["hosts"]] == [("h1", "done"), ("h2", "done")]
    first = json.loads(empty("logs", done["good"], "--follow", "--output", "jsonl").out.splitlines()[0])
    assert (first["host"], first["command"], first["exit_code"]) == ("h1", "set 1", 0)


def test_logs_of_what_sent_nothing(empty, done):
    said = empty("logs", done["look"])
    assert (said.status, said.out) == (0, "")
    assert "no command was sent" in said.err


def test_output_of_a_host_cannot_speak_to_the_terminal(line, story):
    story.drive(operation_id := story.ask(name="evil \u202e"))
    for words in (("history",), ("show", operation_id), ("history", "--output", "json")):
        assert "\u202e" not in line(*words).out


def test_what_waits_is_active_and_says_why(line, story):
    waiting = story.ask(operation_id="aaaa0000-0000-4000-8000-000000000001")
    story.step(waiting)
    story.step(waiting, maintenance_windows={"daily": "02:00-04:00"})
    listed = line("status", "--output", "json").json["operations"]
    assert [(one["operation_id"], one["status"], one["waits_for"]) for one in listed] == [
        (waiting, "waiting", ["maintenance_window"])
    ]
    assert "maintenance_window until 2027-01-16 02:00:00Z" in line("status").out
    reasons = line("why", "aaaa", "--output", "json").json["reasons"]
    assert [(one["who"], one["verdict"], one["until"]) for one in reasons] == [
        ("maintenance_window", "hold", "2027-01-16T02:00:00.000Z")
    ]
    assert line("why", "aaaa").out.startswith("hold  maintenance_window: h1: closed now; ")
    assert line("status", "aaaa", "--output", "json").json["why"] == reasons
    assert line("status", "aaaa").out.splitlines()[:2] == [
        "waiting  story  (set_value on h1)",
        f"stage window, {waiting}",
    ]


def test_why_of_what_went_well(empty, done):
    said = empty("why", done["good"])
    assert (said.status, said.out, said.err) == (0, "", "nothing stands against it; it is succeeded\n")


def test_watching_ends_with_the_operation(empty, done):
    assert empty("status", done["good"], "--watch").out.startswith("succeeded  story")


def test_an_id_may_be_short_but_not_of_two(line, story):
    for number in (1, 2):
        story.ask(operation_id=f"bbbb0000-0000-4000-8000-00000000000{number}")
    assert line("show", "bbbb").status == 9
    assert line("show", "BBBB0000-0000-4000-8000-000000000001").status == 0
    assert line("show", "bbb").status == 10
    assert line("show", "bb%").status == 10
    assert line("show", "cccc").status == 10


def test_a_freeze_is_added_listed_and_lifted(line, story):
    added = line(
        "freeze", "add", "--scope", "h1", "service_restart", "--reason", "release", "--for", "2h", "--output", "json"
    )
    assert added.status == 0
    assert (added.json["state"], added.json["scope"]) == ("active", ["h1", "service_restart"])
    listed = line("freeze", "list", "--output", "json").json["freezes"]
    assert listed == [added.json]
    assert "release" in line("freeze", "list").out
    assert line("freeze", "lift", added.json["freeze_id"]).out == f"{added.json['freeze_id']} is lifted\n"
    assert line("freeze", "list", "--output", "json").json == {"freezes": []}
    assert line("freeze", "list", "--all", "--output", "json").json["freezes"][0]["state"] == "ended"
    assert line("freeze", "lift", added.json["freeze_id"]).status == 10


def test_a_freeze_without_end_says_how_it_ends(line):
    assert (
        "until `opsqueue freeze lift` ends it"
        in line("freeze", "add", "--scope", "all", "--reason", "x", "--open-ended").out
    )


def test_a_freeze_of_what_nobody_knows(line):
    assert line("freeze", "add", "--scope", "h9", "--reason", "x", "--open-ended").status == 10
    assert line("freeze", "add", "--scope", "h1", "--reason", " ", "--open-ended").status == 2


def test_cancel_asks_the_record_and_history_is_closed_to_it(line, story):
    line.set(broker_url="redis://127.0.0.1:1/0")  # a nudge that does not arrive is the reconciler's matter
    waiting = story.ask()
    said = line("cancel", waiting, "--reason", "wrong host", "--output", "json")
    assert (said.status, said.json) == (0, {"operation_id": waiting, "cancel_asked": True})
    assert story.drive(waiting)["outcome"] == "cancelled"
    assert line("cancel", waiting).status == 9


def test_following_tells_each_stage_once_and_why_it_waits(story):
    said, told = [], []
    follow = Follower(said.append, tell=told.append)
    operation_id = story.ask()
    follow(story.show(operation_id))
    story.step(operation_id)
    story.step(operation_id, maintenance_windows={"daily": "02:00-04:00"})
    follow(story.show(operation_id))
    follow(story.show(operation_id))
    story.clock.at = 1_800_000_000 + 86_400
    follow(story.drive(operation_id, maintenance_windows={"daily": "00:00-24:00"}))
    words = [line.split()[:2] for line in said]
    assert words == [
        ["verify", "✓"], ["window", "…"], ["waits:", "maintenance_window:"], ["window", "✓"],
        ["execute", "✓"], ["collect", "✓"], ["analyze", "✓"], ["notify", "✓"],
    ]  # fmt: skip
    assert "held: h1: closed now" in said[1]
    assert "; goes on 2027-01-16 02:00:00Z" in said[2]
    assert [stage["stage"] for stage in told] == [
        "verify",
        "window",
        "window",
        "execute",
        "collect",
        "analyze",
        "notify",
    ]


def test_the_schedule_tells_last_and_next(line):
    line.set(schedule={"nightly": {"type": "health_check", "cron": "30 2 * * *"}, "system-monitoring": False})
    listed = {one["name"]: one for one in line("schedule", "list", "--output", "json").json["schedule"]}
    assert "system-monitoring" not in listed
    assert listed["nightly"]["next_slot"].endswith("T02:30:00Z")
    assert listed["nightly"]["last_slot"] is None
    assert "every 5 min" in line("schedule", "list").out


def test_the_doctor_says_what_is_broken_and_what_mends_it(line, monkeypatch):
    monkeypatch.setenv("OPSQUEUE_BROKER_URL", "redis://127.0.0.1:1/0")
    said = line("doctor", "--output", "json")
    assert said.status == 3
    assert {
        name: state
        for name, state in {one["check"]: one["state"] for one in said.json["checks"]}.items()
        if state == "fail"
    } == {
        "broker": "fail",
        "workers": "fail",
    }
    assert {one["check"]: one["state"] for one in said.json["checks"]}["database"] == "ok"
    text = line("doctor").out
    assert "fail  broker: " in text
    assert "      mend it: opsqueue worker" in text


HEAVY = (
    "celery",
    "kombu",
    "redis",
    "fabric",
    "apprise",
    "alembic",
    "rich",
    "httpx",
    "psutil",
    "cryptography",
    "croniter",
)


@pytest.mark.parametrize("word", ["history", "--help"])
def test_reading_pays_for_nothing_that_it_does_not_need(line, word):
    code = (
        "import sys; from opsqueue.cli.main import main; main(sys.argv[1:]);"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    argv = [sys.executable, "-c", code, "--config", str(line.config), word]
    found = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.splitlines()[-1] == "[]"
