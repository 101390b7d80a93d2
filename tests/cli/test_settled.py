"""Commands about the installation: configuration, inventory, windows, types, schedule, doctor, documentation."""

from __future__ import annotations

import os
import subprocess
import zoneinfo
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import pytest

from opsqueue.cli.commands.windows import window_json
from opsqueue.cli.reference import markdown
from opsqueue.model.deployment import Deployment
from opsqueue.model.window import parse_window
from opsqueue.operations import catalogue
from opsqueue.settings import load
from opsqueue.store import deployments
from opsqueue.store.engine import Store

ID = "6f1c0de0-0000-4000-8000-00000000000"
ROOT = Path(__file__).resolve().parents[2]


def test_the_documentation_is_up_to_date():
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == markdown(), "run `python tools/cli_reference.py`"


def test_windows_tell_their_next_openings_in_utc_and_in_their_own_zone():
    window = parse_window("w", "Sunday 01:00-05:00", timezone="America/New_York")
    data = window_json(window, 1_772_700_000.0)  # 2026-03-05, and on the 8th the clocks go forward
    assert (data["state"], data["closes_at"]) == ("closed", None)
    assert [(one["opens_at"], one["opens_local"][:25], one["seconds"]) for one in data["next"]] == [
        ("2026-03-08T06:00:00Z", "2026-03-08T01:00:00-05:00", 3 * 3600),
        ("2026-03-15T05:00:00Z", "2026-03-15T01:00:00-04:00", 4 * 3600),
        ("2026-03-22T05:00:00Z", "2026-03-22T01:00:00-04:00", 4 * 3600),
        ("2026-03-29T05:00:00Z", "2026-03-29T01:00:00-04:00", 4 * 3600),
        ("2026-04-05T05:00:00Z", "2026-04-05T01:00:00-04:00", 4 * 3600),
    ]
    assert data["left_out"] == []


def test_what_a_window_leaves_out_is_told(empty):
    empty.set(maintenance_windows={"fifth": "Fifth Sunday 00:00-06:00", "gap": "02:15-02:45", "ever": "00:00-24:00"})
    listed = {one["name"]: one for one in empty("windows", "--output", "json").json["windows"]}
    months = {one["opens_at"][:7] for one in listed["fifth"]["next"]}
    assert len(months) == 5
    assert {one["why"] for one in listed["fifth"]["left_out"]} == {"it has no such day"}
    assert not months & {one["when"] for one in listed["fifth"]["left_out"]}
    assert "  not in " in empty("windows").out
    window = parse_window("gap", "02:15-02:45", timezone="America/New_York")
    night = window_json(window, 1_772_841_600.0)  # 2026-03-07, and in the next night the clocks go forward
    assert night["left_out"] == [{"when": "2026-03-08", "why": "the clock skips it"}]
    assert [one["opens_at"][:10] for one in night["next"]] == ["2026-03-07", *(f"2026-03-{d:02}" for d in range(9, 13))]


def test_an_open_window_tells_when_it_closes_and_then_the_next():
    data = window_json(parse_window("w", "02:00-04:00"), 1_772_676_000.0)  # 02:00
    assert (data["state"], data["closes_at"]) == ("open", "2026-03-05T04:00:00Z")
    assert [one["opens_at"] for one in data["next"]] == [f"2026-03-{day:02}T02:00:00Z" for day in range(6, 11)]
    always = window_json(parse_window("w", "00:00-24:00"), 1_772_676_000.0)
    assert (always["state"], always["next"]) == ("open", [])


def test_windows_for_people(empty):
    empty.set(maintenance_windows={"always": {"spec": "00:00-24:00", "policy": "reject", "hosts": ["h1"]}})
    assert empty("windows").out.splitlines() == [
        "always: open",
        "  00:00-24:00 in UTC, for h1, outside it changes are denied",
        "  does not close within a year",
    ]


