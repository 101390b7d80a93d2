"""Files and programs of the inventory, told apart by what is found; several places as one."""

from __future__ import annotations

import json
import time

import pytest

from opsqueue.connectors.inventory import reading
from opsqueue.connectors.inventory.directory import read_inventory, searched
from opsqueue.errors import InvalidConfig
from opsqueue.settings import Settings

OWN = {"hosts": {"web-1": {"address": "10.0.0.1", "tags": ["eu"]}}, "groups": {"web": ["web-1"]}}
ANSIBLE = {"_meta": {"hostvars": {"web-1": {"ansible_host": "10.0.0.1"}}}, "web": {"hosts": ["web-1"]}}


@pytest.fixture
def place(tmp_path):
    """Write files, and read the inventory that they are."""

    class Place:
        path = tmp_path

        def write(self, name, data, mode=0o644):
            path = tmp_path / name
            path.write_text(data if isinstance(data, str) else json.dumps(data))
            path.chmod(mode)
            return path

        def program(self, body, name="hosts"):
            return self.write(name, f"#!/bin/sh\n{body}\n", 0o755)

        def read(self, *files, **settings):
            return read_inventory(Settings(state_dir=tmp_path / "state", inventory=files, **settings))

        def refused(self, *files, **settings):
            with pytest.raises(InvalidConfig) as raised:
                self.read(*files, **settings)
            return raised.value.message

    return Place()


TOML = '[hosts.web-1]\naddress = "10.0.0.1"\n[groups]\nweb = ["web-1"]\n'


@pytest.mark.parametrize(
    ("name", "data", "mode"),
    [
        ("hosts.json", OWN, 0o644),
        ("hosts", OWN, 0o600),
        ("hosts.toml", TOML, 0o644),
        ("hosts.json", ANSIBLE, 0o755),
        ("hosts", ANSIBLE, 0o644),
        ("hosts", f"#!/bin/sh\necho '{json.dumps(ANSIBLE)}'", 0o755),
        ("hosts.py", f"#!/usr/bin/env python3\nprint('''{json.dumps(OWN)}''')", 0o700),
    ],
    ids=[
        "ours",
        "ours, without a suffix",
        "ours in TOML",
        "Ansible's",
        "without a suffix",
        "a program",
        "ours, printed",
    ],
)
def test_each_form_is_known_by_what_is_found(place, name, data, mode):
    path = place.write(name, data, mode)
    inventory = place.read(path)
    host = inventory["web-1"]
    assert (host.address, host.connector, host.groups) == ("10.0.0.1", "ssh", ("web",))
    assert inventory.places == {"web-1": str(path)}


def test_what_counts_for_all_counts_for_hosts_of_any_place(place):
    files = [place.write("a.json", OWN), place.program("""echo '{"_meta": {"hostvars": {"db-1": {}}}}'""")]
    ssh = {"user": "ops", "port": 2222, "key_file": "/k", "gateway": "bastion"}
    inventory = place.read(*files, ssh=ssh, hosts={"bastion": {"port": 22}, "here": {"connector": "local"}})
    told = {host.name: (host.user, host.port, host.key_file, host.gateway) for host in inventory.values()}
    assert told == {
        "bastion": ("ops", 22, "/k", ""),
        "here": ("", 22, "", ""),
        "web-1": ("ops", 2222, "/k", "bastion"),
        "db-1": ("ops", 2222, "/k", "bastion"),
    }


def test_windows_of_a_host_are_in_the_zone_and_policy_of_all(place):
    inventory = place.read(
        hosts={"h1": {"windows": ["02:00-04:00", "Sunday 01:00-05:00"]}},
        timezone="Europe/Berlin",
        window_policy="reject",
    )
    told = [(window.spec, window.timezone, window.policy) for window in inventory["h1"].windows]
    assert told == [("02:00-04:00", "Europe/Berlin", "reject"), ("Sunday 01:00-05:00", "Europe/Berlin", "reject")]
    assert inventory["h1"].model_dump(mode="json")["windows"] == ["02:00-04:00", "Sunday 01:00-05:00"]


def test_without_any_place_there_is_this_machine_and_with_an_empty_one_nobody(place):
    assert [(host.name, host.connector) for host in place.read().values()] == [("localhost", "local")]
    assert list(place.read(place.write("none.json", {}))) == []
    assert list(place.read(place.program("""echo '{"_meta": {"hostvars": {}}}'"""))) == []


