"""Selectors on the way of an operation: asked for, planned, frozen, and when the inventory changes meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opsqueue.errors import InvalidRequest, NotFound
from opsqueue.model.host import Host
from opsqueue.model.inventory import Inventory
from opsqueue.model.request import parse_request
from opsqueue.model.window import parse_window
from opsqueue.pipeline.control import add_freeze
from opsqueue.pipeline.submit import submit

HOSTS = (
    Host(name="h1", groups=("web",), tags=("eu",)),
    Host(name="h2", groups=("web",)),
    Host(name="h3", tags=("eu", "pci")),
)


@pytest.fixture
def town(story):
    """A story whose hosts have groups and tags, and whose inventory a test may change."""
    inventory = {"now": Inventory({host.name: host for host in HOSTS}, {"web": ("h1", "h2")})}
    plain = story.world
    story.world = lambda *args, **more: replace(plain(*args, **more), directory=lambda: inventory["now"])
    story.inventory = inventory
    return story


def ask(town, *systems, **more):
    data = {"name": "n", "type": "set_value", "target_systems": systems, **more}
    return submit(town.world(), parse_request(data)).id


@pytest.mark.parametrize(
    ("systems", "hosts"),
    [(["web", "!h2"], ["h1"]), (["tag:eu"], ["h1", "h3"]), (["!web"], ["h3"]), (["h[23]"], ["h2", "h3"])],
)
def test_an_operation_works_on_what_its_selectors_stand_for(town, systems, hosts):
    shown = town.drive(ask(town, *systems))
    assert [target["host"] for target in shown["targets"]] == hosts
    assert shown["outcome"] == "succeeded"
    assert shown["systems"] == systems
    assert [name for name, machine in town.machines.items() if machine.tally] == hosts


@pytest.mark.parametrize(("systems", "error"), [(["web", "!h9"], NotFound), (["web", "!web"], InvalidRequest)])
def test_what_stands_for_nobody_is_refused_at_the_door(town, systems, error):
    with pytest.raises(error):
        ask(town, *systems)


def test_who_is_meant_is_settled_when_it_is_verified(town):
    operation_id = ask(town, "web")
    town.inventory["now"] = Inventory({"h3": Host(name="h3", groups=("web",))}, {"web": ("h3",)})
    assert [target["host"] for target in town.drive(operation_id)["targets"]] == ["h3"]


def test_a_freeze_of_a_tag_holds_its_hosts_and_no_others(town):
    add_freeze(town.world(), scope=("tag:pci",), reason="audit", ends_at=None, starts_at=None, actor="ann")
    held, free = town.drive(ask(town, "h3")), town.drive(ask(town, "web"))
    assert (held["outcome"], held["waits_for"]) == (None, ["freeze"])
    assert free["outcome"] == "succeeded"


@pytest.mark.parametrize("word", ["pci", "group:web", "tag:eu", "web", "h2", "all", "set_value"])
def test_what_can_be_frozen(town, word):
    assert add_freeze(town.world(), scope=(word,), reason="r", ends_at=None, starts_at=None, actor="ann").scope == (
        word,
    )


@pytest.mark.parametrize("word", ["tag:web", "group:pci", "h*", "!h1", "wbe"])
def test_what_cannot_be_frozen(town, word):
    with pytest.raises(NotFound, match="no host, group, tag or type"):
        add_freeze(town.world(), scope=(word,), reason="r", ends_at=None, starts_at=None, actor="ann")


def test_a_host_with_a_window_of_its_own_waits_for_that_alone(town):
    night = parse_window("its own", "02:00-04:00")
    own = HOSTS[2].model_copy(update={"windows": (night,)})
    town.inventory["now"] = Inventory({"h3": own, "h1": HOSTS[0]})
    assert not night.contains(town.clock.at)
    shown = town.drive(ask(town, "h3", "h1"))
    assert {target["host"]: target["status"] for target in shown["targets"]} == {"h3": "pending", "h1": "succeeded"}
    assert (town.machines["h1"].tally, town.machines["h3"].tally) == (["set 1"], [])
    town.clock.at = night.opens(town.clock.at)
    assert town.drive(shown["operation_id"])["outcome"] == "succeeded"
    assert town.machines["h3"].tally == ["set 1"]