def test_types_list_the_catalogue_and_each_tells_its_parameters(empty):
    listed = empty("types", "--output", "json").json["types"]
    assert {one["name"] for one in listed} == set(catalogue())
    assert {one["risk"] for one in listed} <= {"read_only", "reversible", "destructive", "by parameters"}
    risks = {one["name"]: (one["sort"], one["risk"]) for one in listed}
    assert risks["performance_tuning"] == ("changing", "by parameters")
    assert risks["health_check"] == ("looking", "read_only")
    assert not [name for name, (sort, risk) in risks.items() if sort == "changing" and risk == "read_only"]
    assert "sort changing, risk by parameters\n" in empty("types", "performance_tuning").out
    assert "sort changing, risk reversible at least\n" in empty("types", "service_restart").out
    assert "sort looking, risk read_only at least\n" in empty("types", "health_check").out, "its commands may do more"
    assert "sort looking, risk read_only\n" in empty("types", "security_scan").out
    for name in catalogue():
        one = empty("types", name, "--output", "json").json
        assert all(field["type"] != "anything" for field in one["parameters"]), name
    assert "  settle_seconds: integer, default 5, at least 1, at most 600" in empty("types", "service_restart").out
    fields = {
        field["name"]: field for field in empty("types", "service_restart", "--output", "json").json["parameters"]
    }
    assert fields["service_name"]["required"]
    assert fields["settle_seconds"] == {
        "name": "settle_seconds",
        "type": "integer",
        "required": False,
        "default": 5,
        "limits": "at least 1, at most 600",
        "meaning": "Seconds for which the new instance must stay up.",
    }
    assert fields["health_check.tcp"]["meaning"] == "host:port."


def test_an_entry_of_the_schedule_is_asked_for_now(empty):
    parameters = {"metrics": ["load", "memory"]}
    given = {"type": "system_monitoring", "every": 900, "systems": ["h2"], "parameters": parameters, "priority": "high"}
    empty.set(schedule={"look": given, "backup": False})
    plan = empty("schedule", "run", "look", "--dry-run", "--output", "json").json
    assert (plan["name"], plan["type"], plan["parameters"]) == ("look", "system_monitoring", parameters)
    assert [one["host"] for one in plan["targets"]] == ["h2"]
    wrong = empty("schedule", "run", "lock", "--dry-run")
    assert (wrong.status, wrong.out) == (10, "")
    assert "nothing called 'lock' happens by the clock; did you mean 'look'?" in wrong.err
    off = empty("schedule", "run", "backup", "--output", "json")
    assert off.status == 10, "what is switched off is not asked for"


def test_hosts_are_listed_shown_and_checked(empty):
    empty.set(hosts={"h1": {"connector": "local", "tags": ["web"]}}, groups={"all-web": ["h1"]})
    assert empty("hosts", "list").out.splitlines()[1].split() == ["h1", "local", "all-web", "web"]
    assert empty("hosts", "show", "h1", "--output", "json").json["groups"] == ["all-web"]
    checked = empty("hosts", "check", "all-web", "--output", "json")
    assert checked.status == 0
    assert [(host["host"], host["error"]) for host in checked.json["hosts"]] == [("h1", None)]


def test_the_configuration_shows_no_secret(empty, monkeypatch, tmp_path):
    (tmp_path / "slack").write_text("slack://xoxb-hush/#ops")
    (tmp_path / "slack").chmod(0o600)
    empty.set(
        notification_urls={"slack": {"$secret": f"file:{tmp_path / 'slack'}"}, "hook": "json://example.com/hush?x=1"},
        notification_channels={"webhook": "https://hooks.example.com/hush", "email": "a@example.com"},
    )
    monkeypatch.setenv("OPSQUEUE_BROKER_URL", "redis://:hush@localhost/0")
    monkeypatch.setenv("OPSQUEUE_DATABASE_URL", "postgresql+psycopg://ann:hush@db/ops")
    for words in (("config", "show"), ("config", "show", "--output", "json")):
        said = empty(*words)
        assert said.status == 0
        assert "hush" not in said.out + said.err
    shown = empty("config", "show", "--output", "json").json
    assert shown["notification_urls"] == {
        "slack": {"$secret": f"file:{tmp_path / 'slack'}"},
        "hook": "json://example.com/…",
    }
    assert shown["notification_channels"] == {"webhook": "https://hooks.example.com/…", "email": "a@example.com"}
    assert (shown["broker_url"], shown["database_url"]) == (
        "redis://:…@localhost/0",
        "postgresql+psycopg://ann:…@db/ops",
    )


def test_the_configuration_is_checked(empty):
    said = empty("config", "check", "--output", "json")
    assert said.json == {"config": str(empty.config), "good": True, "doubts": []}
    empty.set(notification_channels={"slack": "#ops"})
    assert "set notification_urls.slack" in empty("config", "check").out


