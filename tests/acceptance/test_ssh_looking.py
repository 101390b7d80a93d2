"""Looking at many hosts over SSH: all at once, whoever is down or not trusted among them."""

from __future__ import annotations

import json
import re
from datetime import datetime

import pytest
from fleet import Fleet
from place import SIX, stages
from sshkit import NEEDS_SSHD, Farm, Odd, make_key

pytestmark = [*NEEDS_SSHD, pytest.mark.xdist_group("ssh looking")]


@pytest.fixture
def farm(request):
    with Farm(hosts=getattr(request, "param", 20)) as farm:
        yield farm


@pytest.fixture
def make_fleet(farm):
    made = []

    def make(**settings):
        made.append(Fleet(farm, **settings))
        return made[-1]

    yield make
    for fleet in made:
        fleet.end()


def at(moment):
    return datetime.fromisoformat(moment).timestamp()


@pytest.mark.parametrize("farm", [200], indirect=True)
def test_two_hundred_hosts_in_one_health_check(farm, make_fleet):
    fleet = make_fleet()
    done, data = fleet.execute("health_check")
    assert (done.code, data["status"], stages(data)) == (0, "succeeded", SIX)
    assert [target["host"] for target in data["targets"]] == [f"h{number + 1}" for number in range(200)]
    assert {target["status"] for target in data["targets"]} == {"succeeded"}
    for host, metrics in data["metrics"].items():
        assert {metrics[f"state:{name}"]["value"] for name in ("disk", "memory", "load")} <= {0, 1, 2}, host
    # One connection and one shell for each host: nothing is asked twice, and nothing beside the rest.
    assert (farm.logins(), farm.sessions()) == (200, 200)


def test_monitor_and_check_read_twenty_hosts(farm, make_fleet):
    fleet = make_fleet()
    done = fleet.ops("monitor", "--output", "json")
    assert done.code == 0, done.err
    assert [one["host"] for one in done.json["hosts"]] == list(fleet.settings["hosts"])
    for one in done.json["hosts"]:
        assert one["error"] is None
        for name in ("cpu_usage", "memory_usage", "disk_usage", "load_per_cpu_1m", "uptime"):
            assert one["metrics"][name]["value"] is not None, (one["host"], name)
    assert (farm.logins(), farm.sessions()) == (20, 20)
    checked = fleet.ops("hosts", "check", "--output", "json")
    assert checked.code == 0, checked.out
    assert {one["state"] for one in checked.json["hosts"]} == {"ok"}
    table = fleet.ops("hosts", "check")
    assert [line.split()[:2] for line in table.out.splitlines()[1:]] == [[f"h{n + 1}", "ok"] for n in range(20)]


@pytest.mark.parametrize("farm", [5], indirect=True)
def test_hosts_that_are_down_do_not_hold_up_the_others(farm, make_fleet):
    patience = 3.0
    with Odd("deaf") as deaf, Odd("refuses") as refuses:
        down = {"down": refuses.host, "off": deaf.host}
        known = {
            name: {"connector": "ssh", "address": host.address, "port": host.port, "key_file": farm.key_file}
            for name, host in down.items()
        }
        fleet = make_fleet(
            hosts={"down": known["down"], "off": known["off"], **farm.settings()},
            ssh={"connect_timeout": patience},
            worker={"retry_backoff_seconds": 0.2},
        )
        fleet.up()
        done, data = fleet.execute("health_check", "--retry-count", "1")
        checked = fleet.ops("hosts", "check", "--output", "json")
    assert (done.code, data["outcome"]) == (8, "partial")
    ended = {target["host"]: target for target in data["targets"]}
    assert {name: ended[name]["status"] for name in down} == {"down": "unreachable", "off": "unreachable"}
    assert "refused the connection" in ended["down"]["problems"][0]
    assert f"did not answer within {patience:g} s" in ended["off"]["problems"][0]
    for target in data["targets"]:
        if target["host"] not in down:
            assert target["status"] == "succeeded"
            assert at(target["finished_at"]) - at(data["created_at"]) < patience, "it waited for those that are down"
    assert checked.code == 3
    assert {one["host"] for one in checked.json["hosts"] if one["state"] == "fail"} == set(down)


@pytest.mark.parametrize("farm", [2], indirect=True)
def test_a_host_that_is_not_trusted_says_what_mends_it(farm, make_fleet, tmp_path):
    fleet = make_fleet(trusted=False)
    fleet.up()
    _mended(fleet, "h1", farm)
    other = make_key(tmp_path / "other").with_suffix(".pub").read_text()
    farm.pin(fleet.state / "known_hosts", key=" ".join(other.split()[:2]))
    _mended(fleet, "h2", farm)


def _mended(fleet, host, farm):
    """It fails before anybody logs in, names the command, and goes when that was typed."""
    before = farm.logins()
    done, data = fleet.execute("health_check", systems=[host])
    assert (done.code, data["outcome"], farm.logins()) == (3, "failed", before)
    (problem,) = data["targets"][0]["problems"]
    (fingerprint,) = re.findall(r"found [^`]*(SHA256:[A-Za-z0-9+/]{43})", problem)
    (command,) = re.findall(r"`(opsqueue hosts trust [^`]+)`", problem)
    assert command in fleet.ops("why", data["operation_id"]).out
    refused = fleet.sh(f"{command} --fingerprint SHA256:{'A' * 43}")
    assert refused.code == 3, refused.err
    trusted = fleet.sh(f"{command} --fingerprint {fingerprint}")
    assert trusted.code == 0, trusted.err
    done, data = fleet.execute("health_check", systems=[host])
    assert (done.code, data["outcome"]) == (0, "succeeded"), json.dumps(data["targets"])
