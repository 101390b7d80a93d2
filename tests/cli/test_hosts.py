"""`opsqueue hosts …` and the other commands that know hosts: list, show, add, remove, doctor, windows, monitor."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from opsqueue.client import actor
from opsqueue.connectors.inventory.added import add_host
from opsqueue.settings import load
from opsqueue.store import events
from opsqueue.store.engine import Store
from opsqueue.store.upgrade import upgrade

HOSTS = {
    "web-1": {"address": "10.0.0.1", "port": 2222, "user": "ops", "tags": ["eu", "nginx"], "windows": ["02:00-04:00"]},
    "web-2": {"tags": ["eu"], "gateway": "db-1"},
    "db-1": {"address": "10.0.0.3", "parameters": {"service_restart": {"settle_seconds": 10}}},
    "here": {"connector": "local"},
}
GROUPS = {"web": ["web-1", "web-2"], "prod": ["web", "db-1"]}


@pytest.fixture
def line(empty):
    """The command line with four hosts."""
    empty.set(hosts=HOSTS, groups=GROUPS)
    return empty


@pytest.fixture
def fresh(empty):
    """The command line where nobody named a host."""
    empty.set(hosts={})
    return empty


def added(line):
    return json.loads((line.config.parent / "state" / "hosts.json").read_text())


def named(said, what="hosts", key="name"):
    return [one[key] for one in said.json[what]]


# -- list and show ------------------------------------------------------------------------------------------


def test_the_list_is_a_table(line):
    assert line("hosts", "list").out.splitlines() == [
        "HOST   CONNECTOR  ADDRESS        GROUPS     TAGS",
        "web-1  ssh        10.0.0.1:2222  web, prod  eu, nginx",
        "web-2  ssh                       web, prod  eu",
        "db-1   ssh        10.0.0.3       prod",
        "here   local",
    ]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], ["web-1", "web-2", "db-1", "here"]),
        (["prod", "!web-2"], ["web-1", "db-1"]),
        (["tag:eu"], ["web-1", "web-2"]),
        (["not:prod"], ["here"]),
        (["*-1"], ["web-1", "db-1"]),
    ],
)
def test_the_list_takes_selectors(line, words, names):
    assert named(line("hosts", "list", *words, "--output", "json")) == names


def test_the_list_for_programs_tells_how_each_is_reached(line):
    (host,) = line("hosts", "list", "web-1", "--output", "json").json["hosts"]
    assert host == {
        "name": "web-1",
        "address": "10.0.0.1",
        "connector": "ssh",
        "port": 2222,
        "user": "ops",
        "key_file": "",
        "certificate_file": "",
        "gateway": "",
        "tags": ["eu", "nginx"],
        "groups": ["web", "prod"],
        "windows": ["02:00-04:00"],
        "from": "the configuration",
    }


def test_one_host_is_shown_with_what_it_brings(line):
    told = dict(row.split(None, 1) for row in line("hosts", "show", "db-1").out.splitlines())
    assert told == {
        "name": "db-1",
        "address": "10.0.0.3",
        "connector": "ssh",
        "port": "22",
        "groups": "prod",
        "parameters": '{"service_restart": {"settle_seconds": 10}}',
        "from": "the configuration",
    }
    assert line("hosts", "show", "web-2", "--output", "json").json["gateway"] == "db-1"


def test_this_machine_is_the_only_host_where_nobody_names_any(fresh):
    said = fresh("hosts", "list", "--output", "json")
    assert [(one["name"], one["from"]) for one in said.json["hosts"]] == [("localhost", "this machine")]
    assert "names no hosts" in said.err


def test_an_inventory_without_hosts_says_so(fresh, tmp_path):
    (tmp_path / "none.json").write_text("{}")
    fresh.set(inventory=str(tmp_path / "none.json"))
    said = fresh("hosts", "list")
    assert (said.status, said.out) == (0, "")
    assert "there is no host" in said.err
    assert fresh("hosts", "check").status == 2


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("list", "wbe"), 10, "there is no host, group or tag 'wbe'; did you mean 'web'?"),
        (("list", "web", "!web"), 2, "web, !web stands for no host at all"),
        (("list", "web", "!all"), 2, "nothing is left when all that `!` names is taken away"),
        (("show", "web"), 10, "web is a group, and this takes one host: `opsqueue hosts list web`"),
        (("show", "eu"), 10, "eu is a tag, and this takes one host: `opsqueue hosts list eu`"),
        (("add", "web"), 9, "there is a group web already"),
        (("add", "eu"), 9, "there is a tag eu already"),
        (("add", "new", "--group", "new"), 9, "there is a group new already"),
        (("add", "new", "--group", "web-1"), 9, "there is a host web-1 already, and selectors would mean the host"),
        (("add", "new", "--tag", "web-1"), 9, "instead of the tag: give the tag another name"),
        (("check", "!all"), 2, "stands for no host"),
        (("trust", "here"), 2, "none of them is reached over SSH"),
        (("trust", "web-9"), 10, "'web-9'; did you mean"),
        (("trust", "web-1"), 2, "there is no terminal to show a fingerprint at: say --fingerprint"),
        (("trust", "web", "--fingerprint", "SHA256:" + "a" * 43), 2, "--fingerprint is of one host"),
        (("trust", "web-1", "--fingerprint", "MD5:aa:bb"), 2, "--fingerprint is as `ssh-keygen -lf` prints it"),
        (("add", "-oProxyCommand=id"), 2, "the following arguments are required: NAME"),
        (("add", "a b"), 2, "a host name has letters"),
        (("add", "all"), 2, "a host name has letters"),
        (("add", "web-3", "--address", "a;reboot"), 2, "host web-3 cannot be accepted: address"),
        (("add", "web-3", "--address", "-oProxyCommand=id"), 2, "expected one argument"),
        (("add", "web-3", "--address=-oProxyCommand=id"), 2, "cannot be accepted: address"),
        (("add", "web-3", "--user", "a b"), 2, "cannot be accepted: user"),
        (("add", "web-3", "--tag", "a b"), 2, "a tag is a word"),
        (("add", "web-3", "--group", "a b"), 2, "a group's name has letters"),
        (("add", "web-3", "--gateway", "web-9"), 2, "the gateway of web-3 is 'web-9'"),
        (("add", "web-3", "--port", "70000"), 2, "wanted a whole number from 1 to 65535"),
        (("add", "web-1"), 9, "there is a host web-1 already, in the configuration"),
        (("remove", "web-1"), 9, "host web-1 stands in the configuration, which people write: take it out there"),
        (("remove", "web-9"), 10, "there is no host 'web-9'; did you mean"),
    ],
)
def test_what_is_wrong_is_said_and_changes_nothing(line, words, status, says):
    said = line("hosts", *words)
    assert (said.status, said.out) == (status, "")
    assert says in said.err
    assert not (line.config.parent / "state" / "hosts.json").exists()


# -- add and remove -----------------------------------------------------------------------------------------


def test_a_host_is_added_with_all_that_was_said_and_removed(line):
    said = line(
        "hosts", "add", "web-3", "--address", "10.0.0.4", "--port", "2222", "--user", "ops", "--key-file", "/k",
        "--certificate-file", "/c", "--gateway", "web-1", "--tag", "eu", "new", "--group", "web", "--group", "more",
    )  # fmt: skip
    path = line.config.parent / "state" / "hosts.json"
    assert said.out == f"web-3 is added to {path}\n"
    assert "`opsqueue hosts trust web-3`" in said.err
    assert added(line) == {
        "hosts": {
            "web-3": {
                "address": "10.0.0.4", "port": 2222, "user": "ops", "key_file": "/k", "certificate_file": "/c",
                "gateway": "web-1", "tags": ["eu", "new"],
            }
        },
        "groups": {"web": ["web-3"], "more": ["web-3"]},
    }  # fmt: skip
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    shown = line("hosts", "show", "web-3", "--output", "json").json
    assert (shown["groups"], shown["from"]) == (["web", "prod", "more"], str(path))
    assert named(line("hosts", "list", "web", "--output", "json")) == ["web-1", "web-2", "web-3"]
    removed = line("hosts", "remove", "web-3")
    assert removed.out.startswith("web-3 is removed")
    assert added(line) == {"hosts": {}, "groups": {}}
    assert line("hosts", "show", "web-3").status == 10


def in_the_history(store, kind):
    with store.read() as connection:
        return [line for line in events.latest(connection, kind) if line.actor == actor()]


def test_who_added_and_removed_a_host_stands_in_the_history(line, tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'state' / 'opsqueue.db'}")
    upgrade(store)
    assert line("hosts", "add", "web-3", "--address", "10.0.0.4", "--user", "ops", "--group", "web").status == 0
    assert line("hosts", "add", "web-1", "--address", "10.0.0.4").status == 9
    assert line("hosts", "remove", "web-3").status == 0
    assert line("hosts", "remove", "web-3").status == 10
    (one,), (other,) = in_the_history(store, "host_added"), in_the_history(store, "host_removed")
    store.close()
    assert (one.host, one.message, one.data["user"]) == ("web-3", "ssh 10.0.0.4:22", "ops")
    assert (one.data["groups"], other.host, other.message) == (["web"], "web-3", "ssh 10.0.0.4:22")


def test_without_a_record_hosts_are_added_and_none_is_made(line, tmp_path):
    said = line("hosts", "add", "web-3")
    assert (said.status, "history" in said.err) == (0, False)
    assert not (tmp_path / "state" / "opsqueue.db").exists()


def test_a_history_that_cannot_be_written_is_said_and_takes_nothing_back(line, tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "opsqueue.db").write_text("this is no database, and never was one: " * 40)
    said = line("hosts", "add", "web-3")
    assert said.status == 0
    assert "this is not in the history: the database cannot be used: file is not a database" in said.err
    assert "web-3" in added(line)["hosts"]


def test_a_key_that_could_not_be_used_is_doubted_and_written_down(line, tmp_path):
    said = line("hosts", "add", "x", "--key-file", "/nonexistent", "--certificate-file", "/neither")
    assert said.status == 0
    assert "key_file /nonexistent is not there" in said.err
    assert "certificate_file /neither is no file" in said.err
    (tmp_path / "id").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    (tmp_path / "id").chmod(0o644)
    assert f"chmod 600 {tmp_path / 'id'}" in line("hosts", "add", "y", "--key-file", str(tmp_path / "id")).err
    (tmp_path / "id").chmod(0o600)
    assert "key_file" not in line("hosts", "add", "z", "--key-file", str(tmp_path / "id")).err


def test_a_host_that_was_never_trusted_leaves_no_key_behind(line, tmp_path):
    known = tmp_path / "known_hosts"
    line.set(ssh={"known_hosts": str(known)})
    line("hosts", "add", "x")
    assert line("hosts", "remove", "x").out == "x is removed\n"
    line("hosts", "add", "x")
    known.write_text("x ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGrYl1rNvfRLVr0rCPh+ZmVtTzYkJbBtMvH1lkNyHFkd\n")
    assert line("hosts", "remove", "x").out == f"x is removed; its host key stays in {known}\n"


def test_a_host_that_is_called_like_a_group_is_doubted_where_people_wrote_it(line):
    line.set(groups={**GROUPS, "web-1": ["web-2"]}, hosts={**HOSTS, "eu": {}})
    said = line("config", "check")
    assert said.status == 0
    assert "warn  web-1 is a host and a group, and `web-1` means the host alone" in said.out
    assert "warn  eu is a host and a tag, and `eu` means the host alone" in said.out
    told = [one["message"] for one in line("doctor", "--output", "json").json["checks"] if one["check"] == "names"]
    assert len(told) == 2
    assert line("hosts", "add", "db-2").status == 0


def test_a_group_without_hosts_is_said_to_be_empty(line):
    line.set(groups={**GROUPS, "none": []})
    assert "none stands for no host at all: the group is empty" in line("hosts", "list", "none").err


def test_the_first_host_takes_the_place_of_this_machine(fresh):
    said = fresh("hosts", "add", "db-1", "--address", "10.0.0.1", "--output", "json")
    assert (said.json["name"], said.json["connector"], said.json["port"]) == ("db-1", "ssh", 22)
    assert "hosts add localhost --connector local" in said.err
    assert fresh("hosts", "add", "localhost", "--connector", "local").status == 0
    assert named(fresh("hosts", "list", "--output", "json")) == ["db-1", "localhost"]
    assert fresh("hosts", "add", "db-1").status == 9


def test_this_machine_can_be_added_by_the_name_that_it_has_already(fresh):
    assert fresh("hosts", "add", "localhost", "--connector", "local", "--tag", "mine").status == 0
    assert fresh("hosts", "show", "localhost", "--output", "json").json["tags"] == ["mine"]


def test_what_the_configuration_names_is_not_removed(line):
    line("hosts", "add", "db-2", "--group", "spare")
    line.set(maintenance_windows={"nightly": {"spec": "02:00-04:00", "groups": ["spare"]}})
    said = line("hosts", "remove", "db-2")
    assert said.status == 2
    assert "maintenance_windows.nightly.groups: there is no group 'spare'" in said.err
    assert "db-2" in added(line)["hosts"]


def test_a_host_with_which_the_configuration_makes_no_sense_is_not_added(line):
    line.set(maintenance_windows={"nightly": {"spec": "02:00-04:00", "groups": ["nobody"]}})
    assert line("hosts", "add", "db-2").status == 2
    assert line("hosts", "add", "db-2", "--group", "nobody").status == 0


def test_a_file_that_people_wrote_there_is_left_alone(line):
    path = line.config.parent / "state" / "hosts.json"
    path.parent.mkdir()
    for text in ('{"_meta": {"hostvars": {"x": {}}}}', "{"):
        path.write_text(text)
        said = line("hosts", "add", "db-2")
        assert (said.status, path.read_text()) == (2, text)
        assert str(path) in said.err


def test_what_people_wrote_into_the_file_by_hand_stays(line):
    line("hosts", "add", "db-2")
    path = line.config.parent / "state" / "hosts.json"
    data = added(line)
    data["hosts"]["db-2"]["parameters"] = {"service_restart": {"settle_seconds": 3}}
    path.write_text(json.dumps(data))
    line("hosts", "add", "db-3")
    assert added(line)["hosts"]["db-2"] == {"parameters": {"service_restart": {"settle_seconds": 3}}}


def test_a_place_that_cannot_be_written_is_said(line):
    (line.config.parent / "state").write_text("")
    said = line("hosts", "add", "db-2")
    assert said.status == 2
    assert "cannot be written" in said.err


def test_many_at_once_lose_nobody(line):
    settings, names = load(str(line.config)), [f"new-{number}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: add_host(settings, name, {}, ["new"], lambda _inventory: None), names))
    assert sorted(added(line)["hosts"]) == sorted(names)
    assert sorted(added(line)["groups"]["new"]) == sorted(names)
    assert sorted(path.name for path in (line.config.parent / "state").iterdir()) == ["hosts.json", "hosts.json.lock"]


# -- other commands -----------------------------------------------------------------------------------------


def _checks(said):
    return {one["check"]: one for one in said.json["checks"]}


def test_the_doctor_counts_hosts_and_those_without_a_trusted_key(line):
    found = _checks(line("doctor", "--output", "json"))
    assert found["inventory"]["message"] == "4 hosts (3 by ssh, 1 by local), 2 groups"
    assert (found["host keys"]["state"], found["host keys"]["mend"]) == (
        "warn",
        "opsqueue hosts trust web-1 web-2 db-1",
    )
    assert "3 hosts reached over SSH without a pinned key: web-1, web-2, db-1" in found["host keys"]["message"]


def test_the_doctor_looks_at_the_file_of_keys(line, tmp_path):
    known = tmp_path / "known_hosts"
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGrYl1rNvfRLVr0rCPh+ZmVtTzYkJbBtMvH1lkNyHFkd"
    known.write_text(f"[10.0.0.1]:2222 {key}\nweb-2@db-1 {key}\n10.0.0.3 {key}\n")
    known.chmod(0o600)
    line.set(ssh={"known_hosts": str(known)})
    assert _checks(line("doctor", "--output", "json"))["host keys"]["state"] == "ok"
    known.chmod(0o620)
    found = _checks(line("doctor", "--output", "json"))["host keys"]
    assert (found["state"], found["mend"]) == ("fail", f"chmod 600 {known}")


def test_the_doctor_says_that_the_inventory_cannot_be_read(line, tmp_path):
    (tmp_path / "bad.json").write_text("{")
    line.set(inventory=str(tmp_path / "bad.json"))
    said = line("doctor", "--output", "json")
    assert said.status == 3
    assert _checks(said)["inventory"]["state"] == "fail"
    assert "bad.json is not JSON" in _checks(said)["inventory"]["message"]


def test_the_configuration_is_not_good_when_the_inventory_is_not(line, tmp_path):
    assert line("config", "check").status == 0
    line.set(inventory=str(tmp_path / "missing.json"))
    said = line("config", "check")
    assert said.status == 2
    assert "missing.json cannot be read" in said.err


@pytest.mark.parametrize("words", [("up", "--no-flower"), ("worker",), ("worker", "--host", "db-1")])
def test_no_system_begins_with_an_inventory_that_cannot_be_read(line, tmp_path, words):
    line.set(inventory=str(tmp_path / "missing.json"))
    said = line(*words)
    assert (said.status, said.out) == (2, "")
    assert "missing.json cannot be read" in said.err
    assert not (tmp_path / "state").exists()


def test_windows_of_hosts_are_listed_once_with_all_that_have_them(line):
    line.set(hosts={**HOSTS, "db-1": {"windows": ["02:00-04:00", "Sunday 01:00-05:00"]}})
    told = [(one["name"], one["spec"], one["hosts"]) for one in line("windows", "--output", "json").json["windows"]]
    assert told == [("its own", "02:00-04:00", ["web-1", "db-1"]), ("its own", "Sunday 01:00-05:00", ["db-1"])]


def test_selectors_work_for_monitor_and_hosts_check(line):
    line.set(hosts={"a-1": {"connector": "local"}, "a-2": {"connector": "local"}}, groups={"a": ["a-1", "a-2"]})
    assert named(line("monitor", "--systems", "a", "!a-2", "--output", "json"), key="host") == ["a-1"]
    assert named(line("hosts", "check", "*-2", "--output", "json"), key="host") == ["a-2"]


def test_who_runs_its_own_worker_is_told_so(line):
    line.set(hosts={"w": {"connector": "worker"}}, groups={})
    said = line("hosts", "check", "--output", "json")
    assert said.status == 3
    assert "opsqueue worker --host w" in said.json["hosts"][0]["error"]


def test_what_many_hosts_lack_is_said_once(line):
    line.set(hosts={f"w-{n}": {"connector": "worker"} for n in range(1, 6)}, groups={})
    said = line("hosts", "check").out.splitlines()
    assert [row.split()[:2] for row in said[:6]] == [["HOST", "STATE"], *([f"w-{n}", "fail"] for n in range(1, 6))]
    assert said[6:] == [
        "",
        "missing",
        "w-1 … w-5 (5 hosts): reached by its own worker only: `opsqueue worker --host HOST`, on it",
    ]


def test_the_list_needs_no_way_to_hosts(line):
    # `hosts list` answers at once: neither Fabric nor psutil, Celery, SQLAlchemy nor the types are imported for it.
    heavy = ("fabric", "paramiko", "psutil", "celery", "sqlalchemy", "croniter")
    code = (
        "import sys; from opsqueue.cli.main import main; "
        f"status = main(['--config', {str(line.config)!r}, 'hosts', 'list']); "
        f"print(status, [name for name in {heavy!r} if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1] == "0 []"