def test_a_template_that_names_what_no_message_has_is_refused(empty):
    empty.set(notification_channels={"webhook": "http://127.0.0.1:9/"})
    empty.set(notification_rules={"webhook": {"body_template": "{{ titel }}"}})
    said = empty("config", "check")
    assert (said.status, said.out) == (2, "")
    assert "notification_rules.webhook.body_template: line 1: there is no 'titel'; did you mean 'title'?" in said.err


def test_keys_that_nobody_could_log_in_with_are_told_once_with_their_hosts(empty, tmp_path):
    good = tmp_path / "key"
    good.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    good.chmod(0o600)
    lost = f"{tmp_path}/nope"
    hosts = {f"h{n}": {"address": f"127.0.0.{n}"} for n in range(1, 6)}
    own = {"own": {"address": "127.0.0.6", "key_file": str(good)}, "here": {"connector": "local", "key_file": "/nope"}}
    empty.set(ssh={"key_file": lost}, hosts={**hosts, **own})
    told = f"h1, h2, h3 and 2 more: key_file {lost} is not there; a worker could not log in with it"
    said = empty("config", "check", "--output", "json")
    assert (said.status, said.json["doubts"]) == (0, [told])
    found = [one for one in empty("doctor", "--output", "json").json["checks"] if one["check"] == "keys to log in"]
    assert [(one["state"], one["message"]) for one in found] == [("warn", told)]
    good.rename(lost)
    empty.set(hosts=hosts)
    assert empty("config", "check", "--output", "json").json["doubts"] == []


def test_secrets_that_cannot_be_read_are_told_and_those_that_can_are_not_shown(empty, tmp_path, monkeypatch):
    monkeypatch.delenv("OQ_NO_SUCH", raising=False)
    key, good = tmp_path / "key", tmp_path / "good"
    for file, mode in ((key, 0o644), (good, 0o600)):
        file.write_text("hush")
        file.chmod(mode)
    asked = {"repository": "/srv/backups", "password": {"$secret": "env:OQ_NO_SUCH"}}
    empty.set(
        notification_channels={"webhook": "http://127.0.0.1:9/x"},
        default_channels=["webhook"],
        notification_rules={"webhook": {"signing_key": {"$secret": f"file:{key}"}}},
        alerts={"receive_token": {"$secret": f"file:{tmp_path}/none"}},
        ssh={"key_passphrase": {"$secret": f"file:{good}"}},
        hosts={
            "h1": {"connector": "local", "parameters": {"backup_operation": asked}},
            "h2": {"connector": "worker", "parameters": {"backup_operation": asked}},
        },
    )
    checked = empty("config", "check", "--output", "json")
    assert {doubt.partition(": ")[0] for doubt in checked.json["doubts"]} == {
        "notification_rules.webhook.signing_key",
        "alerts.receive_token",
        "hosts.h1.parameters.backup_operation.password",
    }
    told = " ".join(checked.json["doubts"])
    assert [word for word in ("chmod 600", "No such file", "OQ_NO_SUCH", "the workers") if word not in told] == []
    found = [one for one in empty("doctor", "--output", "json").json["checks"] if one["check"] == "secrets"]
    assert {(one["state"], one["message"]) for one in found} == {("warn", doubt) for doubt in checked.json["doubts"]}
    assert "hush" not in checked.out + str(found)
    key.chmod(0o600)
    empty.set(alerts={}, hosts={"h1": {"connector": "local"}})
    assert empty("config", "check", "--output", "json").json["doubts"] == []
    assert "ok    secrets: 2 references, and each can be read" in empty("doctor").out


def _states(said):
    return {one["check"]: one["state"] for one in said.json["checks"]}


def test_alerts_that_reach_nobody_are_doubted(empty):
    empty.set(notification_channels={"webhook": "http://localhost:8000/alerts"})
    (doubt,) = empty("config", "check", "--output", "json").json["doubts"]
    assert doubt.startswith("alerts are told to the log alone: name a channel (webhook)")
    empty.set(alerts={"routes": [{"name": "all", "channels": ["webhook"]}]})
    assert empty("config", "check", "--output", "json").json["doubts"] == []
    empty.set(alerts={}, default_channels=["webhook"])
    assert empty("config", "check", "--output", "json").json["doubts"] == []


