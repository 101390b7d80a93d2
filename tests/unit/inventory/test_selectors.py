"""Which hosts a selector stands for: a table, the refusals, and what must hold of any."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsqueue.errors import InvalidConfig, InvalidRequest, NotFound
from opsqueue.model.host import Host
from opsqueue.model.inventory import Inventory, flattened, ways

GROUPS = {"web": ("web-1", "web-2"), "db": ("db-1",), "prod": ("web-1", "web-2", "db-1"), "none": (), "eu": ("api",)}
TAGS = {"web-2": ("eu", "canary"), "db-1": ("eu", "db-2"), "api": ("web-1",)}


def of(groups, tags, names):
    within = {name: tuple(group for group, members in groups.items() if name in members) for name in names}
    hosts = [Host(name=name, groups=within[name], tags=tags.get(name, ())) for name in names]
    return Inventory({host.name: host for host in hosts}, groups)


INVENTORY = of(GROUPS, TAGS, ["web-2", "web-1", "db-1", "api"])

ROWS = [
    (["web-1"], ["web-1"]),
    (["web-1", "web-1", "web"], ["web-2", "web-1"]),
    (["db-1", "web-2"], ["web-2", "db-1"]),
    (["all"], ["web-2", "web-1", "db-1", "api"]),
    (["web"], ["web-2", "web-1"]),
    (["prod"], ["web-2", "web-1", "db-1"]),
    (["canary"], ["web-2"]),
    (["eu"], ["api"]),
    (["group:eu"], ["api"]),
    (["tag:eu"], ["web-2", "db-1"]),
    (["tag:web-1"], ["api"]),
    (["web-*"], ["web-2", "web-1"]),
    (["*-1"], ["web-1", "db-1"]),
    (["web-[2-9]"], ["web-2"]),
    (["web-?", "api"], ["web-2", "web-1", "api"]),
    (["prod", "!web"], ["db-1"]),
    (["!web", "prod"], ["db-1"]),
    (["not:web", "prod"], ["db-1"]),
    (["web-1", "prod", "!web-1"], ["web-2", "db-1"]),
    (["!web-1"], ["web-2", "db-1", "api"]),
    (["!web", "!tag:web-1"], ["db-1"]),
    (["all", "!web-*", "!tag:eu"], ["api"]),
    (["none", "api"], ["api"]),
    (["all", "!none"], ["web-2", "web-1", "db-1", "api"]),
    (["!group:db"], ["web-2", "web-1", "api"]),
]


@pytest.mark.parametrize(("systems", "names"), ROWS, ids=[" ".join(row[0]) for row in ROWS])
def test_a_selector_stands_for_hosts(systems, names):
    assert [host.name for host in INVENTORY.select(systems)] == names


@pytest.mark.parametrize(
    ("systems", "says"),
    [
        (["web-3"], "there is no host, group or tag 'web-3'; did you mean 'web-"),
        (["all", "!web-3"], "there is no host, group or tag 'web-3'"),
        (["all", "not:cannary"], "'cannary'; did you mean 'canary'?"),
        (["group:webb"], "there is no group 'webb'; did you mean 'web'?"),
        (["group:canary"], "there is no group 'canary'; it is a tag: write tag:canary."),
        (["group:"], "there is no host, group or tag 'group:'"),
        (["tag:prod"], "there is no tag 'prod'; it is a group: write group:prod."),
        (["web,db"], "there is no host, group or tag 'web,db'; separate several by spaces: web db"),
        (["web, canary"], "separate several by spaces: web canary"),
        (["!!web"], "'!web'"),
        (["mail-*"], "no host has a name like 'mail-*'"),
        (["all", "!mail-*"], "no host has a name like 'mail-*'"),
        (["*"], "there is no host, group or tag '*'"),
        (["**", "web-1"], "'**'"),
        (["WEB-1"], "'WEB-1'; did you mean 'web-1'?"),
        (["PROD"], "'PROD'; did you mean 'prod'?"),
        ([""], "''"),
        (["!"], "''"),
        (["-oProxyCommand=id"], "'-oProxyCommand=id'"),
        (["x" * 500], "'" + "x" * 80 + "'."),
    ],
)
def test_a_word_that_nobody_knows_is_refused(systems, says):
    with pytest.raises(NotFound) as raised:
        INVENTORY.select(systems)
    assert says in raised.value.message
    assert "`opsqueue hosts list`" in raised.value.message


@pytest.mark.parametrize("systems", [[], ["none"], ["web", "!web-*"], ["!all"], ["all", "!all"], ["web-1", "!prod"]])
def test_no_host_at_all_is_refused(systems):
    with pytest.raises(InvalidRequest, match="stands for no host at all"):
        INVENTORY.select(systems)


WORDS = st.sampled_from(["all", *INVENTORY, *GROUPS, "tag:eu", "canary", "web-*", "*1", "group:web", "tag:db-2"])
SIGNS = st.sampled_from(["", "!", "not:"])


@given(st.lists(st.tuples(SIGNS, WORDS), min_size=1, max_size=8))
def test_what_is_left_out_never_comes_and_each_host_comes_once(words):
    try:
        names = [host.name for host in INVENTORY.select([sign + word for sign, word in words])]
    except InvalidRequest:
        names = []
    spared = {name for sign, word in words if sign for name in INVENTORY.names(word)}
    wanted = {name for sign, word in words if not sign for name in INVENTORY.names(word)}
    assert not spared & set(names)
    assert names == [name for name in INVENTORY if name in set(names)]
    if any(not sign for sign, _ in words):
        assert set(names) == wanted - spared
    else:
        assert set(names) == set(INVENTORY) - spared


def test_the_inventory_reads_as_a_mapping():
    assert INVENTORY["api"].name == "api"
    assert INVENTORY.get("gone") is None
    assert (len(INVENTORY), "api" in INVENTORY, "gone" in INVENTORY) == (4, True, False)
    assert [host.name for host in INVENTORY.values()] == list(INVENTORY)
    assert not Inventory()


# -- groups -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "flat"),
    [
        ({"a": ["h1", "h1"]}, {"a": ("h1",)}),
        ({"a": ["b", "h1"], "b": ["h2"]}, {"a": ("h2", "h1"), "b": ("h2",)}),
        ({"a": ["b", "c"], "b": ["d"], "c": ["d", "h2"], "d": ["h1"]}, {"a": ("h1", "h2"), "c": ("h1", "h2")}),
        ({"h1": ["h1"]}, {"h1": ("h1",)}),
        ({"h1": ["h2"], "a": ["h1", "group:h1"]}, {"a": ("h1", "h2")}),
        ({"a": []}, {"a": ()}),
    ],
)
def test_a_group_holds_the_hosts_of_its_groups(groups, flat):
    found = flattened(["h1", "h2"], groups)
    assert list(found) == list(groups)
    assert {name: found[name] for name in flat} == flat


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ({"a": ["h3"]}, "groups.a names 'h3', which is no host and no group of the inventory; did you mean 'h"),
        ({"a": ["group:h1"]}, "groups.a names 'h1'"),
        ({"a": ["a"]}, "a holds a"),
        ({"a": ["b"], "b": ["c", "h1"], "c": ["a"]}, "circle"),
    ],
)
def test_groups_that_cannot_be_are_refused(groups, says):
    with pytest.raises(InvalidConfig) as raised:
        flattened(["h1", "h2"], groups)
    assert says in raised.value.message


def test_a_thousand_groups_within_each_other_are_no_trouble():
    deep = {f"g{number}": [f"g{number + 1}"] for number in range(1000)}
    assert flattened(["h1"], {**deep, "g1000": ["h1"]})["g0"] == ("h1",)


# -- gateways -----------------------------------------------------------------------------------------------


def hosts(**gateways):
    return {name: Host(name=name, connector="ssh", gateway=gateway) for name, gateway in gateways.items()}


def test_a_way_may_go_through_several_hosts():
    ways(hosts(a="b", b="c", c="", d="b"))


@pytest.mark.parametrize(
    ("given_hosts", "says"),
    [
        (hosts(a="bastoin", bastion=""), "the gateway of a is 'bastoin', which is no host of the inventory; did you"),
        (hosts(a="a"), "a through a"),
        (hosts(x="a", a="b", b="a"), "a through b through a"),
        ({**hosts(a="b"), "b": Host(name="b", connector="local")}, "b, which is not reached over SSH itself"),
    ],
)
def test_a_way_that_leads_nowhere_is_refused(given_hosts, says):
    with pytest.raises(InvalidConfig) as raised:
        ways(given_hosts)
    assert says in raised.value.message


def test_two_names_of_one_machine_are_doubted_and_machines_behind_other_gateways_are_not():
    gates = [Host(name=name, connector="ssh", address=f"{name}.example.com") for name in ("gw-a", "gw-b")]
    behind = [
        Host(name=name, connector="ssh", address="10.0.0.7", gateway=gateway)
        for name, gateway in (("a", "gw-a"), ("alias", "gw-a"), ("b", "gw-b"))
    ]
    local = [Host(name=name) for name in ("one", "two")]
    found = Inventory({host.name: host for host in (*gates, *behind, *local)})
    assert found.whereabouts(behind[2]) == "ssh 10.0.0.7:22 through gw-b.example.com:22"
    (doubt,) = found.doubts()
    assert doubt.startswith("a and alias are one machine (10.0.0.7:22)")