def test_a_group_has_the_members_that_all_places_give_it(place):
    file = place.write("a.json", {"hosts": {"web-2": {}}, "groups": {"web": ["web-2"], "mine": ["prod"]}})
    inventory = place.read(file, hosts={"web-1": {}}, groups={"web": ["web-1"], "prod": ["web", "web-2"]})
    assert inventory.groups == {"web": ("web-1", "web-2"), "prod": ("web-1", "web-2"), "mine": ("web-1", "web-2")}
    assert inventory["web-2"].groups == ("web", "prod", "mine")


def test_the_same_name_in_two_places_is_refused_with_both_named(place):
    one, two = place.write("one.json", OWN), place.write("two.json", ANSIBLE)
    said = place.refused(one, two)
    assert f"host web-1 stands in {one} and in {two}" in said
    assert f"in the configuration and in {one}" in place.refused(one, hosts={"web-1": {}})


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("", "is not JSON"),
        ("[web]\nweb-1\n", "is not JSON: Expecting value"),
        ("all:\n  hosts:\n", "`ansible-inventory -i FILE --list > hosts.json`"),
        ("[]", "wanted an object of hosts and groups, found a list"),
        ("[" * 100_000, "is not JSON"),
        ('{"hosts": {}, "hosts": {}}', "a key stands twice"),
        (
            {"hosts": {"web-1": {"adress": "x"}}},
            "hosts.web-1.adress: there is nothing of this name; did you mean 'addr",
        ),
        ({"hosts": {}, "group": {}}, "group: there is nothing of this name; did you mean 'groups'?"),
        ({"hosts": {"-x": {}}}, "a host name"),
        ({"hosts": {"all": {}}}, "a host name"),
        ({"hosts": {"h": {"address": "-x"}}}, "host h cannot be accepted: address"),
        ({"hosts": {"h": {"windows": ["2-4"]}}}, "host h: window"),
        ({"hosts": {"h": {"parameters": {"backup": {"password": "hunter2"}}}}}, "hosts.h.parameters.backup.password"),
        ({"groups": {"web": ["h"]}}, "groups.web names 'h'"),
        ({"groups": {"all": []}}, "a group's name"),
    ],
)
def test_a_file_that_is_none_is_refused_with_its_name(place, data, says):
    path = place.write("hosts", data)
    said = place.refused(path)
    assert says in said
    assert "hunter2" not in said
    assert str(path) in said or says.startswith("groups.web")


def test_a_toml_file_that_is_none_is_refused(place):
    assert "is not TOML" in place.refused(place.write("hosts.toml", "[hosts"))


def test_a_file_that_anybody_can_write_is_refused(place):
    path = place.write("hosts.json", OWN, 0o646)
    assert f"chmod o-w {path}" in place.refused(path)
    path.chmod(0o664)
    assert "web-1" in place.read(path)