def test_the_doctor_finds_a_fresh_installation_usable(empty):
    said = empty("doctor", "--output", "json")
    states = _states(said)
    assert {states[name] for name in ("configuration", "state directory", "inventory", "notification channels")} == {
        "ok"
    }
    assert {states[name] for name in ("database", "broker", "workers")} == {"warn"}
    assert said.status == (3 if states["redis-server"] == "fail" else 0)
    assert all(one["mend"] for one in said.json["checks"] if one["state"] != "ok")


@pytest.fixture
def zones(tmp_path):
    """A directory in which time zones are looked for first."""
    usual, place = zoneinfo.TZPATH, tmp_path / "zoneinfo"
    place.mkdir()
    zoneinfo.reset_tzpath([str(place)])
    yield place
    zoneinfo.reset_tzpath(usual)


def test_the_doctor_tells_by_which_time_zones_it_goes(empty, zones):
    def told():
        (found,) = [one for one in empty("doctor", "--output", "json").json["checks"] if one["check"] == "time zones"]
        return found["message"] if found["state"] == "ok" else found["state"]

    assert told() == f"the Python package tzdata {version('tzdata')}"  # Celery brings it
    (zones / "UTC").write_bytes(files("tzdata.zoneinfo").joinpath("UTC").read_bytes())
    assert told() == f"tzdata of a version that it does not tell in {zones}"
    (zones / "tzdata.zi").write_text("# version 2025b\n# This zic input file is in the public domain.\n")
    assert told() == f"tzdata 2025b in {zones}"


def test_the_doctor_reports_a_configuration_that_cannot_be_read(empty):
    empty.config.write_text("{")
    said = empty("doctor", "--output", "json")
    assert (said.status, _states(said)) == (3, {"configuration": "fail"})


def test_a_service_that_was_never_deployed_is_told_from_a_misspelt_one(empty):
    empty("db", "upgrade")
    nothing = empty("deployments", "list", "--service", "shp")
    assert (nothing.status, "no deployment of shp was told of" in nothing.err) == (0, True)
    empty.set(deployments={"api": {}})
    store = Store(load(str(empty.config)).database)
    one = Deployment(
        id=f"{ID}1", service="shop", version="2", systems=("h1",), status="succeeded", requested_by="ci", reason="",
        check={}, rollback=None, created_at=1.0,
    )  # fmt: skip
    with store.begin() as tx:
        deployments.create(tx, one, "digest")
    store.close()
    assert "shop" in empty("deployments", "list", "--service", "shop").out
    assert "no deployment of api was told of" in empty("deployments", "list", "--service", "api").err
    said = empty("deployments", "list", "--service", "shp")
    assert (said.status, said.out) == (10, "")
    assert "there is no service 'shp', deployed or configured; did you mean 'shop'?" in said.err
    assert "there are: api, shop" in empty("deployments", "list", "--service", "zzz").err


def test_deployments_are_listed_with_as_much_of_their_ids_as_tells_them_apart(empty):
    empty("db", "upgrade")
    store = Store(load(str(empty.config)).database)
    ids = [f"{ID}1", f"{ID}2", "6f1c0de0-0001-4000-8000-000000000000", "7f1c0de0-0000-4000-8000-000000000000"]
    with store.begin() as tx:
        for place, one in enumerate(ids):
            told = Deployment(
                id=one, service="shop", version=str(place), systems=("h1",), status="succeeded", requested_by="ci",
                reason="", check={}, rollback=None, created_at=100.0 - place,
            )  # fmt: skip
            deployments.create(tx, told, "digest")
    store.close()
    shown = [line.split()[0] for line in empty("deployments", "list").out.splitlines()[1:]]
    assert shown == [f"{ID}1", f"{ID}2", "6f1c0de0-0001", "7f1c0de0"]
    for place, one in enumerate(shown):
        assert empty("deployments", "show", one, "--output", "json").json["event_id"] == ids[place]
    assert empty("deployments", "show", "6f1c0de0").status == 9


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_every_command(empty, shell):
    said = empty("completion", shell)
    assert said.status == 0
    for word in ("execute", "history", "freeze", "--priority" if shell != "tcsh" else "doctor"):
        assert word in said.out


def test_bash_accepts_the_completion(empty):
    said = empty("completion", "bash")
    found = subprocess.run(
        ["bash", "-n"], input=said.out, text=True, capture_output=True, check=False, env=dict(os.environ)
    )
    assert (found.returncode, found.stderr) == (0, "")
