"""The JSON of Ansible's inventories: what of it means something to us, and what is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opsqueue.connectors.inventory.ansible import ansible_form
from opsqueue.connectors.inventory.directory import merged, read_inventory
from opsqueue.errors import InvalidConfig
from opsqueue.settings import Settings

SAMPLE = Path(__file__).with_name("ansible_inventory.json")


def nobody(_names):
    raise AssertionError("nobody need be asked")


def read(data, ask=nobody):
    """The settings that were said of each host."""
    place = ansible_form(data, "hosts.json", ask)
    return {name: given.model_dump(exclude_unset=True) for name, given in place.hosts.items()}, place.groups


def one(variables, groups=None, name="h1"):
    """What is said of one host."""
    hosts, _ = read({"_meta": {"hostvars": {name: variables}}, **(groups or {})})
    return hosts[name]


def test_what_ansible_inventory_lists_is_read(tmp_path):
    inventory = read_inventory(Settings(state_dir=tmp_path, inventory=SAMPLE))
    told = {
        host.name: (host.where, host.user, host.key_file, host.gateway, host.connector, host.groups, host.tags)
        for host in inventory.values()
    }
    assert told == {
        "bastion": ("192.0.2.1:22", "ops", "", "", "ssh", (), ()),
        "db-1": ("10.0.0.7:22", "ops", "/etc/keys/db", "bastion", "ssh", ("db", "prod"), ()),
        "localhost": ("localhost:22", "", "", "", "local", (), ()),
        "web-1": ("web-1:2222", "deploy", "", "bastion", "ssh", ("prod", "web"), ("eu", "nginx")),
        "web-2": ("web-2:2222", "deploy", "", "", "ssh", ("prod", "web"), ("eu", "nginx")),
    }
    assert inventory.groups == {"db": ("db-1",), "prod": ("web-1", "web-2", "db-1"), "web": ("web-1", "web-2")}
    assert [window.spec for window in inventory["db-1"].windows] == ["Sunday 01:00-05:00"]
    assert inventory["db-1"].parameters == {"service_restart": {"settle_seconds": 10}}
    assert set(inventory.places.values()) == {str(SAMPLE)}


@pytest.mark.parametrize(
    ("variables", "given"),
    [
        ({}, {}),
        ({"ansible_host": "10.0.0.1", "colour": "red", "ansible_become_user": "root"}, {"address": "10.0.0.1"}),
        (
            {"ansible_ssh_host": "a", "ansible_ssh_port": 1, "ansible_ssh_user": "u"},
            {"address": "a", "port": 1, "user": "u"},
        ),
        ({"ansible_host": "new", "ansible_ssh_host": "old"}, {"address": "new"}),
        ({"ansible_port": "2222"}, {"port": 2222}),
        ({"ansible_private_key_file": "/k"}, {"key_file": "/k"}),
        ({"ansible_host": None, "ansible_user": "", "ansible_password": ""}, {}),
        ({"ansible_connection": "local"}, {"connector": "local", "gateway": ""}),
        ({"ansible_connection": "smart"}, {"connector": "ssh"}),
        ({"ansible_connection": "ansible.builtin.ssh"}, {"connector": "ssh"}),
        ({"ansible_connection": "docker", "opsqueue_connector": "worker"}, {"connector": "worker", "gateway": ""}),
        ({"opsqueue_address": "a", "ansible_host": "b"}, {"address": "a"}),
        ({"opsqueue_certificate_file": "/c"}, {"certificate_file": "/c"}),
        ({"opsqueue_tags": "a b,c"}, {"tags": ("a", "b", "c")}),
        ({"opsqueue_windows": ["02:00-04:00"]}, {"windows": ("02:00-04:00",)}),
        ({"opsqueue_gateway": "h1"}, {"gateway": ""}),
        ({"ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o ControlPath=/tmp/x-job"}, {}),
        ({"ansible_ssh_common_args": "-o ProxyJump=b", "opsqueue_gateway": "b"}, {"gateway": "b"}),
        ({"ansible_ssh_args": "-J b", "ansible_connection": "local"}, {"connector": "local", "gateway": ""}),
    ],
)
def test_variables_become_settings_of_a_host(variables, given):
    assert one(variables) == given


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        *(
            ({name: "hunter2"}, f"host h1 has {name}, which opsqueue does not use: {advice}")
            for names, advice in (
                (("ansible_password", "ansible_ssh_pass", "ansible_ssh_password"), "log in with a key"),
                (
                    ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass", "ansible_su_pass"),
                    "let the user run what it needs with `sudo -n`",
                ),
                (("ansible_private_key_passphrase", "ansible_ssh_private_key_passphrase"), "set ssh.key_passphrase"),
            )
            for name in names
        ),
        ({"ansible_password": {"__ansible_vault": "$ANSIBLE_VAULT;1.1"}}, "ansible_password"),
        ({"ansible_connection": "winrm"}, "ansible_connection 'winrm'; opsqueue reaches hosts by ssh or local"),
        ({"ansible_connection": "community.docker.docker"}, "community.docker.docker"),
        ({"ansible_ssh_common_args": "-o ProxyJump=b"}, "ansible_ssh_common_args goes through another machine"),
        ({"ansible_ssh_extra_args": '-o ProxyCommand="ssh -W %h:%p b"'}, "set opsqueue_gateway"),
        ({"ansible_ssh_args": "-4 -J b"}, "ansible_ssh_args"),
        ({"ansible_host": "{{ lookup('pipe', 'id') }}"}, "ansible_host is a template, which only Ansible can fill in"),
        ({"opsqueue_user": "{% if x %}a{% endif %}"}, "opsqueue_user is a template"),
        ({"opsqueue_tag": "x"}, "no variable opsqueue_tag; did you mean 'opsqueue_tags'?"),
        ({"ansible_port": "ssh"}, "port"),
        ({"ansible_port": 0}, "port"),
        ({"ansible_host": ["a"]}, "address"),
        ({"opsqueue_connector": "telepathy"}, "connector"),
        ({"opsqueue_parameters": {"backup": {"password": "hunter2"}}}, "parameters.backup.password holds a secret"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_its_name_and_never_repeated(variables, says):
    with pytest.raises(InvalidConfig) as raised:
        one(variables)
    assert raised.value.message.startswith("hosts.json: host h1")
    assert says in raised.value.message
    assert "hunter2" not in raised.value.message


GROUP = {"ansible_user": "group", "opsqueue_gateway": "b"}


@pytest.mark.parametrize(
    ("groups", "given"),
    [
        ({"web": {"hosts": ["h1"], "vars": GROUP}}, {"user": "group", "gateway": "b"}),
        ({"web": {"hosts": ["h1"]}, "all": {"vars": GROUP}}, {"user": "group", "gateway": "b"}),
        ({"ungrouped": {"hosts": ["h1"], "vars": GROUP}}, {"user": "group", "gateway": "b"}),
        ({"web": {"hosts": ["h2"], "vars": GROUP}}, {}),
        (
            {
                "all": {"children": ["top"], "vars": {"ansible_user": "all", "ansible_port": 1}},
                "top": {
                    "children": ["low"],
                    "vars": {"ansible_user": "top", "ansible_port": 2, "opsqueue_gateway": "b"},
                },
                "low": {"hosts": ["h1"], "vars": {"ansible_user": "low"}},
            },
            {"user": "low", "port": 2, "gateway": "b"},
        ),
        (
            {
                "a": {"hosts": ["h1"], "vars": {"ansible_user": "a", "ansible_port": 1}},
                "b": {"hosts": ["h1"], "vars": {"ansible_user": "b", "ansible_port": 2}},
            },
            {"user": "b", "port": 2},
        ),
        (
            {
                "a": {"hosts": ["h1"], "vars": {"ansible_user": "a", "ansible_group_priority": 10}},
                "b": {"hosts": ["h1"], "vars": {"ansible_user": "b"}},
            },
            {"user": "a"},
        ),
        ({"web": {"hosts": ["h1"], "vars": {"opsqueue_connector": "worker"}}}, {"connector": "worker", "gateway": ""}),
    ],
)
def test_hosts_have_the_variables_of_their_groups_the_nearest_first(groups, given):
    assert one({}, groups) == given


def test_a_host_goes_before_its_groups():
    groups = {"web": {"hosts": ["h1"], "vars": {"ansible_user": "group", "ansible_port": 1}}}
    assert one({"ansible_user": "host"}, groups) == {"user": "host", "port": 1}


def test_a_password_for_a_whole_group_is_refused():
    with pytest.raises(InvalidConfig, match="host h1 has ansible_become_password"):
        one({}, {"web": {"hosts": ["h1"], "vars": {"ansible_become_password": "hunter2"}}})


def test_groups_are_ours_but_for_the_two_that_ansible_always_has():
    hosts, groups = read(
        {
            "_meta": {"hostvars": {}},
            "all": {"children": ["ungrouped", "prod", "retired"], "hosts": ["h9"]},
            "ungrouped": {"hosts": ["h8"]},
            "prod": {"children": ["web", "db", "retired", "ungrouped"]},
            "web": ["h1", "h2"],
            "db": {"hosts": ["h3", "h1"]},
        }
    )
    assert list(hosts) == ["h9", "h8", "h1", "h2", "h3"]
    assert groups == {"prod": ("group:web", "group:db"), "web": ("h1", "h2"), "db": ("h3", "h1")}


def test_where_there_is_no_meta_the_program_is_asked_for_each_host():
    asked = []

    def ask(names):
        asked.extend(names)
        return {name: {"ansible_host": f"{name}.example.com"} for name in names}

    hosts, _ = read({"web": ["h1", "h2"], "db": {"hosts": ["h2", "h3"]}}, ask)
    assert asked == ["h1", "h2", "h3"]
    assert hosts["h3"] == {"address": "h3.example.com"}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"web": "h1"}, "group web: wanted an object, found a text"),
        ({"web": {"hosts": "h1"}}, "group web.hosts: wanted a list of names, found a text"),
        ({"web": {"hosts": [1]}}, "group web.hosts: wanted a list of names"),
        ({"web": {"children": 5}}, "group web.children"),
        ({"web": {"vars": []}}, None),
        ({"web": {"vars": [1]}}, "group web.vars: wanted an object, found a list"),
        ({"_meta": []}, "_meta: wanted an object"),
        ({"_meta": {"hostvars": ["h1"]}}, "_meta.hostvars: wanted an object"),
        ({"_meta": {"hostvars": {"h1": "x"}}}, "wanted an object, found a text"),
        ({"-oProxyCommand=id": ["h1"]}, "a group's name"),
        ({"web": ["-oProxyCommand=id"]}, "a host name"),
        ({"web": ["web 1"]}, "a host name"),
        ({"web": ["h1\n"]}, "a host name"),
        ({"web": ["::1"]}, "a host name"),
        ({"web": ["h1;reboot"]}, "a host name"),
        (
            {"a": {"children": ["b"], "vars": {"ansible_user": "x"}}, "b": {"children": ["a"], "hosts": ["h1"]}},
            "circle",
        ),
    ],
)
def test_what_has_another_form_is_refused(data, says):
    if says is None:
        assert read({"_meta": {}, **data})[0] == {}
        return
    with pytest.raises(InvalidConfig) as raised:
        read({"_meta": {}, **data} if "_meta" not in data else data)
    assert raised.value.message.startswith("hosts.json: ")
    assert says in raised.value.message


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"ansible_host": "-oProxyCommand=id"}, "address"),
        ({"ansible_host": "a;b"}, "address"),
        ({"ansible_user": "-l"}, "user"),
        ({"ansible_user": "a b"}, "user"),
        ({"opsqueue_tags": ["a b"]}, "a tag is a word"),
        ({"opsqueue_windows": "2-4"}, "02:00-04:00"),
        ({"opsqueue_gateway": "h2"}, "the gateway of h1 is 'h2'"),
    ],
)
def test_what_a_shell_or_ssh_could_take_for_something_else_refuses_the_inventory(tmp_path, variables, says):
    path = tmp_path / "hosts.json"
    path.write_text(json.dumps({"_meta": {"hostvars": {"h1": variables}}}))
    settings = Settings(state_dir=tmp_path / "state", inventory=path)
    with pytest.raises(InvalidConfig) as raised:
        read_inventory(settings)
    assert says in raised.value.message
    assert "h1" in raised.value.message


def test_thousands_of_hosts_are_read(tmp_path):
    names = [f"web-{number}" for number in range(2000)]
    data = {
        "_meta": {
            "hostvars": {name: {"ansible_host": f"{name}.example.com", "opsqueue_tags": ["eu"]} for name in names}
        },
        "all": {"vars": {"ansible_user": "ops"}},
        **{f"rack-{number}": {"hosts": names[number::100]} for number in range(100)},
    }
    settings = Settings(state_dir=tmp_path)
    inventory = merged(settings, [ansible_form(data, "hosts.json", nobody)])
    assert len(inventory.select(["tag:eu", "!rack-7"])) == 1980
    assert inventory["web-1999"].user == "ops"