def test_what_is_no_file_is_refused(place, monkeypatch):
    assert "No such file or directory" in place.refused(place.path / "nothing.json")
    assert "is no file" in place.refused(place.path)
    (place.path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in place.refused(place.path / "bytes.json")
    monkeypatch.setattr(reading, "_MOST", 10)
    assert "at most 10 are read" in place.refused(place.write("hosts.json", OWN))


# -- programs -----------------------------------------------------------------------------------------------


def test_a_program_is_asked_to_list_with_our_environment_but_not_our_settings(place, monkeypatch):
    monkeypatch.setenv("OPSQUEUE_DATABASE_URL", "postgresql://ann:hunter2@db/ops")
    monkeypatch.setenv("CLOUD_PROFILE", "prod")
    said = place.path / "said"
    program = place.program(f'echo "$@" > {said}; env >> {said}; cat {place.write("list.json", ANSIBLE)}')
    assert list(place.read(program)) == ["web-1"]
    lines = said.read_text().splitlines()
    assert lines[0] == "--list"
    assert "CLOUD_PROFILE=prod" in lines
    assert not [line for line in lines if line.startswith("OPSQUEUE_")]


def test_only_without_meta_it_is_asked_for_each_host(place):
    said = place.path / "said"
    body = f"""echo "$@" >> {said}
case "$1" in
    --list) echo '{{"web": {{"hosts": ["web-1", "web-2"]}}, "db": ["db-1"]}}' ;;
    --host) echo "{{\\"ansible_host\\": \\"$2.example.com\\"}}" ;;
esac"""
    inventory = place.read(place.program(body))
    assert inventory["db-1"].where == "db-1.example.com:22"
    assert sorted(said.read_text().splitlines()) == ["--host db-1", "--host web-1", "--host web-2", "--list"]


def test_a_name_is_no_argument_before_it_is_known_to_be_a_name(place):
    said = place.path / "said"
    program = place.program(f"""echo "$@" >> {said}; echo '{{"web": ["-oProxyCommand=id"]}}'""")
    assert f"{program}: a host name" in place.refused(program)
    assert said.read_text() == "--list\n"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            "echo 'no credentials for eu-1' >&2; exit 3",
            "--list ended with exit status 3; it said: no credentials for eu-1",
        ),
        ("kill -9 $$", "ended with exit status 137"),
        ("echo '{'", "--list is not JSON"),
        ("true", "--list is not JSON"),
        ("echo '[]'", "--list: wanted an object"),
        ("""[ "$1" = --list ] && echo '{"web": ["web-1"]}' || exit 4""", "--host web-1 ended with exit status 4"),
        ("""[ "$1" = --list ] && echo '{"web": ["web-1"]}' || echo '[]'""", "wanted an object, found a list"),
    ],
)
def test_a_program_that_fails_is_refused_with_what_it_said(place, body, says):
    program = place.program(body)
    said = place.refused(program)
    assert says in said
    assert str(program) in said


def test_a_program_that_cannot_be_started_is_refused(place):
    assert "could not be started" in place.refused(place.write("hosts", "no first line", 0o755))
    assert "could not be started" in place.refused(place.write("other", "#!/no/such/program\n", 0o755))


def test_a_program_has_its_time_and_ends_with_all_that_it_started(place, monkeypatch):
    monkeypatch.setattr(reading, "_LIMIT_S", 0.3)
    child = place.path / "child"
    program = place.program(f"echo waiting >&2; sleep 60 & echo $! > {child}; wait")
    began = time.monotonic()
    assert "did not end within 0.3 s; it said: waiting" in place.refused(program)
    assert time.monotonic() - began < 30
    deadline = time.monotonic() + 15  # killed already: how long a loaded kernel takes to bury it
    while _alive(int(child.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_all_hosts_together_have_their_time(place, monkeypatch):
    monkeypatch.setattr(reading, "_LIMIT_S", 0.5)
    names = json.dumps([f"h{number}" for number in range(40)])
    program = place.program(f"""[ "$1" = --list ] && echo '{{"web": {names}}}' || {{ sleep 0.2; echo '{{}}'; }}""")
    began = time.monotonic()
    said = place.refused(program)
    assert "within" in said
    assert time.monotonic() - began < 7


def test_what_a_program_prints_is_bounded(place, monkeypatch):
    monkeypatch.setattr(reading, "_MOST", 1000)
    assert "printed more than 1000 bytes" in place.refused(place.program("head -c 100000 /dev/zero"))


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - Linux only, as the test is
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# -- what one looks for -------------------------------------------------------------------------------------


def test_one_looks_for_the_hosts_of_a_group_and_for_those_that_are_gone(place):
    settings = Settings(state_dir=place.path / "state", inventory=place.write("hosts.json", OWN), hosts={"db-1": {}})
    assert searched(settings, "web") == ("web", "web-1")
    assert searched(settings, "eu") == ("eu", "web-1")
    assert searched(settings, "web-1") == ("web-1",)
    assert searched(settings, "gone") == ("gone",)
    (place.path / "hosts.json").write_text("{")
    assert searched(settings, "db-1") == ("db-1",)
    assert searched(settings, "web") == ("web",)


def test_a_program_that_nobody_may_run_is_said_with_its_whole_path(place, tmp_path, monkeypatch):
    file = place.write("cloud.sh", "#!/bin/sh\necho '{}'\n", 0o644)
    assert f"the inventory {file} begins with `#!` like a program, but nobody may run it: chmod +x {file}" in (
        place.refused(file)
    )
    monkeypatch.chdir(tmp_path)
    assert f"the inventory {tmp_path / 'missing.json'} cannot be read" in place.refused("missing.json")
